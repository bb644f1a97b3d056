"""``mainstay serve``: run the service in the foreground."""

import argparse
import faulthandler
import os
import sys
from pathlib import Path

__all__ = ["add", "run"]


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser("serve", help="run the service in the foreground; Ctrl-C drains and stops it")
    parser.add_argument("--host", help="the address to listen on, in place of service.host")
    parser.add_argument("--port", help="the port to listen on, in place of service.port; 0: any free one")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM, SIGINT, or an error that the service can not go on with."""
    from mainstay.config.load import load
    from mainstay.config.machine import of_channels
    from mainstay.errors import ConfigError

    faulthandler.enable()  # a crash below Python leaves the stacks of all threads on standard error
    file: Path | None = getattr(args, "config", None)
    config = load(file, flags={"service.host": args.host, "service.port": args.port})
    if unfit := [f"{key}: {what}" for key, what in of_channels(config)]:
        raise ConfigError(*unfit)
    import uvloop

    from mainstay.clock import SystemClock
    from mainstay.containment.hooks import until_the_end
    from mainstay.containment.reporter import Reporter
    from mainstay.inbox.owner import owner_name
    from mainstay.logs.setup import setup
    from mainstay.service import serve

    # agents and tools of the user's own live beside the configuration, also for the installed command
    sys.path.insert(0, str(config.directory))
    setup(config.logs, worker=owner_name(), secrets=config.secrets)
    # also where no service runs: before it, after it, and in what ended its loop
    until_the_end(Reporter(config.containment, clock=SystemClock()).report)
    uvloop.run(serve(config, announce=_announce, end_by=_end_by))
    return 0


def _end_by(seconds: float) -> None:
    """With the stacks of all threads, and without Python: who holds its lock for ever is ended too."""
    faulthandler.dump_traceback_later(seconds, exit=True)


def _announce(line: str) -> None:
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except OSError:
        # Its reader is gone, or its disk full: no reason to end, least of all before answers under way have.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
