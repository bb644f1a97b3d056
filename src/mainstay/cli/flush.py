"""``mainstay flush``: delete what the apps have said so far."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from mainstay.cli.logs import wanted
from mainstay.cli.look import size
from mainstay.cli.running import configured, home_of
from mainstay.cli.supervised import daemon
from mainstay.cli.terminal import safe
from mainstay.supervisor.client import NoDaemon
from mainstay.supervisor.output.model import Flushed, Source

__all__ = ["add", "run"]

_PATIENCE_S = 600.0


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser("flush", help="delete the logs of apps, also what was put aside; apps go on writing")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="an app (web), one instance (web:0); all if absent"
    )
    parser.add_argument("--json", action="store_true", help="what was deleted, for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Let the supervisor do it between two lines, or do it where none runs; 1 if something is still there."""
    try:
        with daemon(home_of(args)) as talk:
            answer = talk.ask("flush", names=args.names, timeout_s=_PATIENCE_S)
    except NoDaemon:
        answer = [_flushed(source) for source in wanted(configured(args), args.names)]
    print(json.dumps(answer, indent=2, ensure_ascii=False) if args.json else "\n".join(_shown(answer)))
    failed = [log for log in answer if log["error"]]
    for log in failed:
        print(safe(f"mainstay: {log['path']}: {log['error']}"), file=sys.stderr)
    return int(bool(failed))


def _flushed(source: Source) -> dict[str, Any]:
    from dataclasses import asdict

    from mainstay.supervisor.output.file import flush

    flushed, said = Flushed(), ""
    try:
        flushed = flush(source.path)
    except OSError as error:
        said = error.strerror or str(error)
    about = {"name": f"{source.app}:{source.number}", "stream": source.stream, "path": str(source.path)}
    return {**about, **asdict(flushed), "error": said}


def _shown(answer: Sequence[dict[str, Any]]) -> Iterator[str]:
    for log in answer:
        if log["files"]:
            yield safe(f"{log['name']} {log['stream']}: {_freed(log['files'], log['size_bytes'])}")
    yield f"{_freed(sum(log['files'] for log in answer), sum(log['size_bytes'] for log in answer))} in all"


def _freed(files: int, size_bytes: int) -> str:
    return f"{files} {'file' if files == 1 else 'files'} deleted, {size(size_bytes)}"
