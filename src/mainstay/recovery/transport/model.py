"""What may be asked of a guarded transport, and what does it tell?"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mainstay.errors import Category
from mainstay.recovery.model import above_zero

__all__ = ["CallCounts", "CallSeen", "LimitSeen", "LimitsSeen", "TransportLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportLimits:
    """How long the other side may be silent, in seconds.

    It is bytes that are waited for, not events: a comment that only keeps a stream open is a sign of life here.

    Attributes:
        header_s: from the request that was sent to the headers of the response; also the longest wait for each of a
            free connection, the connecting and the sending. Most providers send the headers of an answer that is
            not streamed together with the whole answer.
        first_byte_s: from the headers to the first byte of the body.
        idle_s: between two pieces of the body, while the caller waits for one.

    Raises:
        ValueError: if one of them is not finite, or not more than 0.
    """

    header_s: float = 120.0
    first_byte_s: float = 60.0
    idle_s: float = 60.0

    def __post_init__(self) -> None:
        above_zero(self, "header_s", "first_byte_s", "idle_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSeen:
    """One HTTP request that has ended, without anything of what was said; durations are seconds from its beginning.

    Attributes:
        host: with the port if the URL names one.
        path: of the URL, without the query; what looks like a credential in it is masked.
        status: None if no response came, or none was asked for (``refused``).
        headers_s: until the headers of the response; None if they did not come. ``first_byte_s`` likewise.
        bytes: of the body, as they came over the wire.
        category: why it failed; `Category.CANCELLED` if the caller left before the end, None if it went well.
        refused: it was not sent: the breaker was open, or no time was left.
    """

    method: str
    host: str
    path: str
    status: int | None
    headers_s: float | None
    first_byte_s: float | None
    total_s: float
    bytes: int
    category: Category | None
    refused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCounts:
    """What passed through a transport since it was made.

    Attributes:
        calls: all requests; they are ``open``, ``refused``, ``cancelled`` or ``failed``, or went well.
        open: begun and not ended; also a response that nobody reads or closes.
        refused: not sent.
        cancelled: left by the caller before the end.
        bytes: of bodies, as they came over the wire.
        failed: how many, by category.
        observer_errors: how often ``on_call`` raised; it was ignored.
    """

    calls: int = 0
    open: int = 0
    refused: int = 0
    cancelled: int = 0
    bytes: int = 0
    failed: Mapping[Category, int] = field(default_factory=dict)
    observer_errors: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSeen:
    """What one rate limit said of itself.

    Attributes:
        reset_s: seconds from the response until ``remaining`` is full again.
    """

    limit: int | None = None
    remaining: int | None = None
    reset_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsSeen:
    """The rate limits that the last response with such headers spoke of.

    Attributes:
        at_s: monotonic seconds when it came.
        by_name: ``"requests"``, ``"tokens"``, ``"input-tokens"`` …, as the provider calls them; ``""`` for one
            without a name.
        retry_after_s: how long the response asked to be left alone.
    """

    at_s: float
    by_name: Mapping[str, LimitSeen]
    retry_after_s: float | None = None
