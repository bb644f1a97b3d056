"""What is looked at, and what is found?"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mainstay.config.model import Config

__all__ = ["Check", "Finding", "Project", "State", "configured", "failed", "ok", "skipped", "warning"]


class State(StrEnum):
    """How it is."""

    OK = "ok"
    WARNING = "warning"
    """It works; somebody should know, or do something one of these days."""
    FAILED = "failed"
    SKIPPED = "not applicable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The answer of one check: one line that says what is wrong and what to do, or what is well."""

    state: State
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What is looked at.

    Attributes:
        directory: of the configuration.
        file: of the configuration; None if there is none.
        home: where the service keeps what it writes; it need not exist.
        config: None if it can not be read.
        problems: why not, one line each.
        root: of the file system.
    """

    directory: Path
    home: Path
    file: Path | None = None
    config: Config | None = None
    problems: tuple[str, ...] = ()
    root: Path = Path("/")


Check = Callable[[Project], Finding]


def ok(says: str) -> Finding:
    """All is well."""
    return Finding(state=State.OK, says=says)


def warning(says: str) -> Finding:
    """See `State.WARNING`."""
    return Finding(state=State.WARNING, says=says)


def failed(says: str) -> Finding:
    """Something does not work, or will not."""
    return Finding(state=State.FAILED, says=says)


def skipped(says: str) -> Finding:
    """There is nothing to look at, and why."""
    return Finding(state=State.SKIPPED, says=says)


def configured(check: Callable[[Project, Config], Finding]) -> Check:
    """A check that can do nothing without a configuration."""

    def checked(project: Project) -> Finding:
        if project.config is None:
            return skipped("the configuration has to be right first")
        return check(project, project.config)

    return checked
