"""How long the other side asked to be left alone: every form in use, and nothing that makes no sense."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.mutants import mutant

from mainstay.recovery import delay
from mainstay.recovery.classify import classify
from mainstay.recovery.delay import Asked, asked_to_wait

DATE = "Mon, 23 Nov 2026 08:00:00 GMT"
NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
IN_20_S = "2026-11-23T08:00:20Z"
UNIX = int(NOW.timestamp())


UNDERSTOOD: list[tuple[dict[str, str], float | None]] = [
    ({"retry-after": "7"}, 7.0),
    ({"retry-after": " 7 "}, 7.0),
    ({"retry-after": "0"}, 0.0),
    ({"retry-after": "1.5"}, 1.5),
    ({"retry-after": "604800"}, 604800.0),
    ({"retry-after": "7, 7"}, 7.0),
    ({"retry-after-ms": "250"}, 0.25),
    ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
    # a moment, by the response's own clock
    ({"retry-after": "Mon, 23 Nov 2026 08:00:30 GMT", "date": DATE}, 30.0),
    ({"retry-after": "Monday, 23-Nov-26 08:00:30 GMT", "date": DATE}, 30.0),
    ({"retry-after": "Mon Nov 23 08:00:30 2026", "date": DATE}, 30.0),
    ({"retry-after": "Mon, 23 Nov 2026 08:00:30 GMT, Mon, 23 Nov 2026 08:00:30 GMT", "date": DATE}, 30.0),
    ({"retry-after": "2026-11-23T10:00:30+02:00", "date": DATE}, 30.0),
    # one that has passed: the answer was slow
    ({"retry-after": "Mon, 23 Nov 2026 07:59:01 GMT", "date": DATE}, 0.0),
    # the reset of a limit of which nothing remains; the latest of several
    ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s"}, 1.0),
    ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, 360.0),
    ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "20ms"}, 0.02),
    ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1h2m3.5s"}, 3723.5),
    ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "30"}, 30.0),
    (
        {
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "1s",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-tokens": "2s",
        },
        2.0,
    ),
    (
        {
            "anthropic-ratelimit-tokens-remaining": "0",
            "anthropic-ratelimit-tokens-reset": IN_20_S,
            "date": DATE,
        },
        20.0,
    ),
    ({"ratelimit-remaining": "0", "ratelimit-reset": "9"}, 9.0),
    ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(UNIX + 45), "date": DATE}, 45.0),
    ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str((UNIX + 45) * 1000), "date": DATE}, 45.0),
    # of which something remains, or nobody says so
    ({"x-ratelimit-remaining-tokens": "12", "x-ratelimit-reset-tokens": "6m0s"}, None),
    ({"x-ratelimit-remaining-tokens": "-1", "x-ratelimit-reset-tokens": "0"}, None),
    ({"x-ratelimit-reset-tokens": "6m0s"}, None),
    ({"x-ogw-ratelimit-reset": "3"}, 3.0),
    ({}, None),
]


@pytest.mark.parametrize(("headers", "seconds"), UNDERSTOOD)
def test_what_was_asked_for_is_understood(headers: dict[str, str], seconds: float | None) -> None:
    assert asked_to_wait(headers) == Asked(seconds)


NONSENSE = [
    "", " ", "-1", "-0.5", "nan", "NaN", "inf", "-inf", "infinity", "soon", "7 bananas", "1e3", "1_000", "0x10",
    "604801", "31536000", "9" * 400, "١٢", "7, 30", "1h, 2h", "-5m", "200h",
    "Mon, 23 Nov 2026 08:00:30 GMT, Mon, 23 Nov 2026 08:00:31 GMT",
    "Mon, 23 Nov 2026 07:58:59 GMT",  # more than a minute ago
    "Tue, 23 Nov 2027 08:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "Mon, 99 Nov 2026 08:00:30 GMT",
    "2025-11-23T08:00:20Z", "2026-13-45T99:99:99Z",
    "Mon, 23 Nov 99999999999 08:00:30 GMT",  # more than a date can be
    str(UNIX + 30), str((UNIX + 30) * 1000),  # Retry-After has no such form
]  # fmt: skip


@pytest.mark.parametrize("text", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_is_left_out_and_named_and_the_next_source_is_asked(text: str) -> None:
    assert asked_to_wait({"retry-after": text, "date": DATE}) == Asked(None, ("retry-after",))
    exhausted = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "4s"}
    assert asked_to_wait({"retry-after": text, "date": DATE, **exhausted}) == Asked(4.0, ("retry-after",))
    assert asked_to_wait({"retry-after": "4", "retry-after-ms": "-1"}) == Asked(4.0, ("retry-after-ms",))


def test_every_header_and_field_that_makes_no_sense_is_named() -> None:
    headers = {
        "retry-after-ms": "?",
        "retry-after": "?",
        "x-ogw-ratelimit-reset": "?",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "?",
    }
    asked = asked_to_wait(headers, [("retryDelay", "?"), ("retryDelay", "5s")])
    assert asked.seconds == 5.0
    assert {*asked.nonsense} == {*headers} - {"x-ratelimit-remaining-requests"} | {"retryDelay"}


def test_a_moment_is_measured_by_the_response_before_our_own_clock_and_not_used_without_either() -> None:
    moment = {"retry-after": "Mon, 23 Nov 2026 08:00:30 GMT"}
    ours = datetime(2026, 11, 23, 8, 0, 10, tzinfo=UTC)
    assert asked_to_wait({**moment, "date": DATE}, now=ours) == Asked(30.0)
    assert asked_to_wait(moment, now=ours) == Asked(20.0)
    assert asked_to_wait(moment, now=ours.replace(tzinfo=None)) == Asked(20.0)
    for unusable in ("?", "Mon, 23 Nov 99999999999 08:00:10 GMT"):
        assert asked_to_wait({**moment, "date": unusable}, now=ours) == Asked(20.0)
    assert asked_to_wait(moment) == Asked(None)  # it may well make sense: only we can not tell


def test_the_clock_of_the_caller_reaches_the_delay() -> None:
    moment = {"Retry-After": "Mon, 23 Nov 2026 08:00:30 GMT"}
    assert classify(status=429, headers=moment, now=NOW).retry_after_s == 30.0
    assert classify(status=429, headers=moment).retry_after_s is None


@pytest.mark.parametrize(
    ("body", "seconds", "nonsense"),
    [
        ({"error": {"details": [{"retryDelay": "14s"}]}}, 14.0, ()),
        ({"error": {"details": [{"retryDelay": "0.847655010s"}]}}, 0.847655010, ()),
        ({"error": {"details": [{}, "?", {"retryDelay": "-3s"}]}}, None, ("retryDelay",)),
        ({"error": {"availability": {"retry_after": 40}}}, 40.0, ()),
        ({"error": {"availability": {"retry_after": None}}}, None, ()),
        ({"error": {"availability": {"retry_after": 10**9}}}, None, ("availability.retry_after",)),
        ({"error": {"metadata": {"headers": {"Retry-After": "6"}}}}, 6.0, ()),
    ],
)
def test_what_the_body_asks_for_is_understood(
    body: object, seconds: float | None, nonsense: tuple[str, ...]
) -> None:
    failure = classify(status=429, body=body)
    assert (failure.retry_after_s, failure.nonsense) == (seconds, nonsense)


class Waiting(Exception):
    """As SDKs raise it that have read the header themselves."""

    def __init__(self, seconds: object, headers: dict[str, str] | None = None) -> None:
        super().__init__("busy")
        self.status_code = 429
        self.retry_after = seconds
        self.headers = headers


def test_what_an_sdk_has_read_counts_where_there_is_no_header_to_read() -> None:
    assert classify(Waiting(3)).retry_after_s == 3.0
    assert classify(Waiting(0.25)).retry_after_s == 0.25
    assert classify(Waiting(3), headers={"retry-after": "5"}).retry_after_s == 5.0
    stale = classify(Waiting(0.0, {"retry-after": "Mon, 23 Nov 2026 07:00:00 GMT", "date": DATE}))
    assert (stale.retry_after_s, stale.nonsense) == (None, ("retry-after",))
    assert classify(Waiting(float("nan"))).nonsense == ("retry_after",)
    assert classify(Waiting("soon")).nonsense == ("retry_after",)
    assert classify(Waiting(object())).nonsense == ()


def test_a_header_that_was_sent_twice_is_read_once_when_it_says_the_same() -> None:
    assert classify(status=429, headers={"Retry-After": "7", "retry-after": "7"}).retry_after_s == 7.0
    twice = classify(status=429, headers={"Retry-After": "7", "retry-after": "8"})
    assert (twice.retry_after_s, twice.nonsense) == (None, ("retry-after",))


names = st.sampled_from(
    ["retry-after", "retry-after-ms", "x-ogw-ratelimit-reset", "x-ratelimit-remaining", "x-ratelimit-reset", "date"]
)
texts = st.one_of(
    st.text(max_size=30),
    st.floats().map(str),
    st.integers().map(str),
    st.datetimes(timezones=st.just(UTC)).map(lambda at: at.strftime("%a, %d %b %Y %H:%M:%S GMT")),
    st.datetimes().map(datetime.isoformat),
    st.sampled_from(["0", "1s", "6m0s", "20ms", DATE, IN_20_S, "Mon, 23 Nov 2026 08:00:30 GMT"]),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(names, texts), st.none() | st.datetimes(timezones=st.none() | st.just(UTC)))
def test_no_header_ever_asks_for_a_wait_that_nobody_would_keep(
    headers: dict[str, str], now: datetime | None
) -> None:
    asked = asked_to_wait(headers, now=now)
    assert asked.seconds is None or 0 <= asked.seconds <= 7 * 86400
    assert {*asked.nonsense} <= {*headers}


def wrong(ask: Callable[..., Asked]) -> int:
    """How many of the known headers this gets wrong; the classes of a mutant are its own."""
    count = 0
    for headers, seconds in UNDERSTOOD:
        asked = ask(headers)
        count += (asked.seconds, asked.nonsense) != (seconds, ())
    for text in NONSENSE:
        asked = ask({"retry-after": text, "date": DATE})
        count += (asked.seconds, asked.nonsense) != (None, ("retry-after",))
    moment = {"retry-after": "Mon, 23 Nov 2026 08:00:30 GMT"}
    count += ask({**moment, "date": DATE}, now=NOW + timedelta(seconds=10)).seconds != 30.0
    count += ask(moment, now=NOW).seconds != 30.0
    count += ask({"retry-after": "-1"}, [("retryDelay", "5s")]).seconds != 5.0
    count += ask({"retry-after": "4", "x-ogw-ratelimit-reset": "5"}, [("retryDelay", "6s")]).seconds != 4.0
    return count


MUTANTS = {
    "moments that have passed long ago": ("if -_JUST_PASSED_S <= wait_s < 0", "if wait_s < 0"),
    "no patience with a slow answer": ("0.0 if -_JUST_PASSED_S <= wait_s < 0 else wait_s", "wait_s"),
    "any wait": ("not 0 <= wait_s <= _LONGEST_S", "wait_s < 0"),
    "negative waits": ("not 0 <= wait_s <= _LONGEST_S", "wait_s > _LONGEST_S"),
    "one of two values": ("if len(found) > 1:", "if False:"),
    "the comma of a date": (r'",(?! ?[0-9]{1,2}[ -][A-Z])"', '","'),
    "a limit of which something remains": ('if left == "0" and', "if"),
    "the first limit that is free again": ("max(resets, default=None)", "min(resets, default=None)"),
    "our clock before the response's": (
        '_moment(headers.get("date", "")) or now',
        'now or _moment(headers.get("date", ""))',
    ),
    "our clock never": ('_moment(headers.get("date", "")) or now', '_moment(headers.get("date", ""))'),
    "Unix time as seconds to wait": ("moment = _unix(float(text)) if is_reset else None", "moment = None"),
    "Unix time for Retry-After": ("_unix(float(text)) if is_reset else None", "_unix(float(text))"),
    "Unix time never in milliseconds": ("for unit_s in (1.0, 0.001):", "for unit_s in (1.0,):"),
    "milliseconds as seconds": ("0.001),", "1.0),"),
    "any digits": (r'"-?[0-9]+(\.[0-9]*)?"', r'"-?\d+(\.\d*)?"'),
    "nonsense unnamed": ("            nonsense[name] = None\n", ""),
    "nonsense is the end of it": (
        "            nonsense[name] = None\n            return None\n",
        "            nonsense[name] = None\n            return 0.0\n",
    ),
}  # fmt: skip


def test_the_mutants_are_made_from_what_gets_everything_right() -> None:
    assert wrong(asked_to_wait) == 0


@pytest.mark.parametrize("name", MUTANTS)
def test_each_rule_about_delays_is_missed(name: str) -> None:
    assert wrong(mutant(delay, *MUTANTS[name]).asked_to_wait)
