"""Nothing that is thrown at it breaks the classification, and whatever comes out of it may be shown."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.recovery.known import named, openai_error, raised_from

from mainstay.errors import Category
from mainstay.logs.redact import register
from mainstay.recovery.classify import classify
from mainstay.recovery.model import Rule


class Hostile(Exception):
    """Every look at it raises."""

    def __getattribute__(self, name: str) -> object:
        raise RuntimeError(name)

    def __str__(self) -> str:
        raise RuntimeError


class HostileText(Exception):
    status_code = 429

    def __str__(self) -> str:
        raise RecursionError


class HostileClass(Exception):
    @property
    def __class__(self) -> type:  # type: ignore[override]
        raise RuntimeError


class HostileMapping(Mapping[str, object]):
    def __getitem__(self, key: str) -> object:
        raise RuntimeError

    def __iter__(self) -> Iterator[str]:
        while True:
            yield "code"

    def __len__(self) -> int:
        raise RuntimeError

    def items(self) -> Any:  # noqa: ANN401  no view of items
        while True:
            yield "retry-after", "7"


def deep(depth: int) -> BaseException:
    error: BaseException = openai_error(429)
    for _ in range(depth):
        error = raised_from(error, RuntimeError())
    return error


def nested(depth: int) -> BaseException:
    error: Exception = openai_error(429)
    for _ in range(depth):
        error = ExceptionGroup("g", [error])
    return error


def circle() -> BaseException:
    first, second = RuntimeError("a"), ExceptionGroup("b", [KeyError("c")])
    first.__cause__, second.__cause__ = second, first
    second.exceptions[0].__context__ = second
    return first


HOSTILE: dict[str, tuple[Callable[[], BaseException], Category]] = {
    "every look raises": (Hostile, Category.INTERNAL),
    "no text": (HostileText, Category.RATE_LIMIT),
    "no class": (HostileClass, Category.INTERNAL),
    "a circle": (circle, Category.INTERNAL),
    "a long chain": (lambda: deep(50), Category.RATE_LIMIT),
    "an endless chain": (lambda: deep(10_000), Category.INTERNAL),
    "a deep group": (lambda: nested(50), Category.RATE_LIMIT),
    "a bottomless group": (lambda: nested(10_000), Category.INTERNAL),
    "a huge group": (lambda: ExceptionGroup("g", [KeyError()] * 100_000), Category.INTERNAL),
    "a huge text": (lambda: Exception("x" * 10_000_000), Category.INTERNAL),
    "half of a character": (lambda: Exception("\ud800 half of a pair"), Category.INTERNAL),
    "attributes of other types": (
        lambda: named("openai.RateLimitError", status_code=True, code=b"\xff", body=object()),
        Category.RATE_LIMIT,
    ),
    "a status that is no status": (
        lambda: named("a.B", status_code=10**400, headers=7, response=Hostile()),
        Category.INTERNAL,
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_exception_breaks_it(name: str) -> None:
    make, category = HOSTILE[name]
    failure = classify(make(), rules=[Rule(category=Category.TIMEOUT, text="never said")])
    assert failure.category is category
    assert failure.message
    assert failure.message.isprintable()


BODIES: list[object] = [
    b"\xff\xfe\x00", "{", "[" * 100_000, "9" * 10_000, '{"error": ' + "9" * 10_000 + "}", "x" * 10_000_000,
    HostileMapping(), {"error": HostileMapping()}, {"error": {"details": HostileMapping(), "message": 7}},
    {"choices": [None], "error": []}, [[[]]], {"error": {"metadata": 7, "details": [7, None]}}, object(), 7, True,
    {7: 8}, {"msg": {}, "code": True}, {"error": {"code": float("nan"), "status": []}},
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_no_body_breaks_it(body: object) -> None:
    failure = classify(status=429, headers=HostileMapping(), body=body)  # type: ignore[arg-type]
    assert failure.category in (Category.RATE_LIMIT, Category.INTERNAL)
    assert failure.message.isprintable()


def test_what_ends_the_process_is_not_kept_from_it() -> None:
    class Stopping(Exception):
        def __str__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        classify(Stopping())


SECRET = "correct-horse-battery"
text = st.text(st.characters(), max_size=40) | st.sampled_from(
    [SECRET, f"key={SECRET}", "\ud800", "rate limit", "<html>", '{"error": {"code": 429}}', " " * 5000 + SECRET]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["error", "code", "message", "msg", "type", "status", "details", "metadata", "raw", "headers",
             "retryDelay", "violations", "quotaId", "choices", "response", "availability", "retry_after", "reason"]
        )
        | text,
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip
names = (
    st.sampled_from(["Retry-After", "retry-after-ms", "Date", "X-RateLimit-Remaining", "X-RateLimit-Reset"]) | text
)


@st.composite
def errors(draw: st.DrawFn, depth: int = 2) -> BaseException:
    """Of any class, with any attributes, caused by or holding others."""
    bases = st.sampled_from([Exception, ValueError, OSError, TimeoutError, asyncio.CancelledError, RuntimeError])
    if depth and draw(st.booleans()):
        error: BaseException = BaseExceptionGroup(draw(text), [draw(errors(depth=depth - 1))])
    else:
        error = draw(bases)(draw(text))
    for name in draw(
        st.sets(st.sampled_from(["status_code", "status", "code", "type", "body", "headers", "response"]))
    ):
        setattr(error, name, draw(json_values))
    if depth and draw(st.booleans()):
        error.__cause__ = draw(errors(depth=depth - 1))
    return error


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    error=st.none() | errors(),
    status=st.none() | st.integers() | text,
    headers=st.none() | st.dictionaries(names, text | st.integers(), max_size=4) | json_values,
    body=json_values,
    now=st.none() | st.datetimes(),
)
def test_whatever_is_put_in_a_failure_comes_out_that_may_be_shown(
    error: BaseException | None, status: object, headers: object, body: object, now: datetime | None
) -> None:
    register([SECRET])
    untyped: Any = classify
    failure = untyped(error, status=status, headers=headers, body=body, now=now)
    assert isinstance(failure.category, Category)
    assert 0 < len(failure.message) <= 200
    assert failure.message.isprintable()
    assert SECRET not in failure.message
    assert failure.retry_after_s is None or 0 <= failure.retry_after_s <= 7 * 86400
    assert failure.status is None or 100 <= failure.status < 600
    assert all(SECRET not in name and name.isprintable() for name in failure.nonsense)
