"""What headers say of rate limits."""

import pytest

from mainstay.recovery.transport.model import LimitSeen, LimitsSeen
from mainstay.recovery.transport.ratelimits import limits_seen

DATE = "Mon, 23 Nov 2026 08:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "by_name"),
    [
        (  # OpenAI
            {
                "x-ratelimit-limit-requests": "500",
                "x-ratelimit-remaining-requests": "499",
                "x-ratelimit-reset-requests": "120ms",
                "x-ratelimit-limit-tokens": "30000",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            {
                "requests": LimitSeen(limit=500, remaining=499, reset_s=0.12),
                "tokens": LimitSeen(limit=30000, remaining=0, reset_s=360.0),
            },
        ),
        (  # Anthropic
            {
                "date": DATE,
                "anthropic-ratelimit-input-tokens-limit": "400000",
                "anthropic-ratelimit-input-tokens-remaining": "399000",
                "anthropic-ratelimit-input-tokens-reset": "2026-11-23T08:00:20Z",
            },
            {"input-tokens": LimitSeen(limit=400000, remaining=399000, reset_s=20.0)},
        ),
        (  # gateways: a moment since 1970 is no number of seconds
            {"x-ratelimit-limit": "20", "x-ratelimit-remaining": "3", "x-ratelimit-reset": "1795420800000"},
            {"": LimitSeen(limit=20, remaining=3)},
        ),
        ({"ratelimit-remaining": "7", "ratelimit-reset": "30"}, {"": LimitSeen(remaining=7, reset_s=30.0)}),
        ({"x-ogw-ratelimit-limit": "100", "x-ogw-ratelimit-reset": "3"}, {"": LimitSeen(limit=100, reset_s=3.0)}),
        ({"x-ratelimit-remaining-requests": "12.0"}, {"requests": LimitSeen(remaining=12)}),
        (
            {
                "x-ratelimit-limit-requests": "many",
                "x-ratelimit-remaining-requests": "-1",
                "x-ratelimit-reset-requests": "nan",
            },
            {"requests": LimitSeen()},
        ),
    ],
)
def test_each_provider_s_headers_are_understood(headers: dict[str, str], by_name: dict[str, LimitSeen]) -> None:
    assert limits_seen(headers, 5.0) == LimitsSeen(at_s=5.0, by_name=by_name)


def test_a_retry_after_is_kept() -> None:
    seen = limits_seen({"retry-after": "Mon, 23 Nov 2026 08:00:30 GMT", "date": DATE}, 1.0)
    assert seen == LimitsSeen(at_s=1.0, by_name={}, retry_after_s=30.0)


@pytest.mark.parametrize(
    "headers", [{}, {"content-type": "x"}, {"myratelimit-limit": "1"}, {"x-ratelimit-policy": "a"}]
)
def test_headers_that_speak_of_no_limit_say_nothing(headers: dict[str, str]) -> None:
    assert limits_seen(headers, 1.0) is None
