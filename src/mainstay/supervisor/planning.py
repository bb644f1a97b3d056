"""How does the daemon know what is asked for, although it can not read the configuration?

To read it takes several times the memory and the imports that the daemon has. So a short process reads it each time
that there is something new, and leaves what it has found where `mainstay.supervisor.plan` says.
"""

import asyncio
import os
import subprocess
from collections.abc import Mapping
from typing import Final

from mainstay.errors import ConfigError, MainstayError
from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.plan import Asked, marks, read

__all__ = ["Reading", "ask"]

_READ_WITHIN_S: Final = 30.0


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
