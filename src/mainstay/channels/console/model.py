"""What does the console channel need to know, and what does it tell?"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from mainstay.messages import Message
from mainstay.settings import duration, setting, size

__all__ = [
    "TRY",
    "ConsoleSettings",
    "Ended",
    "Forgotten",
    "Open",
    "Refused",
    "Said",
    "Seen",
    "Standing",
    "Told",
    "chat_path",
    "inbox_key",
    "shown_id",
]

TRY: Final = "retry~"
"""The id of another try at a failed message begins so; no message that somebody sends has such an id."""
_TRY_KEY: Final = "retry:"  # see `Message.again`


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleSettings:
    """The agents over HTTP, ``POST /chat``, for whoever has an operator's token, and for ``mainstay chat``."""

    kind: str = setting("console", help="The kind of channel.", choices=("console",))
    body_limit: int = size("256KiB", help="The largest request.")
    body_timeout: float = duration("10s", help="The longest time that a request's body may take to arrive.")
    text_limit: int = setting(32_000, help="The longest text of a message, in characters.")
    waiting: int = setting(
        64, help="How many requests may wait for an answer, or stream one, at a time; a further one is 429."
    )
    backlog: int = setting(
        1000, help="When so many messages of all channels wait for an answer, a further one is 429."
    )
    wait: float = duration(
        "10m", help="How long a request without a stream waits for the outcome, before it is told to come back."
    )
    heartbeat: float = duration("15s", help="How often a stream says that it is still there when nothing happens.")
    send_timeout: float = duration("30s", help="A client that takes nothing for so long has left.")
    look_interval: float = duration(
        "1s", help="How often it is looked for the outcome of what is not being answered by this process."
    )
    keep: float = duration("1d", help="How long an outcome can be fetched.")


def chat_path(name: str) -> str:
    """Where a console is: the one named ``console`` at ``/chat``, a further one at ``/NAME/chat``."""
    return "/chat" if name == "console" else f"/{name}/chat"


def shown_id(message: Message) -> str:
    """What a message is called here, see `inbox_key`."""
    return message.external_id.replace(_TRY_KEY, TRY, 1) if message.retry_of else message.external_id


def inbox_key(message_id: str) -> tuple[str, str]:
    """Kind and id under which the inbox has what is called so here."""
    if message_id.startswith(TRY):
        return "callback", message_id.replace(TRY, _TRY_KEY, 1)
    return "message", message_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How much of an answer a client has been told; travels as the id of each event of its stream.

    Attributes:
        attempt: of which attempt it has seen ``marks`` and ``statuses``: how many of each.
        version: of which version of the text, ``(attempt, number)``, it has the first ``chars`` characters.
    """

    attempt: int = 0
    marks: int = 0
    statuses: int = 0
    version: tuple[int, int] = (0, 0)
    chars: int = 0

    def to_id(self) -> str:
        """As it is sent."""
        numbers = (self.attempt, self.marks, self.statuses, *self.version, self.chars)
        return ".".join(map(str, numbers))

    @classmethod
    def from_id(cls, text: str) -> "Seen":
        """Read `to_id`; of anything else: nothing was seen."""
        parts = text.split(".")
        if len(parts) != 6 or not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
            return cls()
        attempt, marks, statuses, first, second, chars = map(int, parts)
        return cls(attempt=attempt, marks=marks, statuses=statuses, version=(first, second), chars=chars)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One event of a stream: its name, its data, and what has been seen after it."""

    name: str
    data: Mapping[str, object]
    seen: Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a request says.

    Attributes:
        message_id: makes it the same message when it is sent again.
        conversation: whose history it goes on with.
        sender: who is remembered.
    """

    text: str
    message_id: str
    conversation: str
    sender: str

    def message(self, channel: str, now: datetime) -> Message:
        """As the inbox takes it. The bot is the channel itself."""
        return Message(
            channel=channel,
            bot_id=channel,
            external_id=self.message_id,
            chat_id=self.conversation,
            sender_id=self.sender,
            text=self.text,
            sent_at=now,
        )


@dataclass(frozen=True, slots=True)
class Ended:
    """The message has this outcome.

    Attributes:
        body: as plain JSON values.
        again: what is to be accepted to have it tried again; None if it can not be.
    """

    body: Mapping[str, object]
    again: Message | None = None


@dataclass(frozen=True, slots=True)
class Open:
    """The message has no outcome yet."""

    state: Literal["queued", "running"]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The message had an outcome, which is not kept any more."""


Standing = Ended | Open | Forgotten


class Refused(Exception):
    """A request is turned away. ``error`` says why, and what to do."""

    def __init__(self, status: int, error: str, *, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.headers = headers
