"""What goes over the wire, step by step, for this answer and this fault?

Pure: a sequence of `Step` that ends in `End` or `Abort`. `mainstay.sandbox.provider.http` performs it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import orjson

from mainstay.sandbox.provider import wire
from mainstay.sandbox.provider.faults import Fault
from mainstay.sandbox.provider.model import ApiError
from mainstay.sandbox.provider.wire import Completion

__all__ = [
    "Abort",
    "Body",
    "End",
    "Head",
    "Pace",
    "Silence",
    "Step",
    "failing",
    "listing",
    "opening",
    "script",
]


@dataclass(frozen=True, slots=True)
class Head:
    """Send the status and the headers."""

    status: int
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Pace:
    """Take the time of this many tokens."""

    tokens: float


@dataclass(frozen=True, slots=True)
class Body:
    """Send a part of the body that carries this many tokens of the answer; ``usage``: it says what they cost."""

    data: bytes
    tokens: int = 0
    usage: bool = False


@dataclass(frozen=True, slots=True)
class Silence:
    """Send nothing, or only comments, until the client leaves or the hang limit is reached."""

    pings: bool = False


@dataclass(frozen=True, slots=True)
class Abort:
    """Reset the connection."""


@dataclass(frozen=True, slots=True)
class End:
    """The response is complete; ``ending`` says whether that is also the whole answer."""

    data: bytes = b""
    ending: Literal["finished", "faulted", "rejected"] = "finished"


Step = Head | Pace | Body | Silence | Abort | End


_SSE = (("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache"))
_HALF_EVENT = b'data: {"id": "chatcmpl-", "object": "chat.completion.chunk", "choi\n\n'


def failing(error: ApiError, ending: Literal["faulted", "rejected"]) -> Iterator[Step]:
    """An error in the place of an answer."""
    body = orjson.dumps(error.as_json())
    yield Head(error.status, (*_json_headers(body), *error.headers))
    yield End(body, ending)


def listing(name: str) -> Iterator[Step]:
    """The answer to a request for the models."""
    model = {"id": name, "object": "model", "created": 0, "owned_by": "mainstay-sandbox"}
    body = orjson.dumps({"object": "list", "data": [model]})
    yield Head(200, _json_headers(body))
    yield End(body)


def script(completion: Completion, fault: Fault | None) -> Iterator[Step]:
    """The whole response to a valid request."""
    before = None if fault is None else opening(fault)
    if before is not None:
        yield from before
    elif completion.request.stream:
        yield from _streamed(completion, fault)
    else:
        yield from _whole(completion, fault)


def opening(fault: Fault) -> Iterable[Step] | None:
    """The response of a fault that strikes before there is any answer; None if this one does not."""
    match fault.name:
        case "refuse":
            return (Abort(),)
        case "hang":
            return (Silence(), Abort())
        case name if name in _ERRORS:
            return failing(_error(fault), "faulted")
        case _:
            return None


_ERRORS = {
    "rate-limit": ApiError(
        status=429,
        message="Too many requests to this model: wait a little before the next one.",
        type="requests",
        code="rate_limit_exceeded",
    ),
    "quota": ApiError(
        status=429,
        message="The quota of this account is used up: check its plan and billing.",
        type="insufficient_quota",
        code="insufficient_quota",
    ),
    "auth": ApiError(status=401, message="The API key is not correct.", code="invalid_api_key"),
    "forbidden": ApiError(
        status=403,
        message="This country, region or territory is not supported.",
        type="request_forbidden",
        code="unsupported_country_region_territory",
    ),
    "server-error": ApiError(
        status=500, message="The server failed while it worked on the request.", type="server_error"
    ),
    "overloaded": ApiError(
        status=503,
        message="The model is overloaded with other requests: try again later.",
        type="server_error",
        code="server_is_overloaded",
    ),
}
_LATE_ERROR = ApiError(
    status=200, message="The upstream provider was lost during the answer.", type="server_error", code=502
)


def _error(fault: Fault) -> ApiError:
    error = _ERRORS.get(fault.name, _LATE_ERROR)
    headers: tuple[tuple[str, str], ...] = ()
    if fault.name == "rate-limit" and fault.retry_after_s is not None:
        wait = str(fault.retry_after_s).removesuffix(".0")
        headers = (
            ("retry-after", wait),
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", f"{wait}s"),
        )
    return replace(error, message=fault.message or error.message, headers=headers)


def _streamed(completion: Completion, fault: Fault | None) -> Iterator[Step]:
    yield Head(200, _SSE)
    if fault is not None and fault.name == "hang-first-token":
        yield Silence(fault.pings)
        yield Abort()
        return
    said, finish_reason = wire.said(completion)
    yield Body(wire.first_event(completion))
    for piece in said[: None if fault is None else fault.after_tokens]:
        yield Pace(completion.answer.slowness)
        yield Body(wire.piece_event(completion, piece), tokens=1)
    if fault is not None:
        yield from _broken_stream(fault)
        return
    yield Body(wire.last_event(completion, finish_reason))
    if completion.request.include_usage:
        yield Body(wire.usage_event(completion, len(said)), usage=True)
    yield End(wire.DONE)


def _broken_stream(fault: Fault) -> Iterator[Step]:
    match fault.name:
        case "stall":
            yield Silence(fault.pings)
            yield Abort()
        case "cut":
            yield Abort()
        case "truncate":
            yield End(wire.DONE if fault.done else b"", "faulted")
        case "malformed":
            yield End(_HALF_EVENT, "faulted")
        case "error-after-200":
            yield End(wire.data(_error(fault).as_json()), "faulted")


def _whole(completion: Completion, fault: Fault | None) -> Iterator[Step]:
    said, finish_reason = wire.said(completion)
    yield Pace(len(said) * completion.answer.slowness)
    body = wire.whole(completion, said, finish_reason)
    half = body[: len(body) // 2]
    match fault:
        case None:
            yield from _object(body, "finished", tokens=len(said))
        case Fault(name="truncate", after_tokens=count):
            sent = said[:count]
            yield from _object(wire.whole(completion, sent, None), "faulted", tokens=len(sent))
        case Fault(name="error-after-200"):
            yield from _object(orjson.dumps(_error(fault).as_json()), "faulted")
        case Fault(name="malformed"):
            yield from _object(half, "faulted")
        case Fault(name=name):
            yield Head(200, _json_headers(body))
            if name != "hang-first-token":
                yield Body(half)
            if name != "cut":
                yield Silence()
            yield Abort()


def _object(body: bytes, ending: Literal["finished", "faulted"], *, tokens: int | None = None) -> Iterator[Step]:
    """The whole body at once; with tokens it is an answer, and says what it cost."""
    yield Head(200, _json_headers(body))
    yield Body(body, tokens or 0, usage=tokens is not None)
    yield End(ending=ending)


def _json_headers(body: bytes) -> tuple[tuple[str, str], ...]:
    return (("content-type", "application/json"), ("content-length", str(len(body))))
