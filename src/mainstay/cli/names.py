"""What does a name mean that can be no app's?

Whoever comes from PM2 types files and numbers; an app is known by its name here, as it is configured.
"""

from collections.abc import Iterable
from typing import Final

from mainstay.errors import ConfigError

__all__ = ["check_names"]

_ECOSYSTEM: Final = (".js", ".cjs", ".mjs", ".json", ".yml", ".yaml")


def check_names(names: Iterable[str]) -> None:
    """Raises ConfigError, which says what is typed instead."""
    for name in names:
        if name.isdecimal():
            raise ConfigError(f"there is no app {name}: apps have no numbers; `mainstay list` shows their names")
        if name.endswith(_ECOSYSTEM) or "/" in name:
            raise ConfigError(
                f"{name} is a file, and apps are meant by name: what runs is written into mainstay.toml, by "
                "`mainstay import FILE --write` from an ecosystem file, else as [apps.NAME] with a command"
            )
