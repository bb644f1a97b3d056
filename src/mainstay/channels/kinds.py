"""Which kinds of channels are there, and what makes one?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mainstay.channels.console.model import ConsoleSettings
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.channels.model import PluggedSettings

__all__ = ["KINDS", "ChannelSettings", "Kind", "kind_of", "settings_of"]

ChannelSettings = FeishuSettings | ConsoleSettings | PluggedSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind that comes with Mainstay. ``factory`` is imported when a channel of the kind is made."""

    settings: type[FeishuSettings] | type[ConsoleSettings]
    factory: str


KINDS: Final[Mapping[str, Kind]] = {
    "feishu": Kind(settings=FeishuSettings, factory="mainstay.channels.feishu.joined:channel"),
    "console": Kind(settings=ConsoleSettings, factory="mainstay.channels.console.channel:ConsoleChannel"),
}


def kind_of(name: str, written: object) -> str:
    """The kind of the channel of this name, from what is written as its ``kind``; None if nothing is."""
    if written is None:
        return name if name in KINDS else "feishu"
    return str(written)


def settings_of(kind: str) -> type[ChannelSettings] | None:
    """What may be set about a channel of this kind; None if there is no such kind."""
    if ":" in kind:
        return PluggedSettings
    return KINDS[kind].settings if kind in KINDS else None
