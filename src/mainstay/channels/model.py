"""What may be set about a channel that is plugged in?"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mainstay.errors import ConfigError
from mainstay.settings import Secret, setting, texts

__all__ = ["PluggedSettings"]

_FACTORY: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_OPTION: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def _kind(written: object) -> str:
    kind = str(written)
    if not _FACTORY.fullmatch(kind):
        raise ValueError(f'{kind!r} is not a factory: write it like "package.module:factory"')
    return kind


def _options(written: object) -> dict[str, Secret | str]:
    return texts(written, _OPTION, "an option", never="\0")


@dataclass(frozen=True, slots=True, kw_only=True)
class PluggedSettings:
    """A channel of your own, ``kind = "package.module:factory"``; see how to add a channel."""

    kind: str = setting(help="What makes the channel: the factory in your own code.", parse=_kind)
    options: Mapping[str, Secret | str] = setting(
        {}, help="Whatever it wants to know; a value may hold env:NAME, and is a secret then.", parse=_options
    )

    def text(self, option: str, default: str | None = None) -> str:
        """The value of an option, also of one that is secret.

        Raises:
            ConfigError: if it is missing or empty, and there is no default.
        """
        value = self.options.get(option, default)
        if not value:
            raise ConfigError(f"options.{option}: is missing, or empty")
        return value.reveal() if isinstance(value, Secret) else value
