"""How is one sandbox put together and served?

One listener for each model, one for the platform and its control interface, all on the loopback. No decisions here.
"""

import asyncio
import contextlib
import fcntl
import os
import random
import secrets
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from mainstay.alive import own_mark
from mainstay.clock import SystemClock
from mainstay.sandbox.control import Changes, Controlled, control_app
from mainstay.sandbox.feishu.clock import PlatformClock
from mainstay.sandbox.feishu.delivery import Pusher
from mainstay.sandbox.feishu.faults import PlatformFaults
from mainstay.sandbox.feishu.http import platform_app
from mainstay.sandbox.feishu.model import App, Options
from mainstay.sandbox.feishu.platform import Platform
from mainstay.sandbox.feishu.tenant import Tenant
from mainstay.sandbox.model import ADDRESS_FILE, SandboxAddress, to_json
from mainstay.sandbox.owner import Owner
from mainstay.sandbox.process import last_address
from mainstay.sandbox.provider.faults import FaultPlan
from mainstay.sandbox.provider.http import provider_app
from mainstay.sandbox.provider.model import ProviderSettings
from mainstay.sandbox.provider.record import ProviderRecord

__all__ = ["MODELS", "Launch", "claim", "serve"]

MODELS = ("primary", "fallback")
_LOCK_FILE = "sandbox.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What was asked for on the command line; see there."""

    home: Path
    ports: dict[str, int]
    time_scale: float
    tokens_per_second: float
    owner: int
    grace_s: float


class _Listener(uvicorn.Server):
    """A server that leaves signals to the process, and says when it is listening."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                interface="asgi3",
                lifespan="off",
                proxy_headers=False,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=60,
                timeout_graceful_shutdown=1,
            )
        )
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Three servers share this process: none of them owns its signals."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does it; then say so."""
        await super().startup(sockets)
        self.listening.set()


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
    sockets = {name: _bind(port, _port(before, name)) for name, port in launch.ports.items()}
    address = _address(launch, sockets, before)
    async with httpx2.AsyncClient(trust_env=False) as http:
        parts = _assemble(launch, address, http)
        apps = {name: _model(name, parts, launch, address.model_token) for name in MODELS}
        apps["feishu"] = _front(parts, address.control_token)
        await _run(launch, address, parts, [(_Listener(app), sockets[name]) for name, app in apps.items()])


async def _run(
    launch: Launch, address: SandboxAddress, parts: Controlled, listeners: list[tuple[_Listener, socket.socket]]
) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stopping.set)
    async with asyncio.TaskGroup() as group:
        for listener, listening in listeners:
            group.create_task(listener.serve(sockets=[listening]))
        for listener, _ in listeners:
            await listener.listening.wait()
        pushing = group.create_task(parts.pusher.run())
        orphaned = group.create_task(_stop_when_orphaned(parts.owner, stopping))
        _publish(launch.home, address)
        try:
            print(f"sandbox ready: {address.feishu_url} (pid {address.pid}, home {launch.home})", flush=True)  # noqa: T201
            await stopping.wait()
        finally:
            (launch.home / ADDRESS_FILE).unlink(missing_ok=True)
            parts.faults.clear()
            parts.changes.end()
            pushing.cancel()
            orphaned.cancel()
            for listener, _ in listeners:
                listener.should_exit = True


async def _stop_when_orphaned(owner: Owner, stopping: asyncio.Event) -> None:
    await owner.orphaned()
    stopping.set()


def _assemble(launch: Launch, address: SandboxAddress, http: httpx2.AsyncClient) -> Controlled:
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
    return Controlled(
        platform=Platform(tenant, rng),
        pusher=Pusher(tenant, clock, http, rng),
        clock=clock,
        faults=PlatformFaults(),
        changes=Changes(),
        owner=Owner(launch.owner, launch.grace_s, system),
        model_faults={name: FaultPlan(system) for name in MODELS},
        model_records={name: ProviderRecord() for name in MODELS},
    )


def _model(name: str, parts: Controlled, launch: Launch, token: str) -> ASGIApp:
    speed = launch.tokens_per_second
    return provider_app(
        name,
        faults=parts.model_faults[name],
        record=parts.model_records[name],
        clock=SystemClock(),
        token=token,
        settings=ProviderSettings(tokens_per_second=speed if speed > 0 else float("inf")),
    )


def _front(parts: Controlled, token: str) -> ASGIApp:
    platform = platform_app(parts.platform, parts.faults, parts.clock, parts.changes.announce)
    control = control_app(parts, token)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        chosen = control if scope["path"].startswith("/sandbox/") else platform
        await chosen(scope, receive, send)

    return app


def _address(launch: Launch, sockets: dict[str, socket.socket], before: SandboxAddress | None) -> SandboxAddress:
    """Where this sandbox is; after one that was killed, with its credentials, which the service still has."""
    origins = {name: f"http://127.0.0.1:{each.getsockname()[1]}" for name, each in sockets.items()}
    address = SandboxAddress(
        pid=os.getpid(),
        started=own_mark(),
        feishu_url=origins["feishu"],
        models={name: f"{origins[name]}/v1" for name in MODELS},
        control_url=f"{origins['feishu']}/sandbox",
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


def _port(before: SandboxAddress | None, name: str) -> int:
    if before is None:
        return 0
    return urlsplit(before.feishu_url if name == "feishu" else before.models.get(name, "")).port or 0


def _bind(port: int, port_before: int) -> socket.socket:
    """A socket on the port asked for; if any will do, on the one before, if that is still free."""
    # With the protocol named, asyncio switches Nagle's algorithm off; else small answers wait 40 ms for an ACK.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(("127.0.0.1", port or port_before))
    except OSError:
        if port:
            raise
        bound.bind(("127.0.0.1", 0))
    return bound


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
