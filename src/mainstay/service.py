"""How does one agent service live? START READING HERE.

`serve` reads as the life of it: take the port, open the storage, find the sandbox if there are no credentials, join
the rooms (`mainstay.wiring`), listen, warm the agents in a thread (an acknowledgement must not wait for a framework
to import), work, drain, stop. It decides nothing.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from socket import socket

import httpx2

from mainstay.agents.warm import unpaused
from mainstay.bus import Bus
from mainstay.certificates import trusted
from mainstay.channels.seam import Hearing
from mainstay.clock import SystemClock
from mainstay.config.model import Config, has_credentials
from mainstay.config.sandboxed import with_sandbox
from mainstay.containment import hooks
from mainstay.containment.blocked import watching_the_loop
from mainstay.containment.ending import Ending
from mainstay.containment.model import Origin
from mainstay.containment.parts import Parts
from mainstay.containment.reporter import Reporter
from mainstay.errors import only_told
from mainstay.events import Event, ServiceReady, ServiceStopping
from mainstay.health import http as health_http
from mainstay.health import observe
from mainstay.health.monitor import HealthMonitor
from mainstay.logs import events as event_log
from mainstay.models.http import model_client
from mainstay.notify import Notifier
from mainstay.recovery.breaker.registry import Breakers
from mainstay.sandbox.client import SandboxClient, SandboxError
from mainstay.sandbox.lent import lent
from mainstay.sandbox.model import SandboxAddress
from mainstay.schema import heads
from mainstay.storage.sqlite import Storage
from mainstay.web.handed import handed
from mainstay.web.server import listen, serving
from mainstay.wiring import House, database_breaker, find_extras, join, web

__all__ = ["serve"]

_UNLIMITED = httpx2.Limits(max_connections=None)
_CONNECTED_S = 5.0
_HTTP_DRAIN_S = 2.0  # for requests under way when the turns are done; all of ours are short
_SUBSCRIBE_TRIES = 3


async def serve(
    config: Config,
    *,
    announce: Callable[[str], None],
    observers: Sequence[Callable[[Event], None]] = (),
    end_by: Callable[[float], None] = lambda _seconds: None,
) -> None:
    """Run the service until SIGTERM or SIGINT, then drain; a second signal cuts the drain short.

    After a fatal error it drains as well (see `mainstay.containment`), and raises why.

    Args:
        config: everything that was asked for.
        announce: told one readable line at a time: where things are, what happens.
        observers: more subscribers of every event.
        end_by: ends the process that many seconds later, whatever it is doing then; called after a fatal error.

    Raises:
        MainstayError: what keeps it from running: a taken port, a wrong schema, a full disk, a missing tool.
    """
    try:
        await _serve(config, announce, observers, end_by)
    except BaseExceptionGroup as group:
        told = only_told(group)
        if told is None:
            raise
        raise told from None


async def _tell(notifier: Notifier) -> None:
    with watching_the_loop(notifier):
        await notifier.keep_alive()


async def _serve(
    config: Config,
    announce: Callable[[str], None],
    observers: Sequence[Callable[[Event], None]],
    end_by: Callable[[float], None],
) -> None:
    find_extras(config)
    clock = SystemClock()
    began_s = clock.monotonic()
    bus, monitor = Bus(), HealthMonitor(config.health, clock=clock)
    _observe(bus, monitor, observers)
    drain_s = config.service.drain_timeout
    ending = Ending(bus, within_s=drain_s + config.containment.exit_grace, end_by=end_by)
    count = partial(bus.emit_from_thread, asyncio.get_running_loop())
    report = Reporter(config.containment, clock=clock, count=count, fail=ending.fail).report

    async with AsyncExitStack() as stack:
        stack.enter_context(hooks.watching(report))
        shared = handed()
        listener = stack.enter_context(shared or listen(config.service.host, config.service.port))
        breakers = Breakers(config.breaker, clock=clock)
        breakers.announce(bus)
        storage = Storage(config.storage, clock=clock, guard=database_breaker(breakers, config))
        await storage.open(heads())
        stack.push_async_callback(storage.close)
        to_platform = await stack.enter_async_context(
            httpx2.AsyncClient(verify=trusted(), trust_env=False, limits=_UNLIMITED)
        )
        to_models = await stack.enter_async_context(model_client())
        sandbox = None
        if config.sandbox_needed:
            sandbox = await stack.enter_async_context(lent(config.home, config.sandbox, config.sandbox_models))
        asked, config = config, with_sandbox(config, sandbox) if sandbox else config

        house = join(config, storage, breakers, bus=bus, clock=clock, to_platform=to_platform, to_models=to_models)
        for check in house.checks:
            monitor.add_check(check)
        lifecycle = health_http.Lifecycle(started=False)
        app = web(config, monitor, lifecycle, house.channels, report, sandbox=sandbox is not None)
        origin = _origin(listener)

        async with (
            serving(
                app, listener, drain_s=_HTTP_DRAIN_S, failed=partial(report, Origin.VITAL, "the HTTP server")
            ) as server,
            Parts(config.containment, report=report, ending=ending, clock=clock) as parts,
        ):
            for name, part in house.parts.items():
                parts.keep_going(name, part)
            if sandbox is not None:
                await _subscribe(sandbox, asked, origin)
            await _connected(house)
            lifecycle.started = True
            notifier = Notifier()
            notifier.say("READY=1", f"STATUS=answers at {origin}")
            if notifier.watchdog_s:
                parts.keep_going("telling the supervisor", partial(_tell, notifier))
            bus.emit(ServiceReady(startup_s=clock.monotonic() - began_s))
            _greet(announce, asked, origin)
            parts.run_once("answering", partial(_work, house, partial(report, Origin.VITAL, "answering")))

            ending.cut_off = house.turns.cut_off
            await ending.asked.wait()
            lifecycle.draining = True
            notifier.say("STOPPING=1", "STATUS=drains")
            if ending.failure is not None:  # a process that failed is to promise nothing more
                app.draining = True
                for channel in _hearing(house):
                    channel.leave()
            bus.emit(ServiceStopping(drain_s=drain_s))
            _say_goodbye(announce, house.turns.running, drain_s)
            await house.turns.drain(drain_s)
            await house.spending.flush()
            if shared is not None:
                server.leave()  # to the successor, which there may be already, instead of refusing it
            app.draining = True
    if ending.failure is not None:
        raise ending.failure
    announce("stopped")


def _observe(bus: Bus, monitor: HealthMonitor, observers: Sequence[Callable[[Event], None]]) -> None:
    observe.watch(bus, monitor)
    event_log.watch(bus)
    for observer in observers:
        bus.subscribe_all(observer)


def _origin(listener: socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _hearing(house: House) -> list[Hearing]:
    return [channel for channel in house.channels.values() if isinstance(channel, Hearing)]


async def _connected(house: House) -> None:
    """Be able to hear before it is said that we can; a platform that is away holds up no start for long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_CONNECTED_S):
            for channel in _hearing(house):
                await channel.connected()


