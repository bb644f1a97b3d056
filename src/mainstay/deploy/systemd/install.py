"""How does a unit get to systemd, and away from it again?

Nothing is written or removed but the one file, and what `systemctl` itself does with it.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mainstay.deploy.systemd.machine import is_of
from mainstay.errors import MainstayError

__all__ = ["Manager", "booted", "install", "remove"]

_BOOTED: Final = Path("/run/systemd/system")
_DEADLINE_S: Final = 60.0


def booted() -> bool:
    """Whether systemd is what runs this machine, sd_booted(3)."""
    return _BOOTED.is_dir()


@dataclass(frozen=True, slots=True, kw_only=True)
class Manager:
    """Whose units are meant.

    Attributes:
        directory: where its units are.
        is_user: a user's; else the system's.
        reachable: whether it runs, and can be told.
    """

    directory: Path
    is_user: bool
    reachable: bool

    def commands(self, *verbs: tuple[str, ...]) -> list[list[str]]:
        """The commands that tell it."""
        whose = ["--user"] if self.is_user else []
        return [["systemctl", *whose, *verb] for verb in verbs]


def install(text: str, name: str, project: str, manager: Manager) -> tuple[Path, list[list[str]]]:
    """Write the unit and enable it.

    Returns:
        The file, and the commands that somebody else has to run, since no systemd can be told now.

    Raises:
        MainstayError: another project has a unit of this name, it may not be written, or systemctl refuses.
    """
    path = manager.directory / name
    _check_owner(path, project)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".fresh")
        fresh.write_text(text, "utf-8")
        fresh.chmod(0o644)
        fresh.replace(path)
    except OSError as error:
        raise _refused(path, error, manager) from None
    return path, _told(manager, ("daemon-reload",), ("enable", name))


def remove(name: str, project: str, manager: Manager) -> tuple[Path, list[list[str]]]:
    """Disable the unit and remove its file; what runs goes on.

    Returns:
        As `install`.

    Raises:
        MainstayError: there is none, it is another project's, or it may not be removed.
    """
    path = manager.directory / name
    if not path.exists():
        raise MainstayError(f"{path} is not there: nothing to remove")
    _check_owner(path, project)
    if not os.access(path.parent, os.W_OK):
        raise _refused(path, PermissionError(13, "Permission denied"), manager)
    left = _told(manager, ("disable", name))
    path.unlink()
    return path, left + _told(manager, ("daemon-reload",))


def _check_owner(path: Path, project: str) -> None:
    if path.exists() and not is_of(path.read_text("utf-8", "replace"), project):
        raise MainstayError(f"{path} was not written for {project}: choose another name with --name")


def _refused(path: Path, error: OSError, manager: Manager) -> MainstayError:
    instead = (
        "" if manager.is_user or not isinstance(error, PermissionError) else "; run it with sudo, or with --user"
    )
    return MainstayError(f"{path}: {error.strerror}{instead}")


def _told(manager: Manager, *verbs: tuple[str, ...]) -> list[list[str]]:
    """Tell it; the commands if it can not be told."""
    commands = manager.commands(*verbs)
    if not manager.reachable:
        return commands
    for command in commands:
        try:
            ran = subprocess.run(  # noqa: S603  systemctl
                command, capture_output=True, text=True, errors="replace", timeout=_DEADLINE_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise MainstayError(f"{' '.join(command)}: {error}") from None
        if ran.returncode:
            said = ran.stderr.strip().splitlines() or [f"exit code {ran.returncode}"]
            raise MainstayError(f"{' '.join(command)}: {said[-1]}")
    return []
