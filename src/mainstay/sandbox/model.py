"""Where is the sandbox, and what has a person seen in it?

Everything that crosses the sandbox's control interface is a frozen dataclass of this module, written as JSON by
`to_json` and read back by ``from_json``.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

from mainstay.settings import duration, setting

__all__ = [
    "ADDRESS_FILE",
    "MAX_TIME_SCALE",
    "USUAL_MODELS",
    "Attempt",
    "ConnectionSeen",
    "Delivery",
    "EventSent",
    "Reply",
    "SaidMessage",
    "SandboxAddress",
    "SandboxSettings",
    "Shown",
    "Snapshot",
    "Verdict",
    "to_json",
]

MAX_TIME_SCALE = 1000.0
USUAL_MODELS = ("primary", "fallback")
"""The models of a sandbox for which nobody has named any."""
ADDRESS_FILE = "sandbox.json"
"""Under the home directory; mode 0600, because it holds the credentials of a bot, if only of a pretended one."""


def to_json(value: object) -> str:
    """A dataclass, or lists and mappings of them, as JSON."""
    return json.dumps(value, default=asdict, ensure_ascii=False)


def _scale(written: str | float) -> float:
    scale = float(written)
    if not 0 < scale <= MAX_TIME_SCALE:
        raise ValueError(f"{written!r} is no time scale: it must be more than 0, and {MAX_TIME_SCALE:g} at most")
    return scale


def _speed(written: str | float) -> float:
    speed = float(written)
    if not 0 <= speed < float("inf"):
        raise ValueError(f"{written!r} is no speed: it must be finite and not negative")
    return speed


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSettings:
    """How the sandbox behaves when the service starts one."""

    time_scale: float = setting(
        1.0,
        help="How long a second of the platform lasts: 0.01 makes its retry after 15 s one after 0.15 s.",
        parse=_scale,
    )
    tokens_per_second: float = setting(
        60.0, help="How fast the sandbox's models write; 0: the whole answer at once.", parse=_speed
    )
    start_timeout: float = duration("10s", help="How long a sandbox may take to become ready.")
    owner_grace: float = duration(
        "60s", help="How long a sandbox outlives its service, for the service's restart to find it again."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxAddress:
    """How to reach a living sandbox, and the credentials of the bot that lives in it.

    Attributes:
        started: the operating system's mark of when it started, to tell it from a later process of that pid.
        feishu_url: origin of the platform's API.
        models: base URL of each pretended model, ending in ``/v1``, by its name; more may be added.
        control_url: base URL of the control interface.
        model_token: the API key that the models take.
    """

    pid: int
    started: str
    feishu_url: str
    models: Mapping[str, str]
    control_url: str
    control_token: str = field(repr=False)
    app_id: str
    app_secret: str = field(repr=False)
    encrypt_key: str = field(repr=False)
    verification_token: str = field(repr=False)
    model_token: str = field(repr=False)
    time_scale: float = 1.0

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read `to_json`; fields of a newer version are ignored. Raises ValueError when it is something else."""
        data = json.loads(text)
        try:
            return cls(**{each.name: data[each.name] for each in fields(cls) if each.name in data})
        except TypeError as error:
            raise ValueError(f"not a sandbox's address: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidMessage:
    """What a person said in the sandbox, as the platform numbered it."""

    message_id: str
    event_id: str
    chat_id: str
    chat_type: Literal["p2p", "group"]
    app_id: str
    sender_id: str
    text: str
    thread_id: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """One text that a reply has shown.

    Attributes:
        at_s: seconds since the message was said, of real time.
        sequence: the card operation that showed it; 0 for what is no card operation.
    """

    at_s: float
    sequence: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One message of the bot, as a person sees it now.

    Attributes:
        kind: the platform's message type; ``"card"`` for every card.
        text: what it says, without the status line.
        status: the text of elements whose ``element_id`` starts with "status".
        streaming: the card still promises more.
        final: this is an outcome. A text is one; a card is one when the bot has closed its streaming mode and it
            says more than the "Thinking…" that it was opened with. One that the platform closed for being too
            old never is.
        continued: it says that it goes on in the next message, which is one outcome with it.
        parts: the texts of a card's elements, by their ``element_id``.
        template: the colour of the card's header, if it has one.
        actions: the labels of its buttons.
        history: every text shown, oldest first; only in the record.
    """

    message_id: str
    kind: str
    text: str
    status: str
    streaming: bool
    final: bool
    card_id: str = ""
    sequence: int = 0
    template: str = ""
    summary: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    in_thread: bool = False
    continued: bool = False
    actions: tuple[str, ...] = ()
    reactions: tuple[str, ...] = ()
    history: tuple[Shown, ...] = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read one out of parsed JSON."""
        lists = {name: tuple(data[name]) for name in ("actions", "reactions")}
        shown = tuple(Shown(**each) for each in data["history"])
        return cls(**{**data, **lists, "history": shown})


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that one message has led to so far.

    Attributes:
        revision: grows with every change; `SandboxClient.watch` asks for what is newer.
        text: of the newest reply that says something.
        final: there is an outcome, also of every button pressed since, and nothing is left streaming.
        said_at_s: when it was said, of the sandbox's real monotonic clock.
    """

    message_id: str
    revision: int
    said: str
    recalled: bool
    text: str
    status: str
    streaming: bool
    final: bool
    reactions: tuple[str, ...]
    replies: tuple[Reply, ...]
    said_at_s: float = 0.0

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read one out of parsed JSON."""
        replies = tuple(Reply.from_dict(each) for each in data["replies"])
        return cls(**{**data, "reactions": tuple(data["reactions"]), "replies": replies})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The judgement on one message, or on one button that was pressed and that the bot promised to act on.

    Attributes:
        message_id: the message; of a press the message of the bot that has the button.
        said: what it says; of a press the button's label.
        recalled: the message was taken back.
        outcomes: visible final outcomes; every accepted message, and every such press, must end with exactly 1.
        unfinished: cards that still promise more, or that never got to say anything.
        state: ``"none"``: nothing to see; ``"unfinished"``; ``"final"``.
        texts: what the final outcomes say.
    """

    message_id: str
    said: str
    recalled: bool
    outcomes: int
    unfinished: int
    state: Literal["none", "unfinished", "final"]
    texts: tuple[str, ...]
    kind: Literal["message", "press"] = "message"

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read one out of parsed JSON."""
        return cls(**{**data, "texts": tuple(data["texts"])})


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at handing an event to the bot.

    Attributes:
        at_s: seconds of the platform's time since the event happened.
        answer: the HTTP status, or the code of the acknowledgement, or what went wrong instead.
        seconds: how long the answer took, of real time.
    """

    at_s: float
    answer: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What became of one event.

    Attributes:
        state: ``"pending"`` (attempts go on), ``"acknowledged"`` or ``"given_up"``.
    """

    event_id: str
    event_type: str
    message_id: str
    chat_id: str
    state: Literal["pending", "acknowledged", "given_up"]
    attempts: tuple[Attempt, ...]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read one out of parsed JSON."""
        return cls(**{**data, "attempts": tuple(Attempt(**each) for each in data["attempts"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSent:
    """One try at handing an event over on a long connection.

    Attributes:
        frame_id: the ``message_id`` of its frames, which the acknowledgement has too.
        at_s: real monotonic time.
        answer: the code of the acknowledgement, or what went wrong instead; empty while it is awaited.
        seconds: how long the answer took, of real time.
    """

    event_id: str
    frame_id: str
    at_s: float
    answer: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSeen:
    """One long connection, as the platform saw it. Times are of the sandbox's real monotonic clock.

    Attributes:
        ready: the handshake has succeeded.
        refused: why it has not; empty if it has.
        illness: what is wrong with it by order, see `SandboxClient.half_open` and those after it; or ``"none"``.
        close_code: 1006 when it ended without a CLOSE; None while it is open.
        closed_by: who said CLOSE first; ``"nobody"`` when it ended without.
        pings: when each came.
        oddities: what came that the platform can not make sense of, in words.
    """

    id: str
    ready: bool
    opened_at_s: float
    closed_at_s: float | None
    refused: str
    illness: str
    close_code: int | None
    closed_by: Literal["", "bot", "platform", "nobody"]
    pings: tuple[float, ...]
    events: tuple[EventSent, ...]
    oddities: tuple[str, ...]

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.closed_at_s is None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read one out of parsed JSON."""
        events = tuple(EventSent(**each) for each in data["events"])
        lists = {name: tuple(data[name]) for name in ("pings", "oddities")}
        return cls(**{**data, **lists, "events": events})
