"""What does the Feishu channel need to know, and what does it remember?"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from urllib.parse import urlsplit

from mainstay.channels.feishu.connection.model import ConnectionSettings
from mainstay.errors import ConfigError
from mainstay.messages import Message, Outcome
from mainstay.settings import Secret, duration, setting, size

__all__ = ["Bot", "Card", "Delivery", "FeishuSettings", "Offer", "Offered", "Via"]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_DOMAINS = {"feishu": "https://open.feishu.cn", "lark": "https://open.larksuite.com"}


def _domain(text: str) -> str:
    """An origin, or a word for it; plain http only on this machine, because the app's secret is sent there."""
    text = _DOMAINS.get(text.strip().lower(), text)
    parts = urlsplit(text)
    local = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if not parts.hostname or not (parts.scheme == "https" or local) or parts.path.strip("/"):
        raise ValueError(
            f"{text!r} is not a domain: write feishu, lark, or an address like https://open.feishu.cn "
            "(http only for this machine)"
        )
    return text.rstrip("/")


def _rate(value: str | float) -> float:
    rate = float(value)
    if not 0.1 <= rate <= 50.0:
        raise ValueError(f"{value!r} is not a rate that the platform allows: write a number from 0.1 to 50")
    return rate


def _calls(written: object) -> int:
    count = int(str(written))
    if not 0 <= count <= 3600:
        raise ValueError(f"{count} calls an hour: write a number from 0 to 3600")
    return count


