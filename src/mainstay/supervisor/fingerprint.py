"""Is the code that runs the code that is installed?

Both have a fingerprint of their sources; whoever runs takes its own when it begins. Also for the keeper, so no
imports but what is built in.
"""

import os
from _imp import source_hash

__all__ = ["of_daemon", "of_keeper"]

_KEEPER = ("boot", "fifos", "fingerprint", "keeper", "launch", "table", "wire")


def of_keeper() -> bytes:
    """Of all that the keeper runs, as it is on the disk now."""
    here = os.path.dirname(__file__)  # noqa: PTH120  pathlib is large
    return _of([f"{here}/{name}.py" for name in _KEEPER])


def of_daemon() -> bytes:
    """Of all that the daemon runs."""
    here = os.path.dirname(__file__)  # noqa: PTH120
    directories = (os.path.dirname(here), *(where for where, _, _ in os.walk(here)))  # noqa: PTH120
    found = [entry.path for directory in directories for entry in os.scandir(directory)]
    return _of(sorted(path for path in found if path.endswith(".py")))


def _of(paths: "list[str]") -> bytes:
    read = b""
    for path in paths:
        with open(path, "rb") as source:  # noqa: PTH123
            read += source_hash(0, source.read())
    return bytes(source_hash(0, read)).hex().encode()
