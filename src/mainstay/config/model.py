"""What did the user ask for?

`Config` is the whole answer: every room's settings, each declared in the room that owns it, and where each value
came from. It is made by `mainstay.config.load.load`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final

from mainstay.agents.mcp.model import McpSettings
from mainstay.agents.model import AgentSettings, Tier
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.channels.kinds import ChannelSettings
from mainstay.containment.model import ContainmentSettings
from mainstay.health.model import HealthSettings
from mainstay.inbox.model import InboxSettings
from mainstay.logs.model import LogSettings
from mainstay.memory.model import MemorySettings
from mainstay.models.budget.model import BudgetSettings
from mainstay.models.model import ModelSettings
from mainstay.recovery.breaker.model import BreakerSettings
from mainstay.recovery.model import RecoverySettings
from mainstay.sandbox.model import SandboxSettings
from mainstay.settings import Secret, duration, setting
from mainstay.storage.model import StorageSettings
from mainstay.supervisor.app import AppSettings
from mainstay.turns.model import TurnSettings
from mainstay.units import parse_duration

__all__ = ["Config", "SandboxSection", "ServiceSettings", "has_credentials"]

_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared with, not bound to
_HOST: Final = re.compile(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_FACTORY: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def _port(written: object) -> int:
    port = int(str(written))
    if not 0 <= port <= 65535:
        raise ValueError(f"{port} is not a port: write a number from 1 to 65535, or 0 for any free one")
    return port


def _name(written: object) -> str:
    name = str(written)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", name):
        raise ValueError(f"{name!r} is not a name: write letters, digits, '-', '_' and '.', 63 at most")
    return name


def _address(written: object) -> str:
    host = str(written).strip("[]")
    if not re.fullmatch(r"[A-Za-z0-9.:_%-]+", host):
        raise ValueError(f'{written!r} is not an address: write it like "127.0.0.1" or "0.0.0.0"')
    return host


def _hosts(written: object) -> tuple[str, ...]:
    hosts = tuple(written) if isinstance(written, list | tuple) else ()
    for host in hosts:
        if not isinstance(host, str) or not _HOST.fullmatch(host):
            raise ValueError(
                f'{host!r} is not a host name: write it like "bot.example.com", without scheme or port'
            )
    return tuple(host.lower() for host in hosts)


def _drain(written: object) -> float:
    """Unlike other durations this one may be zero: stop at once, and resume after the restart."""
    return parse_duration(written if isinstance(written, int | float) else str(written))


def _factory(written: object) -> str:
    name = str(written)
    if name and not _FACTORY.fullmatch(name):
        raise ValueError(f'{name!r} is not a factory: write it like "package.module:factory"')
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """The section ``[service]``."""

    name: str = setting("feishu-agent", help="What the service is called in reports and logs.", parse=_name)
    host: str = setting(
        "127.0.0.1", help="The address to listen on; 0.0.0.0 is every interface of this machine.", parse=_address
    )
    port: int = setting(3000, help="The port to listen on; 0 takes any free one.", parse=_port, env=("PORT",))
    public_hosts: tuple[str, ...] = setting(
        (),
        help="Host names under which the service is reached through a proxy; requests for other names are refused.",
        parse=_hosts,
    )
    drain_timeout: float = setting(
        parse_duration("30s"),
        help="How long running answers may take to finish when the service stops; the next start resumes the rest.",
        unit="s",
        parse=_drain,
    )
    turn_timeout: float = duration("180s", help="How long one message may take, fallbacks included.")
    responder: str = setting(
        "",
        help='An agent of your own, as "package.module:factory"; empty: the agents of this file.',
        parse=_factory,
    )
    environment: str = setting(
        "development",
        help="Accepted and kept: the name of this installation's environment; nothing depends on it yet.",
        env=("NODE_ENV",),
    )
    devtools: bool = setting(
        False,  # noqa: FBT003
        help="Accepted and kept; this version has no devtools page yet.",
        env=("ENABLE_DEVTOOLS",),
    )
    model_tier: Tier = setting(  # noqa: RUF009  a field, like dataclasses.field
        "auto",
        help="Forces a tier of every agent's chain: primary asks only the first model, fallback all but the first; "
        "auto asks the first and falls back.",
        choices=("auto", "primary", "fallback"),
        env=("AI_MODEL_TIER",),
    )

    @property
    def url(self) -> str:
        """Where it answers on this machine."""
        host = _ANY_ADDRESS.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSection(SandboxSettings):
    """The section ``[sandbox]``: when there is one, and how it behaves."""

    enabled: str = setting(
        "auto",
        help="auto: it stands in for missing credentials; true: it always runs; false: needing it is an error.",
        parse=lambda written: str(written).lower(),
        choices=("auto", "true", "false"),
    )


def has_credentials(channel: FeishuSettings) -> bool:
    """Whether this channel is meant for the real platform. One of the two is enough: the other was forgotten."""
    return bool(channel.app_id) or bool(channel.app_secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that was asked for.

    Attributes:
        home: where the service keeps what it writes; it need not exist yet.
        directory: of the project: what relative paths are relative to.
        file: the ``mainstay.toml`` that was read; None if there is none.
        origins: where a value came from, by ``"section.key"``; what is not listed is a default.
        warnings: what is allowed and probably not meant, one line each.
    """

    home: Path
    directory: Path = Path()
    file: Path | None = None
    service: ServiceSettings = field(default_factory=ServiceSettings)
    apps: Mapping[str, AppSettings] = field(default_factory=dict)
    models: Mapping[str, ModelSettings] = field(default_factory=dict)
    agents: Mapping[str, AgentSettings] = field(default_factory=dict)
    mcp: Mapping[str, McpSettings] = field(default_factory=dict)
    channels: Mapping[str, ChannelSettings] = field(default_factory=dict)
    storage: StorageSettings = field(default_factory=StorageSettings)
    inbox: InboxSettings = field(default_factory=InboxSettings)
    turns: TurnSettings = field(default_factory=TurnSettings)
    recovery: RecoverySettings = field(default_factory=RecoverySettings)
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    memory: MemorySettings = field(default_factory=MemorySettings)
    health: HealthSettings = field(default_factory=HealthSettings)
    logs: LogSettings = field(default_factory=LogSettings)
    containment: ContainmentSettings = field(default_factory=ContainmentSettings)
    sandbox: SandboxSection = field(default_factory=SandboxSection)
    origins: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def origin(self, key: str) -> str:
        """Where the value of ``"section.key"`` came from, e.g. ``"mainstay.toml:12"`` or ``"default"``."""
        return self.origins.get(key, "default")

    @property
    def bots(self) -> Mapping[str, FeishuSettings]:
        """The channels that are Feishu's."""
        return {name: each for name, each in self.channels.items() if isinstance(each, FeishuSettings)}

    @property
    def sandbox_needed(self) -> bool:
        """Whether a sandbox has to run: it was asked for, or a model or a channel has nothing else to talk to."""
        if self.sandbox.enabled == "auto":
            return bool(self.sandbox_users)
        return self.sandbox.enabled == "true"

    @property
    def sandbox_users(self) -> tuple[str, ...]:
        """The models and channels that only the sandbox can serve: ``("models.primary", "channels.feishu")``."""
        models = [f"models.{name}" for name in self.sandbox_models]
        channels = [f"channels.{name}" for name, channel in self.bots.items() if not has_credentials(channel)]
        return (*models, *channels)

    @property
    def sandbox_models(self) -> tuple[str, ...]:
        """The names of the models that only the sandbox can serve."""
        return tuple(name for name, model in self.models.items() if model.provider == "sandbox")

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that must never be written anywhere; for `mainstay.logs.redact.register`."""
        settings: tuple[AppSettings | ModelSettings | ChannelSettings | McpSettings, ...] = (
            *self.apps.values(),
            *self.models.values(),
            *self.channels.values(),
            *self.mcp.values(),
        )
        values = [getattr(each, field.name) for each in settings for field in fields(each)]
        values += [one for value in values if isinstance(value, Mapping) for one in value.values()]
        return tuple(value.reveal() for value in values if isinstance(value, Secret) and value)
