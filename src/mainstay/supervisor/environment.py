"""What is in the environment of an instance, from where, and what of it may be shown?

Only what is clearly harmless: the names below, when they do not come from the settings of the app, whose values are
declared secret. Everything else in an environment may be a password under a name that nobody has thought of; it
leaves neither this process nor this function.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mainstay.supervisor.command import NOT_INHERITED

__all__ = ["Origin", "Variable", "variables"]

_HARMLESS: Final = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|PWD|OLDPWD|SHLVL|LANG|LANGUAGE|LC_[A-Z]+|TZ|TERM|COLORTERM|NO_COLOR|COLUMNS|LINES"
    r"|TMPDIR|HOSTNAME|EDITOR|PAGER|PORT|NODE_ENV|LOG_LEVEL|AI_MODEL_TIER|ENABLE_DEVTOOLS|FEISHU_SUBSCRIPTION_MODE"
    r"|PYTHON(?:PATH|UNBUFFERED|HASHSEED|UTF8|IOENCODING|DONTWRITEBYTECODE|MALLOC|ASYNCIODEBUG)|VIRTUAL_ENV"
    r"|CONDA_(?:PREFIX|DEFAULT_ENV)|XDG_[A-Z_]+_(?:DIR|DIRS|HOME)|MAINSTAY_(?:HOME|INSTANCE|INSTANCE_ID|STACKS)|NODE_APP_INSTANCE"
    r"|NOTIFY_SOCKET|WATCHDOG_(?:USEC|PID)|LISTEN_(?:FDS|PID|FDNAMES)|JOURNAL_STREAM|INVOCATION_ID"
)
_OF_THE_START: Final = frozenset({"LISTEN_FDS", "LISTEN_PID"})
"""Whoever starts it adds them; nothing of them changes."""


class Origin(StrEnum):
    """From where a variable comes."""

    DAEMON = "daemon"
    """The environment in which the supervisor was started."""
    SETTINGS = "settings"
    """``env`` of the app."""
    SUPERVISOR = "supervisor"
    """What it needs to talk to the supervisor, and to know which instance and whose it is."""
    EARLIER = "earlier"
    """It was started with it, by settings or a supervisor that were others then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One of them.

    Attributes:
        value: None if it may not be shown.
        changes: whether the next start gives it another value, or takes it away.
    """

    name: str
    origin: Origin
    value: str | None
    changes: bool = False


def variables(
    has: Mapping[str, str] | None, gets: Mapping[str, str], *, settings: Iterable[str], inherited: Mapping[str, str]
) -> Iterator[Variable]:
    """What is in the environment of an instance, by name.

    Args:
        has: what it was started with; None if it does not run.
        gets: what it is started with the next time.
        settings: the names that its app's settings set.
        inherited: what the supervisor has.
    """
    declared = frozenset(settings)
    there = gets if has is None else has
    for name in sorted({*there, *gets}):
        value = there.get(name, gets.get(name))
        origin = _origin(name, value, gets, declared, inherited)
        shown = origin in (Origin.DAEMON, Origin.SUPERVISOR) and _HARMLESS.fullmatch(name)
        changes = name not in _OF_THE_START and there.get(name) != gets.get(name)
        yield Variable(name=name, origin=origin, value=value if shown else None, changes=changes)


def _origin(
    name: str, value: str | None, gets: Mapping[str, str], settings: frozenset[str], inherited: Mapping[str, str]
) -> Origin:
    if name in NOT_INHERITED:
        return Origin.SUPERVISOR
    if name in settings:
        return Origin.SETTINGS
    if inherited.get(name) == value:
        return Origin.DAEMON
    return Origin.SUPERVISOR if gets.get(name) == value else Origin.EARLIER
