"""How is one agent service put together? START READING HERE.

The composition root: it builds each room from its settings and joins them. It decides nothing. `serve` reads as the
life of the service: take the port, open the storage, find the sandbox if there are no credentials, listen, warm
the agents in a thread (an acknowledgement must not wait for a framework to import), work, drain, stop.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from socket import socket

import httpx2

from mainstay.agents import plugin
from mainstay.agents.mcp import servers as mcp
from mainstay.agents.standing import Standing
from mainstay.agents.warm import unpaused
from mainstay.bus import Bus
from mainstay.channels.feishu.channel import FeishuChannel
from mainstay.clock import Clock, SystemClock
from mainstay.config.machine import ROOT
from mainstay.config.model import Config, has_credentials
from mainstay.config.sandboxed import with_sandbox
from mainstay.containment import hooks
from mainstay.containment.ending import Ending
from mainstay.containment.model import Origin
from mainstay.containment.parts import Parts
from mainstay.containment.reporter import Report, Reporter
from mainstay.errors import MainstayError, StorageUnavailable
from mainstay.events import (
    DeadLettered,
    Event,
    MessageAccepted,
    MessageDuplicated,
    ServiceReady,
    ServiceStopping,
)
from mainstay.health import http as health_http
from mainstay.health import observe
from mainstay.health.monitor import HealthMonitor
from mainstay.inbox.owner import is_alive, owner_name
from mainstay.inbox.sqlite import Inbox
from mainstay.logs import events as event_log
from mainstay.memory.sqlite import Memory
from mainstay.messages import Message, Responder
from mainstay.models.budget.ledger import Ledger
from mainstay.models.budget.sqlite import StoredSpending
from mainstay.models.http import model_client
from mainstay.recovery.breaker.permits import Breaker
from mainstay.recovery.breaker.registry import Breakers
from mainstay.recovery.breaker.sqlite import SharedPauses
from mainstay.sandbox.client import SandboxClient
from mainstay.sandbox.lent import lent
from mainstay.sandbox.model import SandboxAddress
from mainstay.schema import heads
from mainstay.storage.sqlite import Storage
from mainstay.turns.attempt import Rooms
from mainstay.turns.runner import Turns
from mainstay.web.access import Access, load_tokens
from mainstay.web.app import App, Mount, build
from mainstay.web.server import listen, serving

__all__ = ["serve"]

_log = logging.getLogger(__name__)

_TIDY_EVERY_S = 60.0
_DATABASE_PAUSE_S = 1.0
_LONGEST_DATABASE_PAUSE_S = 5.0
_UNLIMITED = httpx2.Limits(max_connections=None)
_HTTP_DRAIN_S = 2.0  # for requests under way when the turns are done; all of ours are short


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
        told = _only_told(group)
        if told is None:
            raise
        raise told from None


async def _serve(
    config: Config,
    announce: Callable[[str], None],
    observers: Sequence[Callable[[Event], None]],
    end_by: Callable[[float], None],
) -> None:
    if config.service.responder:
        plugin.find(config.service.responder)
    mcp_in_use = mcp.in_use({} if config.service.responder else config.agents, ROOT)
    mcp.find(mcp_in_use)
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
        listener = stack.enter_context(listen(config.service.host, config.service.port))
        breakers = Breakers(config.breaker, clock=clock)
        breakers.announce(bus)
        storage = Storage(config.storage, clock=clock, guard=_of_storage(breakers, config))
        await storage.open(heads())
        stack.push_async_callback(storage.close)
        to_platform = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False, limits=_UNLIMITED))
        to_models = await stack.enter_async_context(model_client())
        sandbox = None
        if config.sandbox_needed:
            sandbox = await stack.enter_async_context(lent(config.home, config.sandbox, config.sandbox_models))
        asked, config = config, with_sandbox(config, sandbox) if sandbox else config

        inbox = _inbox(config, storage, bus, clock)
        memory = Memory(storage, config.memory, clock=clock)
        turns = _turns(config, storage, inbox, memory, bus, clock)
        channels = _channels(config, storage, inbox, turns, bus, clock, to_platform)
        pauses = SharedPauses(storage, breakers, clock=clock)
        ledger = Ledger(config.budget, config.models, bus=bus, clock=clock)
        spending = StoredSpending(storage, ledger, retention_s=config.budget.retention, clock=clock)
        standing = Standing(
            config.models,
            config.agents,
            root=ROOT,
            tier=config.service.model_tier,
            breakers=breakers,
            ledger=ledger,
        )
        standing.watch(bus)
        mcp_servers = mcp.McpServers(config.mcp, mcp_in_use, breakers=breakers, bus=bus, clock=clock)
        connections = [check for channel in channels.values() for check in channel.checks()]
        for check in (storage.check, *connections, *standing.checks(), *mcp_servers.checks()):
            monitor.add_check(check)
        lifecycle = health_http.Lifecycle(started=False)
        app = _web(config, monitor, lifecycle, channels, report, sandbox=sandbox is not None)
        origin = _origin(listener)

        failed = partial(report, Origin.VITAL, "the HTTP server")
        async with (
            serving(app, listener, drain_s=_HTTP_DRAIN_S, failed=failed),
            Parts(config.containment, report=report, ending=ending, clock=clock) as parts,
        ):
            for name, channel in channels.items():
                parts.keep_going(f"channel {name}", channel.run)
            parts.keep_going("tidying up", lambda: _tidy(inbox, memory, turns, spending))
            parts.keep_going("sharing breakers", pauses.run)
            parts.keep_going("keeping the spending", spending.run)
            if sandbox is not None:
                await _subscribe(sandbox, asked, origin)
            lifecycle.started = True
            bus.emit(ServiceReady(startup_s=clock.monotonic() - began_s))
            _greet(announce, asked, origin)
            make = partial(_responder, config, bus, clock, to_models, breakers, pauses, ledger, mcp_servers)
            parts.run_once("answering", lambda: _work(turns, make, partial(report, Origin.VITAL, "answering")))
            parts.keep_going("MCP servers", mcp_servers.run)

            ending.cut_off = turns.cut_off
            await ending.asked.wait()
            lifecycle.draining = True
            app.draining = ending.failure is not None  # a process that failed is to promise nothing more
            bus.emit(ServiceStopping(drain_s=drain_s))
            _say_goodbye(announce, turns.running, drain_s)
            await turns.drain(drain_s)
            await spending.flush()
            app.draining = True
    if ending.failure is not None:
        raise ending.failure
    announce("stopped")


def _only_told(group: BaseExceptionGroup[BaseException]) -> MainstayError | None:
    """The line for the reader, out of the groups that tasks wrap it in; None if anything else went wrong too."""
    _, rest = group.split(MainstayError)
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if rest is None and isinstance(error, MainstayError) else None


def _observe(bus: Bus, monitor: HealthMonitor, observers: Sequence[Callable[[Event], None]]) -> None:
    observe.watch(bus, monitor)
    event_log.watch(bus)
    for observer in observers:
        bus.subscribe_all(observer)


def _of_storage(breakers: Breakers, config: Config) -> Breaker:
    """Of short pauses, as it is asked all the time; and not shared, as nobody could read that in a broken one."""
    settings = replace(config.breaker, open_time=_DATABASE_PAUSE_S, longest_open=_LONGEST_DATABASE_PAUSE_S)
    return breakers.of("database", settings=settings, shared=False)


def _inbox(config: Config, storage: Storage, bus: Bus, clock: Clock) -> Inbox:
    def buried(turn_id: str, reason: str) -> None:
        bus.emit(DeadLettered(turn_id=turn_id, reason=reason))

    return Inbox(storage, config.inbox, clock=clock, worker=owner_name(), on_buried=buried)


def _turns(config: Config, storage: Storage, inbox: Inbox, memory: Memory, bus: Bus, clock: Clock) -> Turns:
    rooms = Rooms(
        storage=storage,
        inbox=inbox,
        memory=memory,
        bus=bus,
        clock=clock,
        settings=config.turns,
        turn_timeout_s=config.service.turn_timeout,
        lease_s=config.inbox.lease,
    )
    return Turns(rooms)


def _channels(
    config: Config, storage: Storage, inbox: Inbox, turns: Turns, bus: Bus, clock: Clock, http: httpx2.AsyncClient
) -> dict[str, FeishuChannel]:
    channels = {
        name: FeishuChannel(
            name,
            settings,
            storage=storage,
            bus=bus,
            clock=clock,
            accept=lambda message: _accept(inbox, bus, message),
            recalled=turns.cancel,
            retry_window_s=config.turns.retry_window,
            http=http,
        )
        for name, settings in config.channels.items()
    }
    for name, channel in channels.items():
        turns.answer_through(name, channel.replier)
    return channels


async def _accept(inbox: Inbox, bus: Bus, message: Message) -> bool:
    """Store a message; from here on it has exactly one outcome."""
    accepted = await inbox.put(message)
    if accepted:
        bus.emit(MessageAccepted(turn_id=message.turn_id, channel=message.channel, lane=message.lane))
    else:
        bus.emit(MessageDuplicated(turn_id=message.turn_id, channel=message.channel))
    return accepted


def _web(
    config: Config,
    monitor: HealthMonitor,
    lifecycle: health_http.Lifecycle,
    channels: Mapping[str, FeishuChannel],
    report: Report,
    *,
    sandbox: bool,
) -> App:
    access = Access(load_tokens(config.home), config.service.public_hosts)
    health = health_http.health(monitor, detailed=access.trusted)
    probes = health_http.probes(monitor, detailed=access.trusted, lifecycle=lifecycle)
    mounts = [Mount(path="/health", app=health, access="public")]
    mounts += [Mount(path=path, app=probes, access="public") for path in ("/livez", "/readyz", "/startupz")]
    mounts += [
        Mount(
            path=_webhook_path(name, path),
            app=app,
            access="signature",
            # wider than the channel's own limits: what the channel refuses it counts, too
            max_body_bytes=2 * config.channels[name].body_limit,
            body_timeout_s=2 * config.channels[name].ack_timeout,
        )
        for name, channel in channels.items()
        for path, app in channel.routes
    ]
    by_webhook = any(channel.mode == "webhook" for channel in config.channels.values())
    return build(
        mounts,
        access=access,
        service=config.service.name,
        mode="webhook" if by_webhook else "subscription",
        sandbox=sandbox,
        failed=lambda path, error: report(Origin.REQUEST, f"request to {path}", error),
    )


def _origin(listener: socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _webhook_path(name: str, path: str) -> str:
    """The bot named ``feishu`` has the plain path; a further one its name in it: ``/webhook/NAME/event``."""
    return path if name == "feishu" else path.replace("/webhook/", f"/webhook/{name}/", 1)


async def _subscribe(sandbox: SandboxAddress, asked: Config, origin: str) -> None:
    """Let the sandbox's platform call the bot that lives there; one with credentials has a platform of its own."""
    living_there = (name for name, channel in asked.channels.items() if not has_credentials(channel))
    name = next(living_there, None)
    if name is None:
        return
    event, card = (f"{origin}{_webhook_path(name, path)}" for path in ("/webhook/event", "/webhook/card"))
    async with SandboxClient(sandbox) as client:
        await client.subscribe(event, card)


