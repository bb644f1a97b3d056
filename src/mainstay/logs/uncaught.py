"""What becomes of an error that nobody caught?

It is written in the words that people grep for, and reported, so that it is counted. Whether the process goes on is
not decided here: an exception that ends the main thread ends the process, as Python has it.
"""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

__all__ = ["loop_handler", "watch"]

_log = logging.getLogger(__name__)
Report = Callable[[BaseException | str], None]


def watch(report: Report) -> None:
    """Write and report what ends the main thread or any other one."""

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
            return
        _log.critical("[FATAL] Uncaught exception: %s: %s", kind.__name__, error, exc_info=(kind, error, trace))
        report(error)

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            uncaught(args.exc_type, args.exc_value, args.exc_traceback)

    sys.excepthook = uncaught
    threading.excepthook = in_thread


def loop_handler(report: Report) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """For `asyncio.AbstractEventLoop.set_exception_handler`: a task that failed with nobody waiting for it."""

    def handle(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        message = str(context.get("message", ""))
        _log.error("[WARN] Unhandled rejection: %s", error or message, exc_info=error)
        report(error or message)

    return handle
