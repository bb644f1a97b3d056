"""How is an error that nobody caught written down, counted and acted upon?

From any thread, once each, in the words that people grep for, and so that nothing that goes wrong on the way hides
the error or keeps a fatal one from ending the service.
"""

import logging
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

from mainstay.clock import Clock
from mainstay.containment.machine import Containment
from mainstay.containment.model import Contained, ContainmentSettings, Fatal, Origin, ServiceFailed, Uncaught
from mainstay.errors import Category, MainstayError
from mainstay.events import ErrorSeen
from mainstay.logs.redact import redact
from mainstay.recovery.classify import classify
from mainstay.recovery.wording import one_line

__all__ = ["Report", "Reporter"]

_log = logging.getLogger("mainstay.uncaught")
_LONGEST: Final = 500


class Report(Protocol):
    """Where errors that nobody caught are reported; from any thread."""

    def __call__(self, origin: Origin, where: str, error: BaseException | None, words: str = "") -> None:
        """Take one; never raises.

        Args:
            origin: what kind of thing raised it.
            where: which one; secrets in it are masked.
            error: the error; None where there are only words for it.
            words: these words.
        """


class Reporter:
    """Judges, writes and counts the errors of one process. `report` is a `Report`.

    Args:
        settings: of the containment.
        clock: for how long an error counts.
        count: told of each error; from any thread.
        fail: ends the service; from any thread, and more than once.
    """

    def __init__(
        self,
        settings: ContainmentSettings,
        *,
        clock: Clock,
        count: Callable[[ErrorSeen], None] = lambda _event: None,
        fail: Callable[[MainstayError], None] = lambda _failure: None,
    ) -> None:
        self._containment = Containment(settings)
        self._clock = clock
        self._count = count
        self._fail = fail
        # reentrant, for a finalizer that fails while its own thread is in here
        self._lock = threading.RLock()

    def report(self, origin: Origin, where: str, error: BaseException | None, words: str = "") -> None:
        """See `Report`."""
        try:
            self._report(_uncaught(origin, where, error, words))
        except Exception:  # noqa: BLE001  no memory, or an error with a will of its own: it is not to be lost
            _last_words(f"in {where}", error)
            self._fail(ServiceFailed(f"an error in {one_line(where)} could not even be reported"))

    def _report(self, uncaught: Uncaught) -> None:
        with self._lock:
            verdict = self._containment.judge(uncaught, self._clock.monotonic())
        match verdict:
            case Contained():
                self._tell(uncaught, fatal=False)
            case Fatal(reason, told):
                if not told:
                    self._tell(uncaught, fatal=True)
                self._fail(ServiceFailed(f"{reason}; its traceback is in the log"))
            case None:
                pass

    def _tell(self, uncaught: Uncaught, *, fatal: bool) -> None:
        try:
            _write(uncaught, fatal=fatal)
        except Exception:  # noqa: BLE001  whatever is wrong with the log: the error itself is to be read
            _last_words(f"{uncaught.said} (in {uncaught.where})", uncaught.error)
        where = f"uncaught in {uncaught.where}"
        with suppress(RuntimeError):  # the loop is closed: nobody counts any more
            self._count(ErrorSeen(category=uncaught.category, message=uncaught.said, where=where, logged=True))


def _uncaught(origin: Origin, where: str, error: BaseException | None, words: str) -> Uncaught:
    category, said = Category.INTERNAL, one_line(words, longest=_LONGEST)
    if error is not None:
        alone = _alone(error)
        said = type(alone).__name__
        with suppress(Exception):  # its text is the user's code, too
            said = one_line(f"{said}: {alone}".removesuffix(": "), longest=_LONGEST)
            category = classify(alone).category
            if category is Category.CANCELLED:  # it was raised while something was being cancelled: no excuse
                category = Category.INTERNAL
    where = one_line(where, longest=_LONGEST)
    return Uncaught(origin=origin, where=where, said=said, category=category, error=error)


def _alone(error: BaseException) -> BaseException:
    """The one error in a group of one, which says more than the group."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _write(uncaught: Uncaught, *, fatal: bool) -> None:
    _log.log(
        logging.CRITICAL if fatal else logging.ERROR,
        "%s: %s (in %s)",
        "[FATAL] Uncaught exception" if fatal else "[WARN] Unhandled rejection",
        uncaught.said,
        uncaught.where,
        exc_info=uncaught.error,
        extra={"origin": uncaught.origin.value},
    )


def _last_words(what: str, error: BaseException | None) -> None:
    with suppress(Exception):
        trace = "".join(traceback.format_exception(error)) if error else ""
        sys.stderr.write(redact(f"Error: {what}\n{trace}"))
