"""``mainstay chat``: talk to the agents of the running service.

Without words, on a terminal, it is a conversation, line by line; with words, or with something on standard input,
it says that and ends. Ctrl-C takes back what is being answered, a second one leaves it. In a conversation
``/retry`` has it tried again if the last answer has failed.
"""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final

from mainstay.channels.console.model import ConsoleSettings, chat_path
from mainstay.cli.outcome import summary
from mainstay.cli.running import NotRunning, configured, service_url
from mainstay.cli.terminal import Growing, dim, safe
from mainstay.config.model import Config
from mainstay.errors import ConfigError, MainstayError
from mainstay.messages import Outcome
from mainstay.units import format_duration
from mainstay.web.access import load_tokens

if TYPE_CHECKING:
    from mainstay.cli.talk import Event, Talk

__all__ = ["add", "run"]

_LONGER_THAN_A_TURN_S: Final = 15.0
_INTERRUPTED: Final = 128 + signal.SIGINT
_RETRY: Final = "/retry"
_GREETING: Final = f"Ctrl-C cancels an answer, {_RETRY} has a failed one tried again, Ctrl-D ends"
_TAKING_BACK: Final = "taking it back; Ctrl-C again leaves it"
_NO_TEXT: Final = "chat: what is said is no text: write it in UTF-8"


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "chat", help="talk to the agents of the running service; Ctrl-C cancels an answer, Ctrl-D ends"
    )
    parser.add_argument(
        "text", nargs="*", metavar="TEXT", help="say this and end; else a conversation, line by line"
    )
    parser.add_argument("--json", action="store_true", help="print each outcome as one JSON object")
    parser.add_argument(
        "-c", "--conversation", default="", metavar="NAME", help="go on with this one; the sender's own if absent"
    )
    parser.add_argument("--as", dest="sender", default="operator", metavar="NAME", help="as this person")
    parser.add_argument(
        "--timeout",
        type="duration",
        metavar="3m",
        help="how long to wait for an outcome; a turn's own limit and a little more",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Say one thing, or one after another."""
    if args.timeout == 0:
        raise ConfigError("chat: --timeout must be more than 0")
    config = configured(args)
    try:
        said = " ".join(args.text) if args.text or sys.stdin.isatty() else sys.stdin.read()
        said.encode()
    except UnicodeError:
        raise ConfigError(_NO_TEXT) from None
    if said.strip():
        return _code(_say(config, args, text=said))
    if not sys.stdin.isatty():
        raise ConfigError("chat: nothing was said: type TEXT, or write it to standard input")
    return _converse(config, args)


def _converse(config: Config, args: argparse.Namespace) -> int:
    with suppress(ImportError):
        import readline  # lets the line be edited

        readline.parse_and_bind("set enable-bracketed-paste on")  # several lines at once are one message
    _token(config)
    _note(_GREETING)
    failed, reached = "", False
    while True:
        try:
            line = input("> ")
            line.encode()
        except EOFError:
            print()
            return 0
        except UnicodeError:
            print(f"mainstay: {_NO_TEXT}", file=sys.stderr)
            continue
        again = line.strip() == _RETRY
        if again and not failed:
            _note("nothing has failed that could be tried again")
        elif line.strip():
            try:
                outcome = _say(config, args, again=failed) if again else _say(config, args, text=line)
            except MainstayError as error:  # of this message, and not of the next
                if isinstance(error, NotRunning) and not reached:
                    raise
                print(f"mainstay: {safe(str(error))}", file=sys.stderr)
                continue
            reached = True
            failed = outcome["message_id"] if outcome and outcome["retryable"] else ""
            if failed:
                _note(f"  {_RETRY} has it tried again")


def _say(config: Config, args: argparse.Namespace, *, text: str = "", again: str = "") -> Mapping[str, Any] | None:
    """Say it, or have it tried again, and show the outcome; None if the person has left before."""
    outcome = asyncio.run(_answered(config, args, text, again))
    if outcome is None:
        _note("left; it may be answered all the same")
        return None
    if args.json:
        print(json.dumps(outcome, ensure_ascii=False))
    else:
        _note(summary(outcome))
        for suggestion in outcome.get("suggestions", ()):
            _note(f"  you may say: {safe(suggestion)}")
    return outcome


def _code(outcome: Mapping[str, Any] | None) -> int:
    if outcome is None or outcome["outcome"] == Outcome.CANCELLED:
        return _INTERRUPTED
    return 0 if outcome["outcome"] == Outcome.ANSWERED else 1


def _note(text: str) -> None:
    print(dim(text, sys.stderr), file=sys.stderr)


async def _answered(config: Config, args: argparse.Namespace, text: str, again: str) -> Mapping[str, Any] | None:
    from mainstay.cli.talk import Talk

    name, settings = _console(config)
    url = f"{service_url(config)}{chat_path(name)}"
    timeout_s = args.timeout or config.service.turn_timeout + _LONGER_THAN_A_TURN_S
    shown = _Shown(None if args.json else Growing())
    try:
        async with Talk(url, _token(config), silent_s=3 * settings.heartbeat) as talk, asyncio.TaskGroup() as tasks:
            if again:
                events = talk.try_again(again)
            else:
                events = talk.say(text, conversation=args.conversation, sender=args.sender)
            following = tasks.create_task(_follow(talk, events, shown, timeout_s))
            ends: list[asyncio.Task[Any]] = [following]

            def interrupted() -> None:
                if shown.taking_back:
                    for each in ends:
                        each.cancel()
                else:
                    shown.take_back()
                    ends.append(tasks.create_task(talk.take_back()))

            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted)
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    return None if following.cancelled() else following.result()


async def _follow(
    talk: "Talk", said: "AsyncGenerator[Event, None]", shown: "_Shown", timeout_s: float
) -> Mapping[str, Any]:
    try:
        async with asyncio.timeout(timeout_s), aclosing(said) as events:
            async for event in events:
                shown.take(event)
                if event.name == "accepted" and shown.taking_back:  # there was nobody to be told so
                    await talk.take_back()
                if event.name == "finished":
                    return event.data
    except TimeoutError:
        pass
    raise MainstayError(
        f"no outcome within {format_duration(timeout_s)}: look at `mainstay health`, and at its log"
    )


def _console(config: Config) -> tuple[str, ConsoleSettings]:
    """The first one."""
    for name, each in config.channels.items():
        if isinstance(each, ConsoleSettings):
            return name, each
    raise ConfigError('there is no channel of the kind console: add [channels.console] with kind = "console"')


def _token(config: Config) -> str:
    if not (config.home / "tokens.json").exists():
        raise NotRunning(f"no service has run for {config.home} yet: start it with `mainstay serve`")
    return load_tokens(config.home).operator.reveal()


class _Shown:
    """What there is to be seen of one answer. ``growing``: where; None if only its end matters."""

    def __init__(self, growing: Growing | None) -> None:
        self.taking_back = False
        self._growing = growing
        self._text = ""
        self._status = ""

    def take_back(self) -> None:
        """It is to be taken back, which takes as long as the connection is lost."""
        self.taking_back = True
        self._draw()

    def take(self, event: "Event") -> None:
        """The next event of the answer."""
        data = event.data
        match event.name:
            case "text":
                self._text = data["replace"] if "replace" in data else self._text + data["append"]
            case "accepted":
                self._status = "…"
            case "status" | "away":
                self._status = data["text"]
            case "hand-over":
                self._status = f"{data['from']} hands over to {data['to']}"
            case "tool":
                self._status = f"{data['tool']}: {data['state']}"
            case "finished":
                kept = self._text if data["outcome"] == Outcome.CANCELLED else data["text"]
                self._end("\n\n".join(part for part in (kept, data["notice"]) if part))
                return
        self._draw()

    def _draw(self) -> None:
        if self._growing is not None:
            self._growing.show(self._text, _TAKING_BACK if self.taking_back else self._status)

    def _end(self, text: str) -> None:
        if self._growing is not None:
            self._growing.end(text)
