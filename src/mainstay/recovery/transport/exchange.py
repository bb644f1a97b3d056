"""What became of one request, from the permit to the last byte?

The part of a guarded call that does no I/O, so that threads and tasks share it. The first verdict goes to the
breaker at once, so that a caller who keeps a finished response open holds nobody up; the report goes out when the
exchange is over.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mainstay.clock import Clock
from mainstay.errors import Category
from mainstay.logs.redact import redact
from mainstay.recovery.breaker.permits import Permit
from mainstay.recovery.classify import classify
from mainstay.recovery.model import Failure
from mainstay.recovery.transport.model import CallSeen
from mainstay.recovery.transport.ratelimits import limits_seen
from mainstay.recovery.transport.reading import Reading, Verdict
from mainstay.recovery.transport.tally import Tally

__all__ = ["Exchange", "Target", "never_sent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is asked, as far as it may be told to others."""

    method: str
    host: str
    path: str


class Exchange:
    """One request that is sent, and its response. Not thread-safe; a response has one reader.

    Args:
        target: what is asked.
        permit: of the breaker; None if there is none, or if somebody else says how the call went.
        tally: where it is counted, and told from.
        clock: for durations.
    """

    __slots__ = (
        "_bytes",
        "_clock",
        "_first_byte_s",
        "_headers_s",
        "_over",
        "_permit",
        "_reading",
        "_started",
        "_status",
        "_tally",
        "_target",
        "_verdict",
    )

    def __init__(self, target: Target, permit: Permit | None, tally: Tally, clock: Clock) -> None:
        self._target = target
        self._permit = permit
        self._tally = tally
        self._clock = clock
        self._started = clock.monotonic()
        self._status: int | None = None
        self._headers_s: float | None = None
        self._first_byte_s: float | None = None
        self._bytes = 0
        self._reading: Reading | None = None
        self._verdict: Verdict | None = None
        self._over = False
        tally.begun()

    @property
    def begun(self) -> bool:
        """Whether a byte of the body has come."""
        return self._first_byte_s is not None

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """The headers are here; their names in lower case."""
        now = self._clock.monotonic()
        self._status, self._headers_s = status, now - self._started
        self._reading = Reading(status, headers)
        self._tally.told(limits_seen(headers, now))

    def received(self, piece: bytes) -> None:
        """A piece of the body is here."""
        if not piece:
            return
        self._bytes += len(piece)
        if self._first_byte_s is None:
            self._first_byte_s = self._clock.monotonic() - self._started
        if self._verdict is None and self._reading is not None:
            self._judge(self._reading.feed(piece))

    def ended(self) -> None:
        """The body was read to its end."""
        self._finish(whole=True)

    def closed(self) -> None:
        """The caller is done with the response, whether it was over or not."""
        self._finish(whole=False)

    def failed(self, error: BaseException) -> None:
        """It ended with an exception, be it a cancellation."""
        self._finish(whole=False, failure=classify(error))

    def _finish(self, *, whole: bool, failure: Failure | None = None) -> None:
        if self._over:
            return
        self._over = True
        if self._verdict is None:
            self._judge((self._reading and self._reading.end(whole=whole)) or failure)
        if self._verdict is None and self._permit is not None:
            self._permit.ignore()
        self._tally.ended(
            CallSeen(
                method=self._target.method,
                host=self._target.host,
                path=redact(self._target.path),
                status=self._status,
                headers_s=self._headers_s,
                first_byte_s=self._first_byte_s,
                total_s=self._clock.monotonic() - self._started,
                bytes=self._bytes,
                category=self._category(),
                refused=False,
            )
        )

    def _judge(self, verdict: Verdict | None) -> None:
        self._verdict = verdict
        if verdict is None or self._permit is None:
            return
        if isinstance(verdict, Failure):
            self._permit.fail(verdict)
            return
        if self._reading is not None and self._reading.streamed:
            self._permit.first_token_s = self._first_byte_s
        self._permit.succeed()

    def _category(self) -> Category | None:
        if self._verdict is None:
            return Category.CANCELLED
        return self._verdict.category if isinstance(self._verdict, Failure) else None


def never_sent(target: Target, category: Category) -> CallSeen:
    """The report on a request that was refused."""
    return CallSeen(
        method=target.method,
        host=target.host,
        path=redact(target.path),
        status=None,
        headers_s=None,
        first_byte_s=None,
        total_s=0.0,
        bytes=0,
        category=category,
        refused=True,
    )
