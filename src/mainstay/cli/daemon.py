"""How does the supervisor begin, with as little in its memory as can be?

A program of its own: ``python -I -S daemon.py [beside=…] [started] [boot] [shown=…] [handed=…] PLAN_FD``.
`mainstay daemon` reads the configuration, leaves what it has read behind PLAN_FD (see `mainstay.supervisor.plan`),
and becomes this, where nothing is imported but the standard library and what the daemon needs. Only who shows what
the apps say, as `mainstay run` does, has the rest of the package.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import ModuleType
    from typing import Any

    from mainstay.errors import MainstayError
    from mainstay.supervisor.plan import Asked
    from mainstay.supervisor.updating import Update

__all__ = ["program"]

_POLL_S = 0.1


def program(*, shown: str) -> tuple[str, ...]:
    """How this is executed; the words and the file descriptor come behind it.

    Args:
        shown: in which form what the apps say is shown, see `mainstay.cli.lines.Form`; empty if it is not.
    """
    flags = ("-P",) if shown else ("-I", "-S")
    words = (*((f"beside={_libraries()}",) if _libraries() else ()), *((f"shown={shown}",) if shown else ()))
    return (sys.executable, *flags, os.path.abspath(__file__), *words)  # noqa: PTH100


def _libraries() -> str:
    """Where the only one is that the daemon ever needs, for who writes `cron_restart`; empty if it is not there."""
    from importlib.util import find_spec

    found = find_spec("cronsim")
    return os.path.dirname(os.path.dirname(found.origin)) if found and found.origin else ""  # noqa: PTH120


def _main(words: "list[str]") -> int:
    *words, fd = words
    # Beside what is installed: nothing of that may come before the standard library.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120
    sys.path.extend(word[7:] for word in words if word.startswith("beside="))
    from mainstay.errors import MainstayError, only_told
    from mainstay.supervisor.fingerprint import of_daemon
    from mainstay.supervisor.plan import read

    try:
        asked = read(int(fd), of_daemon())
        asyncio = _asyncio(with_tls=asked.plan.asks_over_tls)
        from mainstay.supervisor.handed import Handed
        from mainstay.supervisor.life import supervise
        from mainstay.supervisor.state import load
        from mainstay.supervisor.updating import execute

        if "check" in words:
            load(asked.plan.home)
            return 0
        handed = next((Handed.parse(word[7:]) for word in words if word.startswith("handed=")), None)
        _name()
        shown = next((word[6:] for word in words if word.startswith("shown=")), "")
        keep, failed = supervise(asked, started="started" in words, boot="boot" in words, handed=handed), ""
        while update := asyncio.run(_shown(asked, keep, shown) if shown else keep):
            try:
                execute(update)
            except MainstayError as error:
                failed = str(error)
            keep = supervise(asked, handed=update.handed, failed=failed)
    except MainstayError as error:
        return _complain(error)
    except BaseExceptionGroup as group:
        told = only_told(group)
        if told is None:
            raise
        return _complain(told)
    return 0


def _asyncio(*, with_tls: bool) -> "ModuleType":
    """It goes without TLS, too, and with a quarter less of memory."""
    if not with_tls:
        sys.modules["ssl"] = None  # type: ignore[assignment]
    import asyncio

    if not with_tls:
        del sys.modules["ssl"]
    return asyncio


def _complain(error: "MainstayError") -> int:
    from mainstay.logs.redact import redact

    print("\n".join(f"mainstay: {line}" for line in redact(str(error)).splitlines()), file=sys.stderr)
    return error.exit_code


def _name() -> None:
    """What it is called in lists of processes."""
    with open("/proc/self/comm", "w") as comm:  # noqa: PTH123
        comm.write("mainstay-daemon")


async def _shown(asked: "Asked", keep: "Coroutine[Any, Any, Update | None]", form: str) -> "Update | None":
    """Beside it, what the apps say from now on; also the last of it."""
    import asyncio

    from mainstay.cli.lines import Form, Lines
    from mainstay.supervisor.output.model import sources
    from mainstay.supervisor.output.reader import Reader

    plan = asked.plan
    logs = [
        source
        for app, settings in plan.apps.items()
        for number in range(settings.instances)
        for source in sources(app, number, settings, logs=plan.home / "logs", base=plan.directory)
    ]
    reader, lines = Reader(logs), Lines(logs, Form[form.upper()])
    reader.last(0, follow=True)

    async def go_on() -> None:
        while True:
            lines.show(reader.poll())
            lines.flush()
            await asyncio.sleep(0.0 if reader.behind else _POLL_S)

    try:
        async with asyncio.TaskGroup() as tasks:
            showing = tasks.create_task(go_on())
            update = await keep
            showing.cancel()
    finally:
        while rest := reader.poll():
            lines.show(rest)
        lines.flush()
        reader.close()
    return update


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