async def _subscribe(sandbox: SandboxAddress, asked: Config, origin: str) -> None:
    """Let the sandbox's platform reach the bot that lives there; one with credentials has a platform of its own.

    It wants an answer within a second, and after a crash delivers at the same time all that it could not before.
    """
    living_there = (name for name, channel in asked.bots.items() if not has_credentials(channel))
    name = next(living_there, None)
    if name is None:
        return
    async with SandboxClient(sandbox) as client:
        if asked.bots[name].by_connection:
            await client.subscribe_by_connection()
        else:
            from mainstay.channels.feishu.webhook import webhook_path  # what has no such bot loads nothing of it

            event, card = (f"{origin}{webhook_path(name, path)}" for path in ("/webhook/event", "/webhook/card"))
            for left in reversed(range(_SUBSCRIBE_TRIES)):
                try:
                    await client.subscribe(event, card)
                    break
                except SandboxError:
                    if not left:
                        raise


async def _work(house: House, failed: Callable[[Exception], None]) -> None:
    await house.turns.run(await unpaused(house.make_responder), failed=failed)


def _say_goodbye(announce: Callable[[str], None], running: int, drain_s: float) -> None:
    if running:
        answers = "1 answer has" if running == 1 else f"{running} answers have"
        announce(f"stopping: {answers} up to {drain_s:g} s (again to cut off)")


def _greet(announce: Callable[[str], None], asked: Config, origin: str) -> None:
    announce(f"{asked.service.name} is ready: {origin}/health")
    users = asked.sandbox_users
    if users:
        missing = ", ".join(users)
        announce(f"no credentials for {missing}: the sandbox stands in, and its model is a script, not an AI")
    if any(user.startswith("channels.") for user in users):
        ours = os.path.relpath(Path(sys.executable).with_name("mainstay"))
        typed = "mainstay" if shutil.which("mainstay") else ours
        announce(f'say something in a second terminal: {typed} ask "hello"')
