"""Which process holds this port?

Read from ``/proc``, so on Linux only, and of other users' processes only their existence can be seen.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["holder"]

_LISTENING = "0A"
_SHOWN_CHARS = 120


def holder(port: int, proc: Path = Path("/proc")) -> str:
    """Who listens on a TCP port, like ``process 4711 (python app.py)``; empty if it can not be seen."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port, proc)}
    for process in proc.iterdir() if sockets else ():
        if process.name.isdigit() and _holds(process, sockets):
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            return f"process {process.name} ({' '.join(words).strip()[:_SHOWN_CHARS]})"
    return ""


def _listening(port: int, proc: Path) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, _, state, *rest = line.split()
            if state == _LISTENING and int(local.rpartition(":")[2], 16) == port:
                yield rest[5]


def _holds(process: Path, sockets: set[str]) -> bool:
    try:
        entries = list((process / "fd").iterdir())
    except OSError:  # another user's, or just gone
        return False
    for entry in entries:
        with suppress(OSError):  # closed meanwhile
            if str(entry.readlink()) in sockets:
                return True
    return False
