"""How does a test get the tables of some rooms without migrating a database anew?"""

import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from mainstay.storage.file import path_of
from mainstay.storage.migrate import upgrade


def migrated(url: str, rooms: Iterable[str]) -> None:
    """What `upgrade` does; these rooms are migrated once a process, and copied where there is no database yet."""
    path = path_of(url)
    if path.exists():
        upgrade(url, tuple(rooms))
    else:
        path.touch(0o600)
        path.write_bytes(_template(tuple(rooms)))


@cache
def _template(rooms: tuple[str, ...]) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "template.db"
        upgrade(f"sqlite:///{path}", rooms)
        return path.read_bytes()
