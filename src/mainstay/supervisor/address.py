"""Where in a project's home is its daemon spoken to, and in which version?"""

import os
from pathlib import Path
from typing import Final

__all__ = ["SOCKET", "VERSION", "reachable"]

SOCKET: Final = "supervisor.sock"
VERSION: Final = 1
_LONGEST: Final = 107


def reachable(path: Path) -> str:
    """A name of the socket that fits in what the kernel has for it, however long the path is."""
    if len(os.fsencode(path)) <= _LONGEST:
        return str(path)
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)  # kept: the name holds for as long as it is open
    return f"/proc/self/fd/{directory}/{path.name}"
