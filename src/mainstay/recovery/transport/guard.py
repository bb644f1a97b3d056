"""How is every request of an SDK on httpx or httpx2 bounded and watched, with the SDK left as it is?

::

    transport = GuardTransport(httpx2.AsyncHTTPTransport(), breaker=Breaker("openai"))
    client = AsyncOpenAI(http_client=httpx2.AsyncClient(transport=transport))

A transport is the one place through which all requests of an SDK pass. Here they meet limits of silence, the
ambient deadline (`mainstay.recovery.deadline`) and a circuit breaker; rate-limit headers are read, and what
happened is counted. It is a guard of bytes: that a stream makes no progress although it sends comments, or ends in
good order before the answer does, is seen only by a guard that understands the events, as Mainstay's own calls have
one.
"""

import asyncio
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, cast

from mainstay.clock import Clock, SystemClock
from mainstay.recovery.breaker.permits import Breaker, BreakerOpen, Permit
from mainstay.recovery.breaker.recording import is_recorded
from mainstay.recovery.deadline import left_s
from mainstay.recovery.transport.body import AsyncBody, SyncBody
from mainstay.recovery.transport.exchange import Exchange, Target, never_sent
from mainstay.recovery.transport.library import as_its_own, library_of, response_of
from mainstay.recovery.transport.model import CallCounts, CallSeen, LimitsSeen, TransportLimits
from mainstay.recovery.transport.refusal import StandIn, breaker_open, no_time_left
from mainstay.recovery.transport.tally import Tally
from mainstay.recovery.transport.waits import wait_for

if TYPE_CHECKING:
    import httpx2

    class _Transport(httpx2.AsyncBaseTransport, httpx2.BaseTransport):
        pass
else:
    _Transport = object

__all__ = ["GuardTransport"]

_DEFAULTS: Final = TransportLimits()


_SENT: Final = ".receive_response_headers.started"
"""The event of the ``trace`` extension with which a request is on its way, behind the name of the protocol."""

_GRACE_S: Final = 0.05
"""For the library's own timeouts to end a wait before ours does: they know what was waited for, and they close a
connection in the middle of its TLS handshake, which the library does not do when it is cancelled."""


