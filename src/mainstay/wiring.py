"""How are the rooms joined?

`join` makes each room from its settings and hands every one what it needs of the others. Nothing runs here: what
has to run as long as the service does is in `House.parts`, and `mainstay.service` keeps it going.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import httpx2

from mainstay import plugin
from mainstay.agents import plugin as responders
from mainstay.agents.mcp import servers as mcp
from mainstay.agents.standing import Standing
from mainstay.asgi import Mount
from mainstay.bus import Bus
from mainstay.channels.model import PluggedSettings
from mainstay.channels.plugged import made
from mainstay.channels.seam import Channel, Reading, Service
from mainstay.checks import Check
from mainstay.clock import Clock
from mainstay.config.machine import ROOT
from mainstay.config.model import Config
from mainstay.containment.model import Origin
from mainstay.containment.reporter import Report
from mainstay.errors import ConfigError, StorageUnavailable
from mainstay.events import DeadLettered, MessageAccepted, MessageDuplicated, MessageJoined
from mainstay.health import http as health_http
from mainstay.health.monitor import HealthMonitor
from mainstay.inbox.owner import is_alive, owner_name
from mainstay.inbox.sqlite import Inbox
from mainstay.memory.sqlite import Memory
from mainstay.messages import Message, Responder, Suggester
from mainstay.models.budget.ledger import Ledger
from mainstay.models.budget.sqlite import StoredSpending
from mainstay.recovery.breaker.permits import Breaker
from mainstay.recovery.breaker.registry import Breakers
from mainstay.recovery.breaker.sqlite import SharedPauses
from mainstay.storage.sqlite import Storage
from mainstay.turns.attempt import Rooms
from mainstay.turns.machine import crowd_notice
from mainstay.turns.runner import Turns
from mainstay.web.access import Access, load_tokens
from mainstay.web.app import App, build

__all__ = ["House", "database_breaker", "find_extras", "join", "web"]

_log = logging.getLogger(__name__)

_TIDY_EVERY_S = 60.0
_DATABASE_PAUSE_S = 1.0
_LONGEST_DATABASE_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """The rooms of one service, joined.

    Attributes:
        turns: runs the responder on what was accepted, and stops it.
        spending: what the models cost; to be flushed before the storage is closed.
        channels: by name.
        checks: what health asks.
        parts: what has to run as long as the service does, by the name that is shown when it fails.
        make_responder: imports the agents and builds them, which takes a second: it belongs in a thread.
    """

    turns: Turns
    spending: StoredSpending
    channels: Mapping[str, Channel]
    checks: list[Check]
    parts: Mapping[str, Callable[[], Awaitable[None]]]
    make_responder: Callable[[], Responder]


class _Suggesting:
    """What the responder suggests, once there is one, and if it is one that does so."""

    def __init__(self) -> None:
        self.responder: Responder | None = None

    async def __call__(self, message: Message, answer: str) -> Sequence[str]:
        return await self.responder.suggest(message, answer) if isinstance(self.responder, Suggester) else ()


def find_extras(config: Config) -> None:
    """Look for everything that the configuration names and that may not be installed, without importing it.

    Raises:
        ConfigError: if any of it is missing.
    """
    if config.service.responder:
        plugin.find(config.service.responder, "service.responder")
    for name, channel in config.channels.items():
        if isinstance(channel, PluggedSettings):
            plugin.find(channel.kind, f"channels.{name}.kind")
    mcp.find(_mcp_in_use(config))


def database_breaker(breakers: Breakers, config: Config) -> Breaker:
    """Of short pauses, as it is asked all the time; and not shared, as nobody could read that in a broken one."""
    settings = replace(config.breaker, open_time=_DATABASE_PAUSE_S, longest_open=_LONGEST_DATABASE_PAUSE_S)
    return breakers.of("database", settings=settings, shared=False)


def join(
    config: Config,
    storage: Storage,
    breakers: Breakers,
    *,
    bus: Bus,
    clock: Clock,
    to_platform: httpx2.AsyncClient,
    to_models: httpx2.AsyncClient,
) -> House:
    """Make every room; the two clients are apart, so that slow models leave the platform its connections."""
    inbox = _inbox(config, storage, bus, clock)
    memory = Memory(storage, config.memory, clock=clock)
    turns = _turns(config, storage, inbox, memory, bus, clock)
    suggesting = _Suggesting()
    channels = _channels(config, storage, inbox, memory, turns, breakers, bus, clock, to_platform, suggesting)
    pauses = SharedPauses(storage, breakers, clock=clock)
    ledger = Ledger(config.budget, config.models, bus=bus, clock=clock)
    spending = StoredSpending(storage, ledger, retention_s=config.budget.retention, clock=clock)
    tier = config.service.model_tier
    standing = Standing(config.models, config.agents, root=ROOT, tier=tier, breakers=breakers, ledger=ledger)
    standing.watch(bus)
    servers = mcp.McpServers(config.mcp, _mcp_in_use(config), breakers=breakers, bus=bus, clock=clock)

    def make_responder() -> Responder:
        suggesting.responder = responder = load_responder()
        return responder

    def load_responder() -> Responder:
        if config.service.responder:
            return responders.load(config.service.responder)
        from mainstay.agents.responder import build

        return build(
            config.agents,
            config.models,
            bus=bus,
            clock=clock,
            http=to_models,
            servers=servers.by_name,
            recovery=config.recovery,
            breakers=breakers,
            refresh=pauses.refresh,
            ledger=ledger,
            tier=tier,
        )

    return House(
        turns=turns,
        spending=spending,
        channels=channels,
        checks=[
            storage.check,
            *(check for channel in channels.values() for check in channel.checks()),
            *standing.checks(),
            *servers.checks(),
        ],
        parts={
            **{f"channel {name}": channel.run for name, channel in channels.items()},
            "tidying up": lambda: _tidy(inbox, memory, turns, spending),
            "sharing breakers": pauses.run,
            "keeping the spending": spending.run,
            **servers.parts(),
        },
        make_responder=make_responder,
    )


def _mcp_in_use(config: Config) -> frozenset[str]:
    return mcp.in_use({} if config.service.responder else config.agents, ROOT)


def _inbox(config: Config, storage: Storage, bus: Bus, clock: Clock) -> Inbox:
    def buried(turn_id: str, reason: str) -> None:
        bus.emit(DeadLettered(turn_id=turn_id, reason=reason))

    def joined(message: Message, into: str) -> None:
        bus.emit(MessageJoined(turn_id=message.turn_id, channel=message.channel, into=into))

    worker = owner_name()
    return Inbox(storage, config.inbox, clock=clock, worker=worker, on_buried=buried, on_joined=joined)


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
    config: Config,
    storage: Storage,
    inbox: Inbox,
    memory: Memory,
    turns: Turns,
    breakers: Breakers,
    bus: Bus,
    clock: Clock,
    http: httpx2.AsyncClient,
    suggest: Callable[[Message, str], Awaitable[Sequence[str]]],
) -> dict[str, Channel]:
    channels = {}
    for name, settings in config.channels.items():
        service = Service(
            storage=storage,
            bus=bus,
            clock=clock,
            http=http,
            guard=breakers.of(f"channel:{name}"),
            accept=lambda message: _accept(inbox, bus, message),
            cancel=turns.recall,
            stop=turns.stop,
            find=inbox.find,
            unanswered=inbox.unanswered,
            depth=inbox.depth,
            answered_before=memory.remembers,
            retry_window_s=config.turns.retry_window,
            suggest=suggest,
        )
        channels[name] = made(name, settings, service)
    for name, channel in channels.items():
        turns.answer_through(name, channel.replier, channel.read if isinstance(channel, Reading) else None)
    return channels


async def _accept(inbox: Inbox, bus: Bus, message: Message) -> bool:
    """Store a message; from here on it has exactly one outcome."""
    accepted = await inbox.put(message, aside=crowd_notice(message))
    if accepted:
        bus.emit(MessageAccepted(turn_id=message.turn_id, channel=message.channel, lane=message.lane))
    else:
        bus.emit(MessageDuplicated(turn_id=message.turn_id, channel=message.channel))
    return accepted


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


def web(
    config: Config,
    monitor: HealthMonitor,
    lifecycle: health_http.Lifecycle,
    channels: Mapping[str, Channel],
    report: Report,
    *,
    sandbox: bool,
) -> App:
    """What is served, where, and to whom.

    Raises:
        ConfigError: if two channels want to answer at one path, or one at a path of the service itself.
    """
    access = Access(load_tokens(config.home), config.service.public_hosts)
    health = health_http.health(monitor, detailed=access.trusted)
    probes = health_http.probes(monitor, detailed=access.trusted, lifecycle=lifecycle)
    mounts = [Mount(path="/health", app=health, access="public")]
    mounts += [Mount(path=path, app=probes, access="public") for path in ("/livez", "/readyz", "/startupz")]
    for name, channel in channels.items():
        mounts += _not_taken(name, channel.mounts, {"/", *(mount.path for mount in mounts)})
    by_webhook = any(bot.mode == "webhook" for bot in config.bots.values())
    return build(
        mounts,
        access=access,
        service=config.service.name,
        mode="webhook" if by_webhook else "subscription",
        sandbox=sandbox,
        failed=lambda path, error: report(Origin.REQUEST, f"request to {path}", error),
    )


def _not_taken(name: str, mounts: Sequence[Mount], taken: Collection[str]) -> Sequence[Mount]:
    for mount in mounts:
        if mount.path in taken:
            raise ConfigError(
                f"channels.{name}: {mount.path} is answered by something else: let it have another path"
            )
    return mounts
