"""How is the supervisor of a project known to systemd?"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Unit", "unit_name"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What the unit of one project is made from.

    Attributes:
        directory: of the project; absolute.
        command: what starts its supervisor, without the verb.
        arguments: what goes behind the verb.
        user: as whom a unit of the system runs; empty for a unit of a user.
        stop_s: how long the slowest app may take to end.
        environment: what the supervisor, and through it the apps, get besides systemd's own.
    """

    directory: str
    command: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    user: str = ""
    stop_s: float = 10.0
    environment: Mapping[str, str] = field(default_factory=dict)


def unit_name(directory_name: str) -> str:
    """The name of the unit of a project in a directory of this name."""
    return f"mainstay-{re.sub(r'[^A-Za-z0-9_.]+', '-', directory_name).strip('-.') or 'project'}.service"
