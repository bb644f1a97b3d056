"""Does the service go on after an error that nobody caught, and when is a part of it started again?

Pure. *Contained* is what took nothing with it that the service needs: it goes on. *Fatal* is what left a hole
(a thread, the main thread, a part that can not be started again), a process without memory, and one error too many:
a process that only looks alive is worse than one that is started anew.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final

from mainstay.containment.model import Contained, ContainmentSettings, Fatal, Origin, Uncaught
from mainstay.errors import Category
from mainstay.units import format_duration

__all__ = ["Containment", "restart"]

_LEAVES_A_HOLE: Final = frozenset({Origin.MAIN, Origin.THREAD, Origin.VITAL})
_FAULTS_OF_OTHERS: Final = frozenset(
    {
        Category.RATE_LIMIT,
        Category.QUOTA_EXHAUSTED,
        Category.TIMEOUT,
        Category.OVERLOADED,
        Category.CONNECTION,
        Category.SERVER_ERROR,
        Category.AUTH,
        Category.PERMISSION,
    }
)
_ONE_REPORT_S: Final = 1.0
_TOLD: Final = "_mainstay_told_s"
_FIRST_WAIT_S: Final = 1.0


class Containment:
    """Judges the errors of one process; ``now`` is in monotonic seconds."""

    def __init__(self, settings: ContainmentSettings) -> None:
        self._settings = settings
        self._counted: deque[float] = deque(maxlen=settings.max_errors + 1)

    def judge(self, uncaught: Uncaught, now: float) -> Contained | Fatal | None:
        """What the error means; None for what is no error, or was told already and means nothing more."""
        error = uncaught.error
        if isinstance(error, SystemExit | KeyboardInterrupt):
            return None
        told = error is not None and _told(error, now)
        if error is not None and any(isinstance(each, MemoryError) for each in _in_and_behind(error)):
            return Fatal(f"out of memory in {uncaught.where}", told)
        if uncaught.origin in _LEAVES_A_HOLE:
            return Fatal(f"{uncaught.where} ended with {uncaught.said}", told)
        if told:
            return None
        if _counts(uncaught) and self._too_many(now):
            limit, window = self._settings.max_errors, format_duration(self._settings.window)
            return Fatal(
                f"more than {limit} errors within {window} that nobody caught, "
                f"the last one in {uncaught.where}: {uncaught.said}"
            )
        return Contained()

    def _too_many(self, now: float) -> bool:
        self._counted.append(now)
        return len(self._counted) > self._settings.max_errors and now - self._counted[0] <= self._settings.window


def restart(failures: int, ran_s: float, settings: ContainmentSettings) -> tuple[int, float]:
    """How often a part has failed in a row by now, and how many seconds later it is started again.

    The wait grows, but only so far that a part which can not stay up reaches ``max_errors`` within ``window``.

    Args:
        failures: in a row, before this one.
        ran_s: how long the part ran this time.
        settings: of the containment.
    """
    longest_s = settings.window / settings.max_errors / 2
    failures = 1 if ran_s > longest_s else failures + 1
    return failures, min(_FIRST_WAIT_S * 2.0 ** min(failures - 1, 30), longest_s)


def _counts(uncaught: Uncaught) -> bool:
    """No restart mends a provider or a network; only what our own parts let through is a bug whatever it is.

    Nor may somebody who sends requests end the service, whatever bug he has found.
    """
    if uncaught.origin is Origin.PART:
        return True
    return uncaught.origin is not Origin.REQUEST and uncaught.category not in _FAULTS_OF_OTHERS


def _told(error: BaseException, now: float) -> bool:
    """Whether this very object was reported a moment ago, as by two tasks that waited for the same thing.

    For a moment only: some programs raise one object again and again. Noted on the error itself, which need not be
    kept for it.
    """
    if now - vars(error).get(_TOLD, float("-inf")) < _ONE_REPORT_S:
        return True
    vars(error)[_TOLD] = now
    return False


def _in_and_behind(error: BaseException) -> Iterator[BaseException]:
    """The error, those that are grouped in it, and those that it was raised from; each once."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, BaseExceptionGroup):
            waiting.extend(each.exceptions)
        if each.__cause__ is not None:
            waiting.append(each.__cause__)
        elif each.__context__ is not None and not each.__suppress_context__:
            waiting.append(each.__context__)