class GuardTransport(_Transport):
    """A transport around another one, for clients that are asynchronous (on asyncio) or not.

    *Limits.* For an asynchronous client each of the three ends the wait when it has run out, with the library's
    own `ReadTimeout` and the request attached, and the socket is closed. Until the request was sent, the
    client's own timeouts for that (pool, connect, write) are what ends a wait; they are made no longer than
    ``header_s``. For a client that blocks its thread this is so for reading, too: ``header_s`` at most until the
    headers have come, then the longer of ``first_byte_s`` and ``idle_s``. Such a timeout is one for each read of
    the socket, so headers that come drop by drop are not bounded. A shorter timeout of the client's own always
    holds.

    *Deadline.* No wait is longer than what is left, and nothing is sent when nothing is left. For a client that
    blocks, what is left is taken when the request is sent and when its headers have come, and looked at before
    each piece of the body. A wait that the deadline ended is a failure like any other that ended so.

    *Breaker.* Each request needs a permit. One that is refused gets a response at once which SDKs do not retry;
    see `mainstay.recovery.transport.refusal`. A response of status 400 or more, an error object in the place of
    an answer, an exception, and a limit that has run out fail with what `mainstay.recovery.classify.classify`
    makes of them; waiting for a free connection of our own pool is nobody's fault. A body that was read to its
    end, or to the event that says that the answer is complete, is a success; in a stream of events the first
    byte says how slow it was. A call that its caller left early, or was cancelled in, says nothing.

    *Exactly one guard records.* Within `mainstay.recovery.breaker.recording.recording` of the same breaker, no
    permit is asked for and nothing is recorded; limits, counts and ``on_call`` stay.

    Args:
        inner: the transport that sends; closing this one closes it. Which library it belongs to decides about the
            types of responses and exceptions.
        breaker: None for limits and counts alone. One for each thing that can fail by itself.
        limits: see `TransportLimits` for units and defaults.
        on_call: told of each request when it has ended, by the task or thread that ended it; what it raises is
            counted and dropped.
        clock: for durations.

    Raises:
        TypeError: if ``inner`` is no transport of httpx or httpx2.
    """

    def __new__(cls, inner: "httpx2.AsyncBaseTransport | httpx2.BaseTransport", **_options: object) -> Self:
        """An instance that is a transport of the same library as ``inner``."""
        library = library_of(inner)
        return object.__new__(as_its_own(cls, library.AsyncBaseTransport, library.BaseTransport))

    def __init__(
        self,
        inner: "httpx2.AsyncBaseTransport | httpx2.BaseTransport",
        *,
        breaker: Breaker | None = None,
        limits: TransportLimits = _DEFAULTS,
        on_call: Callable[[CallSeen], object] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.breaker = breaker
        self._inner = inner
        self._library = library_of(inner)
        self._limits = limits
        self._clock = clock or SystemClock()
        self._tally = Tally(on_call)

    @property
    def counts(self) -> CallCounts:
        """What has passed through so far."""
        return self._tally.counts()

    @property
    def limits_seen(self) -> LimitsSeen | None:
        """The rate limits that the last response with such headers spoke of; None before the first."""
        return self._tally.limits

    async def handle_async_request(self, request: "httpx2.Request") -> "httpx2.Response":
        """Send one request, for an asynchronous client."""
        exchange = self._begin(request)
        if isinstance(exchange, StandIn):
            return response_of(self._library, exchange, request)
        try:
            response = await self._send(request)
        except BaseException as error:
            exchange.failed(error)
            raise
        body = as_its_own(AsyncBody, self._library.AsyncByteStream)
        return self._answered(response, exchange, body(response, request, exchange, self._limits, self._library))

    def handle_request(self, request: "httpx2.Request") -> "httpx2.Response":
        """Send one request, for a client that blocks its thread."""
        exchange = self._begin(request)
        if isinstance(exchange, StandIn):
            return response_of(self._library, exchange, request)
        timeouts = self._timeouts(request, "pool", "connect", "write", "read")
        try:
            with _extended(request, timeout=timeouts):
                response = cast("httpx2.BaseTransport", self._inner).handle_request(request)
        except BaseException as error:
            exchange.failed(error)
            raise
        # The library looks at it again when it begins to read the body.
        wait = wait_for("idle", max(self._limits.first_byte_s, self._limits.idle_s))
        timeouts["read"] = _shorter(_given(request).get("read"), wait.seconds)
        body = as_its_own(SyncBody, self._library.SyncByteStream)
        return self._answered(response, exchange, body(response, request, exchange, self._library))

    async def aclose(self) -> None:
        """Close the inner transport."""
        await cast("httpx2.AsyncBaseTransport", self._inner).aclose()

    def close(self) -> None:
        """Close the inner transport."""
        cast("httpx2.BaseTransport", self._inner).close()

    async def __aenter__(self) -> Self:
        await cast("httpx2.AsyncBaseTransport", self._inner).__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await cast("httpx2.AsyncBaseTransport", self._inner).__aexit__(kind, error, trace)

    def __enter__(self) -> Self:
        cast("httpx2.BaseTransport", self._inner).__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        cast("httpx2.BaseTransport", self._inner).__exit__(kind, error, trace)

    def _begin(self, request: "httpx2.Request") -> Exchange | StandIn:
        url = request.url
        target = Target(method=request.method, host=url.netloc.decode("ascii", "replace"), path=url.path)
        left = left_s()
        try:
            if left is None or left > 0:
                return Exchange(target, self._permit(), self._tally, self._clock)
            stand_in = no_time_left()
        except BreakerOpen as refused:
            stand_in = breaker_open(refused)
        self._tally.ended(never_sent(target, stand_in.category))
        return stand_in

    def _permit(self) -> Permit | None:
        """None if there is no breaker, or if whoever waits for this request will tell it how the call went."""
        return None if self.breaker is None or is_recorded(self.breaker) else self.breaker.permit()

    async def _send(self, request: "httpx2.Request") -> "httpx2.Response":
        """Send it, and wait for the headers. Whether it has been sent is known where the transport has a trace."""
        loop, wait = asyncio.get_running_loop(), wait_for("header", self._limits.header_s)
        timer = asyncio.timeout(wait.seconds + _GRACE_S)
        listener, waiting = request.extensions.get("trace"), True

        async def follow(event: str, info: Mapping[str, object]) -> None:
            nonlocal wait
            if waiting and not timer.expired():
                if event.endswith(_SENT):
                    wait = wait_for("header", self._limits.header_s)
                    timer.reschedule(loop.time() + wait.seconds)
                else:  # until then the library's own timeouts hold, and the deadline
                    left = left_s()
                    timer.reschedule(None if left is None else loop.time() + left + _GRACE_S)
            if listener is not None:
                await listener(event, info)

        timeouts = self._timeouts(request, "pool", "connect", "write")
        try:
            with _extended(request, timeout=timeouts, trace=follow):
                async with timer:
                    return await cast("httpx2.AsyncBaseTransport", self._inner).handle_async_request(request)
        except TimeoutError:
            if not timer.expired():
                raise
            raise self._library.ReadTimeout(wait.over("no response headers came"), request=request) from None
        finally:
            waiting = False

    def _timeouts(self, request: "httpx2.Request", *names: str) -> dict[str, float | None]:
        """The timeouts that the request was given, those of these names no longer than ``header_s``."""
        given, wait = _given(request), wait_for("header", self._limits.header_s)
        return {**given, **{name: _shorter(given.get(name), wait.seconds) for name in names}}

    def _answered(
        self, response: "httpx2.Response", exchange: Exchange, body: AsyncBody | SyncBody
    ) -> "httpx2.Response":
        exchange.answered(response.status_code, dict(response.headers.items()))
        stream = cast("httpx2.AsyncByteStream | httpx2.SyncByteStream", body)
        return self._library.Response(
            response.status_code, headers=response.headers, stream=stream, extensions=response.extensions
        )


@contextmanager
def _extended(request: "httpx2.Request", **extensions: object) -> Generator[None, None, None]:
    """The request with these extensions as well, until the inner transport has taken it."""
    given = request.extensions
    request.extensions = {**given, **extensions}
    try:
        yield
    finally:
        request.extensions = given


def _given(request: "httpx2.Request") -> Mapping[str, float | None]:
    """The timeouts of the client's own."""
    given: Mapping[str, float | None] = request.extensions.get("timeout", {})
    return given


def _shorter(given_s: float | None, limit_s: float) -> float:
    """The timeout that holds, where None is none; never 0, with which a socket would not wait at all."""
    return max(0.001, limit_s if given_s is None else min(given_s, limit_s))
