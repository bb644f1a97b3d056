"""Where do errors end up that nobody caught, and who is told?

The interpreter has a hook for the main thread, one for all others and one for finalizers; the event loop has one
for tasks, callbacks and generators. All of them report here.
"""

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final

from mainstay.containment.model import Origin
from mainstay.containment.reporter import Report
from mainstay.logs.redact import redact

__all__ = ["until_the_end", "watching"]

_READ_CHARS: Final = 4096
_SHOWN_CHARS: Final = 200


@contextmanager
def watching(report: Report) -> Iterator[None]:
    """Report what nobody catches while the block runs; afterwards every hook is again what it was before."""
    loop = asyncio.get_running_loop()
    before, on_loop_before = (
        (sys.excepthook, threading.excepthook, sys.unraisablehook),
        loop.get_exception_handler(),
    )

    def on_loop(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        origin, where = _place(context)
        report(origin, where, context.get("exception"), str(context.get("message", "")))

    until_the_end(report)
    loop.set_exception_handler(on_loop)
    try:
        yield
    finally:
        sys.excepthook, threading.excepthook, sys.unraisablehook = before
        loop.set_exception_handler(on_loop_before)


def until_the_end(report: Report) -> None:
    """Report what nobody catches in this process from now on; what its event loops know is not among it."""
    by_default = sys.excepthook

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, KeyboardInterrupt):
            by_default(kind, error, trace)
        else:
            thread = threading.current_thread()
            in_main = thread is threading.main_thread()
            report(Origin.MAIN if in_main else Origin.THREAD, _named(thread), error)

    def in_thread(args: threading.ExceptHookArgs) -> None:
        report(Origin.THREAD, _named(args.thread), args.exc_value, args.exc_type.__name__)

    def in_finalizer(args: "sys.UnraisableHookArgs") -> None:
        where = f"{args.err_msg or 'finalizer'} {_shown(args.object)}"
        report(Origin.FINALIZER, where, args.exc_value, args.exc_type.__name__)

    sys.excepthook, threading.excepthook, sys.unraisablehook = uncaught, in_thread, in_finalizer


def _named(thread: threading.Thread | None) -> str:
    if thread is threading.main_thread():
        return "main thread"
    return f"thread {thread.name if thread else 'without a name'}"


def _place(context: dict[str, Any]) -> tuple[Origin, str]:
    """Which of the things that a loop runs has failed."""
    task = context.get("task") or context.get("future")
    if isinstance(task, asyncio.Task):
        return Origin.TASK, f"task {task.get_name()}, {_shown(task.get_coro())}"
    if "asyncgen" in context:
        return Origin.GENERATOR, f"generator {_shown(context['asyncgen'])}"
    if "handle" in context:
        return Origin.CALLBACK, f"callback {_shown(context['handle'])}"
    return Origin.CALLBACK, str(context.get("message", "")) or "the event loop"


def _shown(thing: object) -> str:
    """What its author calls it, else what it says of itself; redacted before it is cut: half a secret is one."""
    try:
        text = str(getattr(thing, "__qualname__", "")) or repr(thing)
    except Exception:  # noqa: BLE001  the object's own code
        text = f"<{type(thing).__name__}>"
    return redact(text[:_READ_CHARS])[:_SHOWN_CHARS]
