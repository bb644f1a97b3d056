"""What does the pretended platform know, and how does it say no?"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

__all__ = [
    "ApiReply",
    "ApiRequest",
    "App",
    "Card",
    "Chat",
    "Json",
    "Moment",
    "Options",
    "Refusal",
    "StoredMessage",
]

Json = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """The bot that is registered here."""

    app_id: str
    app_secret: str = field(repr=False)
    encrypt_key: str = field(repr=False)
    verification_token: str = field(repr=False)
    bot_open_id: str = "ou_bot"
    bot_name: str = "sandbox"
    tenant_key: str = "tk1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the platform behaves. The defaults are the limits that its documentation states.

    Attributes:
        token_expire_s: of platform time, as all durations here.
        api_per_s: calls of one API in a second; beyond it HTTP 429, 99991400.
        api_per_min: the same in a minute.
        chat_per_s: messages into one chat in a second; beyond it 230020.
        patch_per_s: changes of one message in a second; beyond it 230020.
        card_per_s: operations on one card in a second; beyond it HTTP 429, 99991400.
        monthly_quota: calls in a calendar month, beyond it 99991403; 0: no limit.
        scale_limits: count the seconds of these limits in platform time rather than in real time.
        encrypt: seal and sign events; else they go in the clear with the verification token only.
        pressable_streams: a card that streams may have buttons, as the documentation has it; people were refused.
        resign_retries: a repeated delivery gets a new timestamp, nonce and signature; else it is byte for byte the
            first one. Which of the two the real platform does is not documented.
        ping_interval_s: what a client of the long connection is told, as the next three; in its own, real, time.
        pong: what pongs carry in the place of this, word for word; None: all of it.
        event_parts: in how many frames an event goes over a long connection.
        stale_s: how long a long connection that ended without a CLOSE still gets events, which are lost on it.
    """

    token_expire_s: float = 7200.0
    api_per_s: int = 50
    api_per_min: int = 1000
    chat_per_s: int = 5
    patch_per_s: int = 5
    card_per_s: int = 10
    monthly_quota: int = 0
    scale_limits: bool = False
    encrypt: bool = True
    pressable_streams: bool = False
    resign_retries: bool = False
    ping_interval_s: int = 120
    reconnect_count: int = -1
    reconnect_interval_s: int = 120
    reconnect_nonce_s: int = 30
    pong: str | None = None
    event_parts: int = 1
    stale_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Moment:
    """The three times at which something happens.

    Attributes:
        real_s: monotonic.
        platform_s: monotonic, on the scaled clock that token expiry, idempotency and streaming timeouts live on.
        at: the wall time that ids and messages carry.
    """

    real_s: float
    platform_s: float
    at: datetime

    @property
    def ms(self) -> int:
        """Milliseconds since the epoch, as messages carry."""
        return int(self.at.timestamp() * 1000)


class Refusal(Exception):
    """The platform's error answer: a code of its own and an HTTP status."""

    def __init__(
        self, code: int, message: str, *, status: int = 400, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message
        self.status = status
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest:
    """One call, as it came in."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    bearer: str = ""
    body: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiReply:
    """The answer to one call."""

    status: int
    body: Json
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def code(self) -> int:
        """The platform's code; 0 is success."""
        code = self.body.get("code")
        return code if isinstance(code, int) else -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A conversation that the bot is in."""

    chat_id: str
    chat_type: Literal["p2p", "group"]
    user_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage:
    """A message, of a person or of the bot.

    Attributes:
        at_s: real monotonic time of its arrival.
        platform_s: the same on the platform's clock.
        card_id: the card entity that it shows, if any.
        edits: how often its text was edited; 20 is the most.
        inside: the messages that were forwarded in it.
        before: as it was until its author changed it.
    """

    message_id: str
    chat_id: str
    msg_type: str
    content: str
    sender_id: str
    sender_type: Literal["user", "app"]
    created_ms: int
    updated_ms: int
    at_s: float
    platform_s: float
    root_id: str = ""
    parent_id: str = ""
    thread_id: str = ""
    card_id: str = ""
    deleted: bool = False
    updated: bool = False
    edits: int = 0
    mentions: tuple[Json, ...] = ()
    inside: tuple[str, ...] = ()
    before: "StoredMessage | None" = None


@dataclass(slots=True, kw_only=True)
class Card:
    """A card entity of CardKit: the one thing here that changes in place, up to ten times a second.

    Attributes:
        opened_at_s: platform time at which streaming was last switched on; it ends by itself 10 minutes later.
        timed_out: streaming ended by itself, and the bot has not closed or opened the card since.
        opened_with: the text that it was created with, if it was created streaming.
        history: (real monotonic time, sequence, text shown).
    """

    card_id: str
    content: Json
    created_at_s: float
    opened_at_s: float
    streaming: bool
    sequence: int = 0
    timed_out: bool = False
    timeout_told: bool = False
    message_id: str = ""
    interacting: bool = False
    opened_with: str | None = None
    uuids: set[str] = field(default_factory=set)
    history: list[tuple[float, int, str]] = field(default_factory=list)
