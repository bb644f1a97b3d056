"""What is an error that nobody caught, and what may be set about it?"""

from dataclasses import dataclass
from enum import StrEnum

from mainstay.errors import Category, MainstayError
from mainstay.settings import duration, setting

__all__ = ["Contained", "ContainmentSettings", "Fatal", "Origin", "ServiceFailed", "Uncaught"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainmentSettings:
    """The section ``[containment]``: errors that nobody caught."""

    max_errors: int = setting(
        20, help="How many of them, within `window`, the service goes on with; one more, and it drains and exits 1."
    )
    window: float = duration("10m", help="For how long one of them counts.")
    exit_grace: float = duration(
        "20s",
        help="How much longer than `service.drain_timeout` the process may take to end after a fatal error.",
    )


class Origin(StrEnum):
    """Where an error ended up that nobody caught, and so what it took with it."""

    MAIN = "main thread"
    THREAD = "thread"
    VITAL = "part that can not be started again"
    PART = "part that is started again"
    TASK = "task"
    CALLBACK = "callback"
    REQUEST = "request"
    GENERATOR = "generator"
    FINALIZER = "finalizer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncaught:
    """An error that nobody caught.

    Attributes:
        origin: what kind of thing raised it.
        where: which one; without secrets, like all texts here.
        said: the error in one line, like ``"ValueError: too small"``.
        category: as `mainstay.recovery.classify` has it.
        error: the error itself; None where the interpreter or the event loop had only words.
    """

    origin: Origin
    where: str
    said: str
    category: Category
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Contained:
    """Nothing is missing: the service goes on."""


@dataclass(frozen=True, slots=True)
class Fatal:
    """The service must not go on as it is.

    Attributes:
        reason: why, in one line.
        told: the error was written and counted already; only what it means is new.
    """

    reason: str
    told: bool = False


class ServiceFailed(MainstayError):
    """The service has ended because of an error that nobody caught."""
