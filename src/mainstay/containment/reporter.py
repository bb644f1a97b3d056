"""How is an error that nobody caught written down, counted and acted upon?

From any thread, once each, in the words that people grep for, and so that nothing that goes wrong on the way hides
the error or keeps a fatal one from ending the service.
"""

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol

from mainstay.bus import Bus
from mainstay.clock import Clock
from mainstay.containment.machine import Containment
from mainstay.containment.model import Contained, ContainmentSettings, Fatal, Origin, ServiceFailed, Uncaught
from mainstay.errors import Category, MainstayError
from mainstay.events import ErrorSeen
from mainstay.logs.redact import redact
from mainstay.recovery.classify import classify
from mainstay.recovery.wording import one_line

__all__ = ["Report", "Reporter", "last_resort"]

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
    """One per service, made on its event loop. `report` is a `Report`.

    Args:
        fail: ends the service; may be called from any thread, and more than once.
    """

    def __init__(
        self, settings: ContainmentSettings, *, bus: Bus, clock: Clock, fail: Callable[[MainstayError], None]
    ) -> None:
        self._containment = Containment(settings)
        self._bus = bus
        self._clock = clock
        self._fail = fail
        self._loop = asyncio.get_running_loop()
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
        if verdict is None:
            return
        try:
            _write(uncaught, verdict)
        except Exception:  # noqa: BLE001  whatever is wrong with the log: the error itself is to be read
            _last_words(f"{uncaught.said} (in {uncaught.where})", uncaught.error)
        with suppress(RuntimeError):  # the loop is closed: nobody counts any more
            self._loop.call_soon_threadsafe(self._bus.emit, _seen(uncaught))
        if isinstance(verdict, Fatal):
            self._fail(_failed(verdict.reason))


@contextmanager
def last_resort() -> Iterator[None]:
    """Around the event loop: what ends it is written down too, and leaves as an error that says it in one line.

    Raises:
        ServiceFailed: in place of an error that says nothing to the reader.
    """
    try:
        yield
    except (SystemExit, KeyboardInterrupt, MainstayError):
        raise
    except BaseException as error:
        if isinstance(error, OSError) and error.filename:  # a file that can not be read says which one
            raise
        uncaught = _uncaught(Origin.MAIN, "main thread", error, "")
        reason = f"{uncaught.where} ended with {uncaught.said}"
        _write(uncaught, Fatal(reason))
        raise _failed(reason) from None


def _failed(reason: str) -> ServiceFailed:
    return ServiceFailed(f"{reason}; its traceback is in the log")


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


def _write(uncaught: Uncaught, verdict: Contained | Fatal) -> None:
    if isinstance(verdict, Fatal):
        level, words = logging.CRITICAL, "[FATAL] Uncaught exception"
    else:
        level, words = logging.ERROR, "[WARN] Unhandled rejection"
    _log.log(
        level,
        "%s: %s (in %s)",
        words,
        uncaught.said,
        uncaught.where,
        exc_info=uncaught.error,
        extra={"origin": uncaught.origin.value},
    )


def _last_words(what: str, error: BaseException | None) -> None:
    with suppress(Exception):
        trace = "".join(traceback.format_exception(error)) if error else ""
        sys.stderr.write(redact(f"Error: {what}\n{trace}"))


def _seen(uncaught: Uncaught) -> ErrorSeen:
    return ErrorSeen(
        category=uncaught.category, message=uncaught.said, where=f"uncaught in {uncaught.where}", logged=True
    )
