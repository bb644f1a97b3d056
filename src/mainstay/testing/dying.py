"""A service that is killed right after a step of a message's life.

``python -m mainstay.testing.dying message.accepted 3`` is ``mainstay serve`` until the third event of that name,
and then SIGKILL: no handler, no buffer flushed, as when the machine's memory runs out. Without arguments it lives.
"""

import os
import signal
import sys

import uvloop

from mainstay.config.load import load
from mainstay.events import Event
from mainstay.inbox.owner import owner_name
from mainstay.logs.setup import setup
from mainstay.schema import SCHEMA
from mainstay.service import serve
from mainstay.storage.migrate import upgrade

__all__ = ["main"]


def main(name: str = "", count: str = "1") -> None:
    """Serve the project in the current directory; die at the ``count``-th event called ``name``."""
    config = load()
    upgrade(config.storage.url, SCHEMA)
    setup(config.logs, worker=owner_name(), secrets=config.secrets)
    left = int(count)

    def observe(event: Event) -> None:
        nonlocal left
        if event.name == name:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    uvloop.run(serve(config, announce=print, observers=[observe]))


if __name__ == "__main__":
    main(*sys.argv[1:])
