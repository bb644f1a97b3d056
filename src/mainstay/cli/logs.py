"""``mainstay logs``: what have the apps said?"""

import argparse
import re
import time
from collections.abc import Sequence
from datetime import timedelta

from mainstay.cli.lines import Lines, add_forms, form_of
from mainstay.cli.names import check_names
from mainstay.cli.running import configured
from mainstay.clock import SystemClock
from mainstay.config.model import Config
from mainstay.errors import ConfigError, nearest
from mainstay.supervisor.output.model import Source, Stream, sources
from mainstay.supervisor.output.reader import Reader
from mainstay.supervisor.roster import Roster
from mainstay.supervisor.state import load

__all__ = ["add", "configured_sources", "run", "wanted"]

_POLL_S = 0.2


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser("logs", help="what have the apps said? the last lines of their logs")
    parser.add_argument("names", nargs="*", metavar="NAME", help="an app (web), or one instance of it (web:0)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what they say next; Ctrl-C ends it")
    parser.add_argument(
        "-n", "--lines", type=int, default=15, metavar="N", help="so many of each log; 15 if absent"
    )
    parser.add_argument("--out", action="store_true", help="only what went to standard output")
    parser.add_argument("--err", action="store_true", help="only what went to standard error")
    parser.add_argument("--since", type="duration", metavar="10m", help="only lines that are not older")
    parser.add_argument("--grep", metavar="REGEX", help="only lines in which this is found")
    parser.add_argument("--nostream", action="store_true", help="do not follow: that is so without --follow")
    add_forms(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the last lines, and those that follow if asked to."""
    config = configured(args)
    since = SystemClock().now() - timedelta(seconds=args.since) if args.since is not None else None
    try:
        grep = re.compile(args.grep.encode()) if args.grep is not None else None
    except re.error as error:
        raise ConfigError(f"--grep {args.grep}: {error}") from None
    left_out = {Stream.ERR} if args.out and not args.err else {Stream.OUT} if args.err and not args.out else set()
    chosen = [source for source in wanted(config, args.names) if source.stream not in left_out]
    reader, lines = Reader(chosen, since=since, grep=grep), Lines(chosen, form_of(args))
    follow = args.follow and not args.nostream
    try:
        lines.show(reader.last(max(0, args.lines), follow=follow))
        while follow:
            lines.show(reader.poll())
            if not reader.behind:
                lines.flush()
                time.sleep(_POLL_S)
    finally:
        reader.close()
    return 0


def configured_sources(config: Config) -> Sequence[Source]:
    """The logs of everything that is configured, and of the instances that somebody wanted besides."""
    kept = load(config.home)
    roster = kept.roster if kept is not None else Roster()
    return [
        source
        for app, settings in config.apps.items()
        for number in range(max(settings.instances, roster.count(app, settings)))
        for source in sources(app, number, settings, logs=config.home / "logs", base=config.directory)
    ]


def wanted(config: Config, names: Sequence[str]) -> Sequence[Source]:
    """The logs of these apps and instances; of all if there is none, or ``all``. Raises ConfigError."""
    check_names(names)
    known = configured_sources(config)
    for name in names:
        if not any(name in ("all", source.app, f"{source.app}:{source.number}") for source in known):
            raise ConfigError(f"there is no app {name}{nearest(name, {source.app for source in known})}")
    if not names or "all" in names:
        return known
    return [source for source in known if {source.app, f"{source.app}:{source.number}"} & set(names)]
