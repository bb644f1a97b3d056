"""Where is the sandbox of this home, and how is it started and stopped?

The sandbox is always a process of its own, in a session of its own: it outlives the service's crash, and hears no
Ctrl-C that was meant for the service. It inherits neither credentials nor the service's sockets.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import httpx2

from mainstay.alive import is_alive
from mainstay.certificates import trusted
from mainstay.errors import MainstayError
from mainstay.notify import MARKER
from mainstay.sandbox.client import SandboxClient, SandboxError
from mainstay.sandbox.model import ADDRESS_FILE, USUAL_MODELS, SandboxAddress, SandboxSettings

__all__ = ["LOG", "SandboxFailed", "arguments", "find", "last_address", "start", "stop"]

_POLL_S = 0.02
_INHERITED = (
    "HOME",
    "LANG",
    "LC_ALL",
    "PATH",
    "PYTHONPATH",
    "PYTHONDONTWRITEBYTECODE",
    "TMPDIR",
    "TZ",
    "VIRTUAL_ENV",
)
LOG = "sandbox.log"


class SandboxFailed(MainstayError):
    """The sandbox did not start, or did not stop."""


def find(home: Path) -> SandboxAddress | None:
    """The living sandbox of that home, if there is one."""
    address = last_address(home)
    return address if address is not None and is_alive(address.pid, address.started) else None


def last_address(home: Path) -> SandboxAddress | None:
    """What the address file says; it is left behind by a sandbox that was killed."""
    try:
        return SandboxAddress.from_json((home / ADDRESS_FILE).read_bytes())
    except (OSError, ValueError):
        return None


async def start(
    home: Path, settings: SandboxSettings | None = None, *, owner: int = 0, models: Iterable[str] = ()
) -> SandboxAddress:
    """The sandbox of that home: the living one, or a new one that is ready.

    Args:
        home: where its address is kept, e.g. ``.mainstay``; made if need be.
        settings: of a new one; a living one stays as it is.
        owner: the pid to run for (see `mainstay.sandbox.owner`); 0 to run until `stop`.
        models: the names of models that it must have; a living one adds those that it lacks.

    Raises:
        SandboxFailed: when it was not ready within ``settings.start_timeout``.
    """
    settings, wanted = settings or SandboxSettings(), tuple(models)
    pid = 0
    try:
        async with asyncio.timeout(settings.start_timeout):
            while True:
                address = find(home)
                if address is not None:
                    ours_or_ended = pid in {0, address.pid} or _has_ended(pid)
                    if ours_or_ended and await _adopted(address, owner):
                        return await _with_models(address, wanted)
                elif pid == 0:
                    _reap_last(home)
                    pid = _spawn(home, settings, owner, wanted or USUAL_MODELS)
                elif _has_ended(pid):
                    raise SandboxFailed(f"the sandbox ended while it was starting; see {home / LOG}")
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        if pid and not _has_ended(pid):
            _kill(pid)
        raise SandboxFailed(
            f"the sandbox was not ready within {settings.start_timeout:g} s; see {home / LOG}"
        ) from None


async def stop(address: SandboxAddress, *, within_s: float = 5.0) -> None:
    """End it: SIGTERM, and SIGKILL when it has not gone in time.

    Raises:
        SandboxFailed: when even that did not help.
    """
    for sign, seconds in ((signal.SIGTERM, within_s), (signal.SIGKILL, 2.0)):
        if not is_alive(address.pid, address.started):
            break
        os.kill(address.pid, sign)
        try:
            async with asyncio.timeout(seconds):
                while is_alive(address.pid, address.started):  # noqa: ASYNC110  no event comes from a process
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            continue
    if is_alive(address.pid, address.started):
        raise SandboxFailed(f"the sandbox (pid {address.pid}) does not end; kill it by hand")
    _has_ended(address.pid)


def arguments(
    home: Path, settings: SandboxSettings, owner: int = 0, models: Iterable[str] = USUAL_MODELS
) -> list[str]:
    """What has to be typed after ``python -m mainstay.sandbox`` for one like this."""
    scale, tokens = str(settings.time_scale), str(settings.tokens_per_second)
    words = ["--home", str(home), "--time-scale", scale, "--tokens-per-second", tokens]
    return [*words, "--owner", str(owner), "--grace", str(settings.owner_grace), "--models", ",".join(models)]


def _spawn(home: Path, settings: SandboxSettings, owner: int, models: tuple[str, ...]) -> int:
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    command = [sys.executable, "-P", "-m", "mainstay.sandbox", *arguments(home, settings, owner, models)]
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment[MARKER] = f"sandbox@{home}"  # it does not end with a supervised service
    log = str(home / LOG)
    # Not subprocess: its object would have to be kept, and a sandbox that outlives it is the intention.
    return os.posix_spawn(
        sys.executable,
        command,
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def _reap_last(home: Path) -> None:
    """One of ours that died by itself is a zombie until somebody asks for it."""
    last = last_address(home)
    if last is not None:
        _has_ended(last.pid)


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _has_ended(pid: int) -> bool:
    """Whether our child has ended; reaps it. True for what is no child of ours."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


async def _adopted(address: SandboxAddress, owner: int) -> bool:
    """Whether the sandbox answers, and runs for that owner from now on."""
    headers = {"Authorization": f"Bearer {address.control_token}"}
    try:
        async with httpx2.AsyncClient(headers=headers, timeout=2.0, verify=trusted(), trust_env=False) as http:
            answer = await http.post(f"{address.control_url}/adopt", json={"pid": owner})
    except httpx2.HTTPError:
        return False
    return answer.status_code == 200


async def _with_models(address: SandboxAddress, wanted: tuple[str, ...]) -> SandboxAddress:
    """The same sandbox, once it has these models."""
    if address.models.keys() >= set(wanted):
        return address
    try:
        async with SandboxClient(address) as client:
            return replace(address, models=await client.add_models(wanted))
    except SandboxError as error:
        raise SandboxFailed(f"the sandbox (pid {address.pid}) takes no more models: {error}") from error
