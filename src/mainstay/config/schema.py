"""What may be set?

The rooms' settings dataclasses, seen as one tree of `Section` and `Key`. Loading, ``config show``, the JSON Schema
and the reference walk over this tree: a setting that a room declares is known to all of them.
"""

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, replace
from functools import cached_property
from typing import Any, Final

from mainstay.agents.mcp.model import McpSettings
from mainstay.agents.model import AgentSettings
from mainstay.channels.console.model import ConsoleSettings
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.channels.kinds import kind_of, settings_of
from mainstay.channels.model import PluggedSettings
from mainstay.config.model import SandboxSection, ServiceSettings
from mainstay.containment.model import ContainmentSettings
from mainstay.health.model import HealthSettings
from mainstay.inbox.model import InboxSettings
from mainstay.logs.model import LogSettings
from mainstay.memory.model import MemorySettings
from mainstay.models.budget.model import BudgetSettings
from mainstay.models.model import ModelSettings
from mainstay.recovery.breaker.model import BreakerSettings
from mainstay.recovery.model import RecoverySettings
from mainstay.settings import SETTING, SettingInfo
from mainstay.storage.model import StorageSettings
from mainstay.supervisor.app import AppSettings
from mainstay.turns.model import TurnSettings

__all__ = ["SECTIONS", "Key", "Section"]


@dataclass(frozen=True, kw_only=True)
class Key:
    """One setting.

    Attributes:
        name: of the dataclass field, and in the file.
        kind: the type of the value, without ``| None``.
    """

    name: str
    kind: Any
    default: object
    info: SettingInfo

    @property
    def is_table(self) -> bool:
        """Whether it is a table of texts, whose names the user chooses."""
        return typing.get_origin(self.kind) is Mapping

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed values, if they can be listed."""
        if self.info.choices or typing.get_origin(self.kind) is not typing.Literal:
            return self.info.choices
        return tuple(str(choice) for choice in typing.get_args(self.kind))


@dataclass(frozen=True, kw_only=True)
class Section:
    """One table of the file: ``[name]``, or many tables ``[name.X]`` when ``named``.

    Attributes:
        kinds: the settings by what is written as ``kind``, where that decides.
    """

    name: str
    settings: type
    named: bool = False
    kinds: Mapping[str, type] = dataclasses.field(default_factory=dict)

    def of(self, table: str, written: Mapping[str, object]) -> "Section | None":
        """The section as it is for one of its tables; None if that is of a kind which is none."""
        if not self.kinds:
            return self
        settings = settings_of(kind_of(table, written.get("kind")))
        return replace(self, settings=settings) if settings else None

    def of_kinds(self) -> "dict[str, Section]":
        """The section for each kind; by no name if there is only one."""
        return {kind: replace(self, settings=settings) for kind, settings in self.kinds.items()} or {"": self}

    @cached_property
    def keys(self) -> dict[str, Key]:
        """Its settings by name, in the order of their declaration."""
        hints = typing.get_type_hints(self.settings)
        return {key.name: key for key in _keys(self.settings, hints) if not _has_settings(key.kind)}

    @cached_property
    def tables(self) -> dict[str, "Section"]:
        """The tables within it by name, as ``liveness`` of ``[apps.NAME.liveness]``; each may be absent."""
        hints = typing.get_type_hints(self.settings)
        return {
            key.name: Section(name=key.name, settings=key.kind)
            for key in _keys(self.settings, hints)
            if _has_settings(key.kind)
        }


def _keys(settings: type, hints: dict[str, Any]) -> Iterator[Key]:
    for field in dataclasses.fields(settings):
        info = field.metadata.get(SETTING)
        if not isinstance(info, SettingInfo):
            continue
        default = field.default if field.default_factory is MISSING else field.default_factory()
        yield Key(name=field.name, kind=_without_none(hints[field.name]), default=default, info=info)


def _has_settings(kind: Any) -> bool:  # noqa: ANN401  an annotation
    return dataclasses.is_dataclass(kind) and any(SETTING in field.metadata for field in dataclasses.fields(kind))


def _without_none(hint: Any) -> Any:  # noqa: ANN401  an annotation
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        if len(members) == 1:
            return members[0]
    return hint


SECTIONS: Final[dict[str, Section]] = {
    section.name: section
    for section in (
        Section(name="service", settings=ServiceSettings),
        Section(name="apps", settings=AppSettings, named=True),
        Section(name="models", settings=ModelSettings, named=True),
        Section(name="agents", settings=AgentSettings, named=True),
        Section(name="mcp", settings=McpSettings, named=True),
        Section(
            name="channels",
            settings=FeishuSettings,
            named=True,
            kinds={
                "feishu": FeishuSettings,
                "console": ConsoleSettings,
                "package.module:factory": PluggedSettings,
            },
        ),
        Section(name="storage", settings=StorageSettings),
        Section(name="inbox", settings=InboxSettings),
        Section(name="turns", settings=TurnSettings),
        Section(name="recovery", settings=RecoverySettings),
        Section(name="breaker", settings=BreakerSettings),
        Section(name="budget", settings=BudgetSettings),
        Section(name="memory", settings=MemorySettings),
        Section(name="health", settings=HealthSettings),
        Section(name="logs", settings=LogSettings),
        Section(name="containment", settings=ContainmentSettings),
        Section(name="sandbox", settings=SandboxSection),
    )
}
