"""Which process holds this port?

Read from ``/proc``, so on Linux only, and of other users' processes only their existence can be seen.
"""

import sys
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

__all__ = ["holder"]

Address = IPv4Address | IPv6Address
_LISTENING = "0A"
_SHOWN_CHARS = 120


def holder(address: str, port: int, proc: Path = Path("/proc")) -> str:
    """Who keeps others from listening there, like ``process 4711 (python app.py)``; empty if it can not be seen.

    Args:
        address: of this machine; others may listen on the same port of another one.
        port: of TCP.
        proc: where the kernel shows its processes.
    """
    wanted = ip_address(address)
    sockets = {f"socket:[{inode}]" for listening, inode in _listening(port, proc) if _collide(listening, wanted)}
    for process in proc.iterdir() if sockets else ():
        if process.name.isdigit() and _holds(process, sockets):
            with suppress(OSError):  # it has just gone
                words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
                return f"process {process.name} ({' '.join(words).strip()[:_SHOWN_CHARS]})"
    return ""


def _collide(one: Address, other: Address) -> bool:
    """Whether two sockets can not have the same port; an unspecified address stands for all others."""
    if one.is_unspecified or other.is_unspecified:
        return True
    plain = [getattr(each, "ipv4_mapped", None) or each for each in (one, other)]
    return plain[0] == plain[1]


def _listening(port: int, proc: Path) -> Iterator[tuple[Address, str]]:
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, _, state, *rest = line.split()
            address, _, number = local.rpartition(":")
            if state == _LISTENING and int(number, 16) == port:
                yield _address(address), rest[5]


def _address(written: str) -> Address:
    """The kernel writes the words of an address as numbers, in the machine's own order of bytes."""
    words = [int(written[start : start + 8], 16) for start in range(0, len(written), 8)]
    return ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words))


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