async def _work(turns: Turns, make: Callable[[], Responder], failed: Callable[[Exception], None]) -> None:
    await turns.run(await unpaused(make), failed=failed)


def _responder(
    config: Config,
    bus: Bus,
    clock: Clock,
    http: httpx2.AsyncClient,
    breakers: Breakers,
    pauses: SharedPauses,
    ledger: Ledger,
    mcp_servers: mcp.McpServers,
) -> Responder:
    if config.service.responder:
        return plugin.load(config.service.responder)
    from mainstay.agents.responder import build as build_agents

    return build_agents(
        config.agents,
        config.models,
        bus=bus,
        clock=clock,
        http=http,
        servers=mcp_servers.by_name,
        recovery=config.recovery,
        breakers=breakers,
        refresh=pauses.refresh,
        ledger=ledger,
        tier=config.service.model_tier,
    )


async def _tidy(inbox: Inbox, memory: Memory, turns: Turns, spending: StoredSpending) -> None:
    """Free what dead workers of this machine held, and forget what is past its retention."""
    while True:
        try:
            await inbox.recover(is_alive)
            await inbox.prune()
            await memory.prune()
            await spending.prune()
            await turns.prune()
        except StorageUnavailable as error:
            _log.warning("Error: tidying up has to wait: %s", error)
        await asyncio.sleep(_TIDY_EVERY_S)


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
        announce('say something in a second terminal: mainstay ask "hello"')
