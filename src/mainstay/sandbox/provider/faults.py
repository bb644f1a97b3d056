"""Which fault meets the next call?

Faults that are limited to a number of calls are a script: they are used up one call at a time, in the order in
which they were injected. When none is left, the newest of the lasting ones applies, until its time is over or the
plan is cleared; then the one before it, and so on. One that is to begin after some calls lets these pass first, as
if it were not there: in the script the calls that come when it is its turn, a lasting one every call.
"""

from dataclasses import dataclass
from typing import Final

from mainstay.clock import Clock
from mainstay.errors import nearest

__all__ = ["FAULTS", "MIDWAY", "Fault", "FaultPlan"]

FAULTS: Final = (
    "rate-limit",
    "quota",
    "auth",
    "forbidden",
    "server-error",
    "overloaded",
    "refuse",
    "hang",
    "hang-first-token",
    "stall",
    "cut",
    "truncate",
    "malformed",
    "error-after-200",
)


MIDWAY: Final = ("stall", "cut", "truncate", "malformed", "error-after-200")
"""Those that strike in the middle of an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way to misbehave, and its details; details that the fault does not know are ignored.

    Attributes:
        name: one of `FAULTS`.
        after_tokens: of `MIDWAY`: tokens that are sent first. A shorter answer is sent whole, and breaks before it
            says that it is finished.
        retry_after_s: rate-limit: what the client is told to wait; None to tell it nothing.
        message: the text of the error; empty for the fault's own.
        pings: stall, hang-first-token: whether the stream keeps sending comments, as gateways do.
        done: truncate: whether ``[DONE]`` is still sent.
    """

    name: str
    after_tokens: int = 5
    retry_after_s: float | None = 2.0
    message: str = ""
    pings: bool = False
    done: bool = False

    def __post_init__(self) -> None:
        if self.name not in FAULTS:
            raise ValueError(f"unknown fault {self.name!r}{nearest(self.name, FAULTS)}")
        if self.after_tokens < 0:
            raise ValueError("after_tokens must not be negative")
        if self.retry_after_s is not None and not 0 <= self.retry_after_s < float("inf"):
            raise ValueError("retry_after_s must be finite and not negative")


@dataclass(slots=True)
class _Entry:
    fault: Fault
    left: int | None
    until: float
    passing: int


class FaultPlan:
    """The faults of one model, as they were asked for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: list[_Entry] = []

    def inject(
        self,
        name: str,
        *,
        times: int | None = None,
        for_s: float | None = None,
        after_calls: int = 0,
        after_tokens: int = 5,
        retry_after_s: float | None = 2.0,
        message: str = "",
        pings: bool = False,
        done: bool = False,
    ) -> Fault:
        """Add a fault for ``times`` calls, for ``for_s`` seconds, or until `clear`; see `Fault`.

        The first ``after_calls`` calls pass before it begins; its time runs from now on.

        Raises:
            ValueError: if there is no such fault, or a number is out of range; the message says which.
        """
        if times is not None and times < 1:
            raise ValueError("times must be at least 1")
        if for_s is not None and not for_s > 0:
            raise ValueError("for_s must be more than 0")
        if after_calls < 0:
            raise ValueError("after_calls must not be negative")
        fault = Fault(
            name=name,
            after_tokens=after_tokens,
            retry_after_s=retry_after_s,
            message=message,
            pings=pings,
            done=done,
        )
        until = float("inf") if for_s is None else self._clock.monotonic() + for_s
        self._entries.append(_Entry(fault, times, until, after_calls))
        return fault

    def clear(self) -> None:
        """Behave from the next call on; calls that hang already go on hanging."""
        self._entries.clear()

    def active(self) -> tuple[Fault, ...]:
        """What may still be met: first the script in its order, then the lasting faults, the newest first."""
        self._drop_expired()
        script = [entry.fault for entry in self._entries if entry.left is not None]
        return (*script, *(entry.fault for entry in reversed(self._entries) if entry.left is None))

    def take(self) -> Fault | None:
        """The fault that the call which begins now has to meet; uses up one of a script's calls."""
        lasting = self.lasting()
        for entry in self._entries:
            if entry.left is None:
                entry.passing = max(0, entry.passing - 1)
        scripted = next((entry for entry in self._entries if entry.left is not None), None)
        if scripted is None or scripted.left is None:
            return lasting
        if scripted.passing:
            scripted.passing -= 1
            return lasting
        scripted.left -= 1
        if scripted.left == 0:
            self._entries.remove(scripted)
        return scripted.fault

    def lasting(self) -> Fault | None:
        """The newest fault that has begun and is not limited to a number of calls."""
        self._drop_expired()
        begun = (entry for entry in reversed(self._entries) if entry.left is None and not entry.passing)
        return next((entry.fault for entry in begun), None)

    def _drop_expired(self) -> None:
        now = self._clock.monotonic()
        self._entries = [entry for entry in self._entries if now < entry.until]
