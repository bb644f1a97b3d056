"""What can be typed, and how does it end?

One module per verb, or per group of verbs that are alike, imported only when one of them is typed. Each has
``add(verbs)``, which declares their arguments and sets ``run(args)``, which returns the exit code. Codes: 0 done, 1
failed, 2 wrong usage or configuration, 3 not running. An error is one line on standard error: what is wrong, where,
what to do.
"""

import argparse
import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn

from mainstay.errors import ConfigError, MainstayError, nearest
from mainstay.units import parse_duration

__all__ = ["VERBS", "Parser", "main", "parser"]

VERBS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("start", "stop", "restart", "reload", "scale", "delete", "reset", "signal"), "apps"),
    **dict.fromkeys(("list", "describe", "ping"), "listing"),
    **{verb: verb for verb in ("monit", "env", "flush")},
    **dict.fromkeys(("run", "daemon"), "run"),
    **{verb: verb for verb in ("logs", "kill", "update", "serve", "ask", "chat", "health", "sandbox", "fault")},
    **{verb: verb for verb in ("init", "config", "migrate", "backup", "restore")},
    "doctor": "doctor.command",
    **dict.fromkeys(("startup", "unstartup"), "startup"),
    **dict.fromkeys(("save", "resurrect"), "saved"),
    "import": "importing",
    "export": "export",
}
"""Which module has which verb."""
ALIASES: Final[Mapping[str, Sequence[str]]] = {
    **dict.fromkeys(("ls", "l", "ps", "status"), ("list",)),
    **dict.fromkeys(("show", "desc", "info"), ("describe",)),
    "jlist": ("list", "--json"),
    "log": ("logs",),
    "sendSignal": ("signal",),
}
"""What else is typed for a verb, by habit from elsewhere."""
_OF_THE_BOT: Final = frozenset(
    {"alembic", "cryptography", "httpx2", "openai", "pydantic_ai", "sqlalchemy", "starlette", "uvicorn", "uvloop"}
)
_START_HERE: Final = """\
mainstay keeps an LLM agent service up and tells the truth about how it is.

Type first, in an empty directory:
  mainstay run            start the service, supervised; without credentials everything is simulated
and in a second terminal:
  mainstay ask "hello"    say something to the bot and watch it answer
  mainstay chat           talk to its agents in this terminal
  mainstay health         how is it?
  mainstay doctor         is everything as it should be?
  mainstay init           write a mainstay.toml to put your own bot in

`mainstay --help` lists everything."""


class Parser(argparse.ArgumentParser):
    """Errors are one line, like all others; ``type="duration"`` reads ``30s``."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401  those of `argparse.ArgumentParser`
        super().__init__(**settings)
        self.register("type", "duration", _duration)

    def error(self, message: str) -> NoReturn:
        """See `argparse.ArgumentParser.error`."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except SystemExit as stop:  # argparse has said why
        return stop.code if isinstance(stop.code, int) else 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read our output has seen enough, e.g. `mainstay config show | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MainstayError as error:
        return _complain(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _OF_THE_BOT:
            raise
        return _complain(f"this needs the whole bot ({error.name} is missing): pip install 'mainstay[bot]'", 1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror or error}", 1)
    return code


def _run(typed: list[str]) -> int:
    if not typed:
        print(_START_HERE)
        return 0
    if typed == ["--version"]:
        from importlib.metadata import version

        print(f"mainstay {version('mainstay')}")
        return 0
    at = _verb_at(typed)
    if at < len(typed):
        typed[at : at + 1] = ALIASES.get(typed[at], (typed[at],))
    verb = typed[at] if at < len(typed) else ""
    if verb and verb not in VERBS:
        raise ConfigError(f"there is no command {verb}{nearest(verb, VERBS)}")
    args = parser([verb] if verb else VERBS).parse_args(typed)
    return int(args.run(args))


def parser(verbs: Iterable[str] = VERBS) -> Parser:
    """The parser of these verbs, and of those that are declared with them."""
    top = Parser(
        prog="mainstay",
        description="The production runtime for LLM agent services.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 not running.",
    )
    top.add_argument("--version", action="store_true", help="print the version")
    declared = top.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=Parser)
    for module in dict.fromkeys(VERBS[verb] for verb in verbs):
        import_module(f"mainstay.cli.{module}").add(declared)
    for each in (top, *declared.choices.values()):
        each.add_argument(
            "--config", type=Path, metavar="FILE", default=argparse.SUPPRESS, help="in place of ./mainstay.toml"
        )
    return top


def _verb_at(typed: Sequence[str]) -> int:
    """Where the verb was typed, so that no other one has to be imported; behind the end if there is none."""
    at = 0
    while at < len(typed):
        if typed[at] == "--config":
            at += 1
        elif not typed[at].startswith("-"):
            break
        at += 1
    return at


def _complain(message: str, code: int) -> int:
    from mainstay.logs.redact import redact

    for line in redact(message).splitlines():
        print(f"mainstay: {line}", file=sys.stderr)
    return code
