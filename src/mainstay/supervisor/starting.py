"""Is there a keeper, and how is one started if there is none?

One lock says so. Whoever starts a keeper has taken it, the keeper inherits it and has it for as long as it lives:
so two daemons that start at once start one.
"""

import asyncio
import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

from mainstay.errors import MainstayError
from mainstay.supervisor import boot
from mainstay.supervisor.wire import peer
from mainstay.units import format_duration

__all__ = ["check", "reach"]

_LOG: Final = "keeper.log"
_AGAIN_S: Final = 0.02
_CHECKED_S: Final = 10.0


async def reach(home: Path, within_s: float) -> socket.socket:
    """A connection to the keeper of this home, which is started if there is none.

    Raises:
        MainstayError: it can not be reached, or not be started.
    """
    try:
        async with asyncio.timeout(within_s):
            home = Path.cwd() / home
            while True:
                dialled = _dial(home)
                if dialled is not None:
                    return dialled
                await _start(home)
    except TimeoutError:
        raise MainstayError(
            f"the keeper of {home} does not answer within {format_duration(within_s)}: "
            f"look for a process mainstay-keeper that hangs, and kill it; what it has started goes on"
        ) from None
    except OSError as error:
        raise MainstayError(f"the keeper of {home} can not be reached or started: {error.strerror}") from error


async def check(program: str, table: int) -> str:
    """Whether that code could go on with this table of a keeper, which is closed; its fingerprint.

    Raises:
        MainstayError: it could not.
    """
    try:
        asked = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", program, "check", str(table)),
            pass_fds=(table,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise MainstayError(f"the keeper goes on as it was: {sys.executable}: {error.strerror}") from error
    finally:
        os.close(table)
    try:
        async with asyncio.timeout(_CHECKED_S):
            said, complained = await asked.communicate()
    except TimeoutError:
        asked.kill()
        await asked.wait()
        raise MainstayError("the keeper goes on as it was: what is installed now does not start") from None
    if asked.returncode != 0:
        why = complained.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise MainstayError(f"the keeper goes on as it was, what is installed now does not start: {why}")
    return said.decode()


def _dial(home: Path) -> socket.socket | None:
    directory = os.open(home, os.O_PATH | os.O_DIRECTORY)
    dialled = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        dialled.setblocking(False)  # noqa: FBT003
        dialled.connect(f"/proc/self/fd/{directory}/{boot.SOCKET}")  # an address must be short, a home need not be
    except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
        dialled.close()
        return None
    except OSError:
        dialled.close()
        raise
    finally:
        os.close(directory)
    pid, user = peer(dialled)
    if user != os.geteuid():
        dialled.close()
        raise MainstayError(f"{home / boot.SOCKET} is a socket of another user (process {pid}): remove it")
    return dialled


async def _start(home: Path) -> None:
    lock = os.open(home / boot.LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        await asyncio.sleep(_AGAIN_S)  # somebody else starts one right now, or the last one is about to end
    else:
        await _run(home, lock)
    finally:
        os.close(lock)


async def _run(home: Path, lock: int) -> None:
    told, tell = os.pipe()
    log = os.open(home / _LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        argv = (sys.executable, "-I", "-S", boot.__file__, "start", str(home), str(lock))
        process = subprocess.Popen(  # noqa: S603, ASYNC220  our own program; it forks, and is gone at once
            argv, stdin=subprocess.DEVNULL, stdout=tell, stderr=log, pass_fds=(lock,)
        )
    except OSError:
        os.close(told)
        raise
    finally:
        os.close(tell)
        os.close(log)
    try:
        if await _read(told) != boot.READY:
            raise MainstayError(f"the keeper of {home} has not started: {home / _LOG} says why")
    finally:
        os.close(told)
        process.kill()
        process.wait()


async def _read(fd: int) -> bytes:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(fd, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(fd)
    return os.read(fd, 64)
