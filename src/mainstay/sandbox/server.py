"""How is one sandbox put together and served?

One listener for each model, which may become more, and one for the platform and its control interface, all on the
loopback. No decisions here.
"""

import asyncio
import contextlib
import fcntl
import os
import random
import secrets
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from starlette.types import ASGIApp, Receive, Scope, Send

from mainstay.alive import own_mark
from mainstay.certificates import trusted
from mainstay.clock import SystemClock
from mainstay.sandbox.control import Changes, Controlled, control_app
from mainstay.sandbox.feishu.clock import PlatformClock
from mainstay.sandbox.feishu.delivery import Pusher
from mainstay.sandbox.feishu.faults import PlatformFaults
from mainstay.sandbox.feishu.http import platform_app
from mainstay.sandbox.feishu.model import App, Options
from mainstay.sandbox.feishu.platform import Platform
from mainstay.sandbox.feishu.tenant import Tenant
from mainstay.sandbox.feishu.websocket import Gateway
from mainstay.sandbox.listener import Listener, bind
from mainstay.sandbox.model import ADDRESS_FILE, SandboxAddress, to_json
from mainstay.sandbox.models import Models
from mainstay.sandbox.owner import Owner
from mainstay.sandbox.process import last_address
from mainstay.sandbox.provider.model import ProviderSettings

__all__ = ["Launch", "claim", "serve"]

_LOCK_FILE = "sandbox.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What was asked for on the command line; see there."""

    home: Path
    models: tuple[str, ...]
    model_ports: Mapping[str, int]
    feishu_port: int
    time_scale: float
    tokens_per_second: float
    owner: int
    grace_s: float


@contextlib.contextmanager
def claim(home: Path) -> Iterator[bool]:
    """Whether this process is the one sandbox of that home, while the context lasts.

    A lock of the operating system: it ends with the process, however that ends.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home / _LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


async def serve(launch: Launch) -> None:
    """Run until SIGTERM or SIGINT, or until the owner has been gone for the grace."""
    before = last_address(launch.home)
    front = bind(launch.feishu_port, _port(before.feishu_url if before else ""))
    address = _address(launch, f"http://127.0.0.1:{front.getsockname()[1]}", before)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stopping.set)
    models = _models(launch, address, before)
    models.reserve(launch.models)

    def publish() -> None:
        if not stopping.is_set():
            _publish(launch.home, replace(address, models=models.urls))

    async with httpx2.AsyncClient(verify=trusted(), trust_env=False) as http, asyncio.TaskGroup() as group:
        parts = _assemble(launch, address, http, models, publish)
        listener = Listener(_front(parts, address.control_token))
        group.create_task(listener.serve(sockets=[front]))
        background = [group.create_task(parts.pusher.run())]
        background.append(group.create_task(parts.gateway.run(bind(0, 0))))
        background.append(group.create_task(_stop_when_orphaned(parts.owner, stopping)))
        try:
            await models.serve(group)
            await listener.listening.wait()
            await parts.gateway.listening.wait()
            publish()
            print(f"sandbox ready: {address.feishu_url} (pid {address.pid}, home {launch.home})", flush=True)  # noqa: T201
            await stopping.wait()
        finally:
            (launch.home / ADDRESS_FILE).unlink(missing_ok=True)
            parts.faults.clear()
            parts.changes.end()
            for task in background:
                task.cancel()
            models.stop()
            listener.should_exit = True


async def _stop_when_orphaned(owner: Owner, stopping: asyncio.Event) -> None:
    await owner.orphaned()
    stopping.set()


def _models(launch: Launch, address: SandboxAddress, before: SandboxAddress | None) -> Models:
    speed = launch.tokens_per_second
    known = before.models if before else {}
    return Models(
        token=address.model_token,
        settings=ProviderSettings(tokens_per_second=speed if speed > 0 else float("inf")),
        clock=SystemClock(),
        port_of=lambda name: (launch.model_ports.get(name, 0), _port(known.get(name, ""))),
    )


def _assemble(
    launch: Launch, address: SandboxAddress, http: httpx2.AsyncClient, models: Models, publish: Callable[[], None]
) -> Controlled:
    system = SystemClock()
    clock = PlatformClock(system, launch.time_scale)
    rng = random.SystemRandom()
    app = App(
        app_id=address.app_id,
        app_secret=address.app_secret,
        encrypt_key=address.encrypt_key,
        verification_token=address.verification_token,
    )
    tenant = Tenant(app, Options(), rng)
    changes = Changes()
    gateway = Gateway(tenant, clock, rng, changes.announce)
    return Controlled(
        platform=Platform(tenant, rng),
        pusher=Pusher(tenant, clock, http, rng, gateway),
        gateway=gateway,
        clock=clock,
        faults=PlatformFaults(),
        changes=changes,
        owner=Owner(launch.owner, launch.grace_s, system),
        models=models,
        publish=publish,
    )


def _front(parts: Controlled, token: str) -> ASGIApp:
    platform = platform_app(parts.platform, parts.faults, parts.clock, parts.changes.announce)
    control = control_app(parts, token)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        chosen = control if scope["path"].startswith("/sandbox/") else platform
        await chosen(scope, receive, send)

    return app


def _address(launch: Launch, origin: str, before: SandboxAddress | None) -> SandboxAddress:
    """Where this sandbox is; after one that was killed, with its credentials, which the service still has."""
    address = SandboxAddress(
        pid=os.getpid(),
        started=own_mark(),
        feishu_url=origin,
        models={},
        control_url=f"{origin}/sandbox",
        control_token=secrets.token_urlsafe(24),
        app_id=f"cli_{secrets.token_hex(8)}",
        app_secret=secrets.token_urlsafe(24),
        encrypt_key=secrets.token_urlsafe(24),
        verification_token=secrets.token_urlsafe(24),
        model_token=f"sk-sandbox-{secrets.token_hex(12)}",
        time_scale=launch.time_scale,
    )
    if before is None:
        return address
    return replace(
        address,
        control_token=before.control_token,
        app_id=before.app_id,
        app_secret=before.app_secret,
        encrypt_key=before.encrypt_key,
        verification_token=before.verification_token,
        model_token=before.model_token,
    )


def _port(url: str) -> int:
    return urlsplit(url).port or 0


def _publish(home: Path, address: SandboxAddress) -> None:
    """Write the address so that a reader finds all of it or nothing."""
    target = home / ADDRESS_FILE
    beside = target.with_suffix(".new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(to_json(address))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(target)