def _words(written: object) -> tuple[str, ...]:
    words = tuple(written) if isinstance(written, list | tuple) else ("",)
    if not all(isinstance(word, str) and word.strip() for word in words):
        raise ValueError('write a list of words, like ["stop", "停"]')
    return tuple(word.strip().casefold() for word in words)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeishuSettings(ConnectionSettings):
    """One bot on Feishu or Lark."""

    kind: str = setting("feishu", help="The kind of channel.", choices=("feishu",))
    mode: str = setting(
        "auto",
        help="How events arrive: webhook (the platform calls us) or subscription (a long connection); auto: "
        "webhook where there is an encrypt_key or a verification_token, else subscription.",
        choices=("auto", "webhook", "subscription"),
    )
    app_id: str = setting("", help="The app's id, cli_…, from the developer console.", env=("FEISHU_APP_ID",))
    app_secret: Secret = setting(  # noqa: RUF009  a dataclasses.field
        Secret(), help="The app's secret.", parse=Secret, env=("FEISHU_APP_SECRET",)
    )
    encrypt_key: Secret = setting(  # noqa: RUF009  a dataclasses.field
        Secret(),
        help="Encrypt Key of the event subscription: with it every event is encrypted and signed. Recommended.",
        parse=Secret,
        env=("FEISHU_ENCRYPT_KEY",),
    )
    verification_token: Secret = setting(  # noqa: RUF009  a dataclasses.field
        Secret(),
        help="Verification Token of the event subscription; a webhook without encrypt_key needs it.",
        parse=Secret,
        env=("FEISHU_VERIFICATION_TOKEN",),
    )
    domain: str = setting(
        "https://open.feishu.cn",
        help="Where the platform is: feishu, lark (https://open.larksuite.com), or an address.",
        parse=_domain,
    )
    answer_all: bool = setting(default=False, help="Whether a group message to @all is answered too.")
    answer_threads: bool = setting(
        default=True,
        help="Whether what is said to nobody in particular, in a thread whose first message the bot has answered, "
        "is for the bot too; the platform tells it such messages only with the scope im:message.group_msg.",
    )
    quote_timeout: float = duration(
        "3s",
        help="How long an answer waits for a quoted or edited message to be looked up, before it begins without.",
    )
    edit_calls: int = setting(
        60,
        help="How many edited messages of groups are looked up in an hour, with a call each, to see whether they "
        "mention the bot now. 0: none.",
        parse=_calls,
    )
    stop_words: tuple[str, ...] = setting(
        ("stop", "cancel", "停", "停止", "取消"),
        help="A message of nothing but one of these stops what the same person has asked before in the same "
        "conversation, while it has no answer yet. []: no word does.",
        parse=_words,
    )
    receipts: str = setting(
        "off",
        help="How a message shows that it was seen, then done or failed: off, or reaction (three calls a message).",
        choices=("off", "reaction"),
    )
    welcome: str = setting(
        "",
        help="What the bot says to who opens a private chat with it, and in a group to which it is added; at most "
        "once a day for each. Empty: nothing.",
    )
    thinking: str = setting("Thinking…", help="What a card says until there is more to say.")
    print_frequency: float = duration(
        "70ms", help="How long the typewriter of a card rests between two steps, while an answer is shown."
    )
    print_step: int = setting(1, help="How many characters the typewriter of a card shows in a step.")
    status_every: float = duration(
        "15s", help="How often the status line of a card says anew for how long the answer has been going on."
    )
    status_names: bool = setting(
        default=True, help="Whether the status line of a card says which agent and model are at work."
    )
    reopen_after: float = duration(
        "9m", help="How long a card streams before it is opened anew; the platform closes it after 10 minutes."
    )
    stop_button: bool = setting(
        default=False,
        help="Whether a card that is being written has a button to stop it. Where the platform refuses that, "
        "cards go without; taking the question back stops the answer, too.",
    )
    footer: bool = setting(
        default=False, help="Whether a finished card says which agent and model have answered, and in what time."
    )
    feedback: bool = setting(
        default=False, help="Whether a finished card has buttons to say that the answer was good or bad."
    )
    body_limit: int = size("1MiB", help="The largest request that a webhook takes.")
    freshness: float = duration(
        "8h", help="How old an event may be; the platform itself repeats an event for 7 hours."
    )
    clock_skew: float = duration("5m", help="How far ahead of ours the platform's clock may be.")
    ack_timeout: float = duration(
        "2500ms", help="The longest time to read and store an event; the platform gives up after 3 s."
    )
    connect_timeout: float = duration("5s", help="The longest time to connect to the platform.")
    request_timeout: float = duration("10s", help="The longest time of one request to the platform.")
    update_interval: float = duration(
        "250ms", help="The shortest time between two updates of one card; the platform allows 10 a second."
    )
    calls_per_second: float = setting(
        15.0,
        help="How often one API is called in the long run, over all cards; the platform allows 1000 a minute.",
        parse=_rate,
    )
    queue_wait: float = duration(
        "20s",
        help="The longest wait of one call for its turn under the platform's limits; what would wait longer is "
        "put off. Less than delivery_timeout.",
    )
    monthly_quota: int = setting(
        0,
        help="How many calls a month the platform allows (the free edition of Feishu: 10000, of all apps of the "
        "organisation together). From four fifths on cards are updated less often. 0: no limit is known.",
    )
    deliver_wait: float = duration(
        "5s", help="How long the end of a turn waits for its outcome to be shown, before it is left to retries."
    )
    pause_timeout: float = duration("2s", help="How long a stopping service tries to say so on an open card.")
    delivery_timeout: float = duration("60s", help="The longest time of one try to show an outcome.")
    retry_base: float = duration("1s", help="The first delay between two tries to show an outcome; it doubles.")
    retry_cap: float = duration("1m", help="The longest delay between two tries.")
    max_age: float = duration("6h", help="How long an outcome is tried before it becomes a dead letter.")
    keep: float = duration("1d", help="How long a delivered outcome and its card stay in the database.")
    keep_undelivered: float = duration(
        "30d", help="How long an outcome that could not be shown stays in the database, to be looked into."
    )

    @property
    def by_connection(self) -> bool:
        """Whether events come over a long connection, and not to a webhook."""
        has_key = bool(self.encrypt_key) or bool(self.verification_token)
        return self.mode == "subscription" or (self.mode == "auto" and not has_key)

    def validate(self, name: str) -> None:
        """Refuse what would leave a webhook open or the bot mute.

        Raises:
            ConfigError: with one line for each problem.
        """
        problems = []
        if not self.app_id:
            problems.append(f"channels.{name}: app_id is missing; set it or FEISHU_APP_ID")
        if not self.app_secret:
            problems.append(f"channels.{name}: app_secret is missing; set it or FEISHU_APP_SECRET")
        if not self.by_connection and not self.encrypt_key and not self.verification_token:
            problems.append(
                f"channels.{name}: a webhook needs encrypt_key (recommended) or verification_token, "
                "else anybody could speak to the bot; both are in the developer console"
            )
        if self.ack_timeout >= 3.0:
            problems.append(f"channels.{name}: ack_timeout must be under 3s, after which the platform repeats")
        if self.queue_wait >= self.delivery_timeout:
            problems.append(f"channels.{name}: queue_wait must be less than delivery_timeout")
        try:
            _domain(self.domain)
        except ValueError as error:
            problems.append(f"channels.{name}: domain: {error}")
        if problems:
            raise ConfigError(*problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bot:
    """Who this bot is to others on the platform."""

    open_id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One card of a turn; most turns have one.

    Attributes:
        key: what the key of the message that shows it derives from; of a turn's first card the turn_id.
        part: 0 for the first; a further one goes on with an answer that is too long for the one before.
        generation: how many cards there were in its place, and could not be written any more.
        retired: the message that shows the last of those, until it is taken back.
        message_id: empty until the platform has said that the card was sent; it may have been all the same.
        created_at: when the card was made; also the earliest time at which it can have been sent.
    """

    turn_id: str
    card_id: str
    message_id: str
    created_at: datetime
    key: str = ""
    part: int = 0
    generation: int = 0
    retired: str = ""

    @property
    def message_key(self) -> str:
        """What the platform knows the message by that shows it, so that it is sent once."""
        return f"{self.key}.{self.generation}" if self.generation else self.key


class Via(StrEnum):
    """How an outcome is shown: as a post where the platform refuses the card, as text where it refuses both."""

    CARD = "card"
    POST = "post"
    TEXT = "text"


class Offer(StrEnum):
    """Another try, on the card of a turn that has failed."""

    NONE = "none"
    """It is not offered."""
    MADE = "made"
    """The card has a button."""
    TAKEN = "taken"
    """The try was accepted: from now on no card is written with the button."""
    WITHDRAWN = "withdrawn"
    """The platform has the card without the button."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """What is stored about an outcome, for somebody who wants it tried again.

    Attributes:
        card_message_id: the message that shows its last card; empty if that is not known.
        suggestions: what the person may want to say next, as the card offers it.
    """

    message: Message
    offer: Offer
    created_at: datetime
    card_message_id: str
    suggestions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One outcome on its way to the person.

    Attributes:
        seq: the order of outcomes; those of one lane are shown in it.
        attempt: the attempt at the turn that produced the outcome.
        via: how it is being shown now.
        apologise: the platform's policy refused the text itself: say so in its place.
        tries: the tries so far, this one included.
        text_since: when a try as post or text may first have reached the platform; None if none has.
        footer: who answered, and in what time; empty where the card is not to say it.
        suggestions: what the person may want to say next.
    """

    seq: int
    turn_id: str
    attempt: int
    message: Message
    outcome: Outcome
    text: str
    notice: str
    via: Via
    apologise: bool
    tries: int
    created_at: datetime
    text_since: datetime | None
    offer: Offer = Offer.NONE
    footer: str = ""
    suggestions: tuple[str, ...] = ()
