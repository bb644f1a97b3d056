"""How does the daemon know what is asked for, although it can not read the configuration?

To read it takes several times the memory and the imports that the daemon has. So a short process reads it, and
leaves what it has found in memory that has no name (memfd_create(2)): what is secret in it gets into no file, no
argument and no environment. The same way has the daemon's own beginning, and each time that it is to be read anew.
"""

import asyncio
import os
import subprocess
from _pickle import dumps, loads
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mainstay.clock import SystemClock
from mainstay.errors import ConfigError, MainstayError
from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.daemon import Plan
from mainstay.supervisor.fingerprint import of_daemon

__all__ = ["Asked", "Reading", "ask", "marks", "read", "write"]

_READ_WITHIN_S: Final = 30.0
_SETTLED_S: Final = 0.1  # a file's time of modification is not exact

Marks = Mapping[Path, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a configuration says.

    Attributes:
        plan: what is to be kept running.
        command: reads it anew; it is given ``--plan-to FD``.
        read: the files of which it is made, as they were.
    """

    plan: Plan
    command: tuple[str, ...]
    read: Marks


def marks(paths: Iterable[Path]) -> Marks:
    """How these files are now; to be taken before they are read."""
    found: dict[Path, tuple[int, ...]] = {}
    now = SystemClock().now().timestamp()
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            found[path] = ()
            continue
        is_young = abs(now - status.st_mtime) < _SETTLED_S
        found[path] = (status.st_ino, status.st_size, status.st_mtime_ns, os.getpid() if is_young else 0)
    return found


def write(asked: Asked, fd: int) -> None:
    """Leave it there, for code that is the same as this. Raises OSError."""
    data = of_daemon() + b"\n" + dumps(asked)
    while data:
        data = data[os.write(fd, data) :]


def read(fd: int, code: bytes) -> Asked:
    """What was left there, which is closed.

    Raises:
        MainstayError: it was left by other code than this.
    """
    with open(fd, "rb") as file:
        file.seek(0)
        written_by, _, data = file.read().partition(b"\n")
    if written_by != code:
        raise MainstayError("the installed mainstay is not the one that the supervisor runs: `mainstay update`")
    asked: Asked = loads(data)  # written by this very code, in memory of ours
    return asked


class Reading:
    """Reads the configuration anew, when there is anything new in it.

    Args:
        asked: what was read last.
        code: the fingerprint of the code that runs.
    """

    def __init__(self, asked: Asked, code: bytes) -> None:
        self._asked = asked
        self._code = code

    async def apps(self) -> Mapping[str, AppSettings]:
        """All that are configured.

        Raises:
            MainstayError: it can not be read.
        """
        if marks(self._asked.read) != self._asked.read:
            fd, _ = await ask(self._asked)
            self._asked = read(fd, self._code)
        return self._asked.plan.apps


async def ask(asked: Asked, *words: str) -> tuple[int, str]:
    """Have the configuration read; where it was left, and what was said.

    Raises:
        MainstayError: it can not be read; ConfigError where it is wrong.
    """
    fd = os.memfd_create("plan")
    try:
        reading = await asyncio.create_subprocess_exec(
            *(*asked.command, "--plan-to", str(fd), *words),
            env=asked.plan.environ,
            pass_fds=(fd,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        said = await _said(reading)
    except OSError as error:
        os.close(fd)
        raise MainstayError(f"the configuration can not be read: {error.filename}: {error.strerror}") from error
    except BaseException:
        os.close(fd)
        raise
    return fd, said


async def _said(reading: asyncio.subprocess.Process) -> str:
    try:
        async with asyncio.timeout(_READ_WITHIN_S):
            said, complained = await reading.communicate()
    except TimeoutError:
        raise MainstayError("the configuration can not be read: that takes too long") from None
    finally:
        if reading.returncode is None:
            reading.kill()
            await reading.wait()
    if reading.returncode == 0:
        return said.decode()
    problems = [line.removeprefix("mainstay: ") for line in complained.decode("utf-8", "replace").splitlines()]
    if reading.returncode == ConfigError.exit_code:
        raise ConfigError(*problems)
    raise MainstayError(problems[-1] if problems else "the configuration can not be read")
