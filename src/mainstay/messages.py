"""What do a channel and an agent say to each other?

A `Message` goes in, a stream of `AnswerEvent` comes out. A channel knows no agent and an agent knows no channel:
they meet in these types, joined by `mainstay.turns` through two protocols, `Responder` (the agent's side) and
`Replier` (the channel's side).

Identities are derived, never invented, so that a message taken over after a crash is the same message: the inbox
key is ``(channel, bot_id, kind, external_id)``, `Message.turn_id` is the UUIDv5 of it, and `Message.lane` is the
conversation whose messages are answered one at a time, in order.
"""

import json
import uuid
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from mainstay.errors import Category

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "AnswerEvent",
    "Exchange",
    "Finished",
    "HandedOver",
    "Hop",
    "Message",
    "ModelAsked",
    "ModelUsage",
    "Notebook",
    "Outcome",
    "Replier",
    "Responder",
    "Status",
    "Step",
    "Steps",
    "Suggester",
    "Suggestions",
    "TextAppended",
    "TextReplaced",
    "ToolFinished",
    "ToolStarted",
    "Turn",
    "turn_id_of",
]

_TURNS = uuid.UUID("6d61696e-7374-4179-8000-7475726e7300")  # "mainstay turns": the namespace of turn ids


@lru_cache(4096)
def turn_id_of(channel: str, bot_id: str, kind: str, external_id: str) -> str:
    """The id of the one turn that this message can ever have: UUIDv5 of its inbox key."""
    return str(uuid.uuid5(_TURNS, json.dumps([channel, bot_id, kind, external_id])))


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Something a person said to a bot, as every channel writes it.

    Attributes:
        channel: the configured name of the channel, e.g. ``"feishu"``.
        bot_id: the platform's id of the bot (Feishu: the app_id).
        kind: ``"message"``; ``"callback"`` for a press on a card; ``"event"`` for what nobody said: somebody has
            come in, so there is nothing to reply to.
        external_id: the platform's id of a message; of a callback what makes it single, see `again`.
        chat_id: where it was said.
        thread_id: the root of the thread it was said in, or ``"main"``.
        chat_type: ``"p2p"`` or ``"group"``.
        sender_id: who said it; memory belongs to them, never to somebody who was mentioned.
        text: what was said, with mentions of the bot removed.
        sent_at: when, by the platform's clock; aware UTC.
        reply_in_thread: whether the answer opens (or continues) a thread.
        retry_of: the turn_id of the failed turn that this one tries again; empty for what was just said.
        reply_to: the platform's id of the message to answer, where that is not ``external_id``.
        notice: what the person is told in place of an answer, by no agent: there is nothing that one could read.
        context: what the agent has to know besides the text, e.g. what was quoted; no part of what the person said.
        quotes: the platform's id of the message that this one refers to; what it says is looked up when the answer
            begins.
        may_join: whether it may be answered together with others of the same person when many wait; the channel has
            then to say so of each of them.
        parts: ``(external_id, text)`` of each, this one first, where several messages of one person are answered
            together; ``text`` is all of it.
    """

    channel: str
    bot_id: str
    external_id: str
    chat_id: str
    sender_id: str
    text: str
    sent_at: datetime
    kind: Literal["message", "callback", "event"] = "message"
    thread_id: str = "main"
    chat_type: Literal["p2p", "group"] = "p2p"
    reply_in_thread: bool = False
    retry_of: str = ""
    reply_to: str = ""
    notice: str = ""
    context: str = ""
    quotes: str = ""
    may_join: bool = False
    parts: tuple[tuple[str, str], ...] = ()

    @property
    def turn_id(self) -> str:
        """See `turn_id_of`."""
        return turn_id_of(self.channel, self.bot_id, self.kind, self.external_id)

    @property
    def chat(self) -> str:
        """The chat, whatever its threads: what limits by chat go by."""
        return f"{self.channel}:{self.bot_id}:{self.chat_id}"

    @property
    def target_id(self) -> str:
        """The platform's id of the message that is answered, however often it is tried; empty of an event."""
        return self.reply_to or ("" if self.kind == "event" else self.external_id)

    @property
    def asked_turn_id(self) -> str:
        """The turn in which that message was first tried: this one, unless this is another try."""
        return self.turn_id_of(self.target_id) if self.target_id else self.turn_id

    def joined(self, parts: "tuple[tuple[str, str], ...]") -> "Message":
        """The same message, to be answered together with others, or with fewer of them; the first is replied to."""
        target_id = parts[0][0]
        return replace(
            self,
            parts=parts,
            text="\n\n".join(said for _, said in parts),
            reply_to=target_id if target_id != self.external_id else self.reply_to,
        )

    def turn_id_of(self, message_id: str) -> str:
        """The id of the turn of another message to the same bot."""
        return turn_id_of(self.channel, self.bot_id, "message", message_id)

    @property
    def turn_ids(self) -> tuple[str, ...]:
        """The turns of all messages that are answered here, this one first."""
        return (self.turn_id, *(self.turn_id_of(external_id) for external_id, _ in self.parts[1:]))

    @property
    def prompt(self) -> str:
        """What the agent is asked: what it has to know, then what was said."""
        return f"{self.context}\n\n{self.text}" if self.context else self.text

    @property
    def lane(self) -> str:
        """The conversation: answered in order, one message at a time; also the key of its history."""
        return f"{self.chat}:{self.thread_id}"

    @property
    def person(self) -> str:
        """The key of what is remembered about the sender, across conversations with this bot."""
        return f"{self.channel}:{self.bot_id}:{self.sender_id}"

    def again(self) -> "Message":
        """The same message, to be tried once more because this turn has failed; who asked stays who asked.

        Its id derives from the failed turn: whoever asks for another try, and however often, asks for the same one.
        """
        return replace(
            self,
            kind="callback",
            external_id=f"retry:{self.turn_id}",
            retry_of=self.turn_id,
            reply_to=self.target_id,
        )

    def to_json(self) -> str:
        """The form that is stored; `from_json` reads it back."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return json.dumps(plain | {"sent_at": self.sent_at.timestamp()}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Message":
        """Read `to_json`; fields that a newer version wrote are ignored."""
        data = json.loads(text)
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        sent_at = datetime.fromtimestamp(data["sent_at"], UTC)
        parts = tuple((external_id, said) for external_id, said in known.get("parts", ()))
        return cls(**known | {"sent_at": sent_at, "parts": parts})


@dataclass(frozen=True, slots=True)
class TextAppended:
    """More of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class TextReplaced:
    """The answer so far is this text: a fallback model started again, or talk before a tool call was dropped."""

    text: str


@dataclass(frozen=True, slots=True)
class Status:
    """One line about what is going on, in place of the last one; not part of the answer."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    """Another agent goes on with the answer.

    Attributes:
        strategy: ``"rule"`` or ``"model"``.
        score: how well the rules matched, 0 to 1; None when the model decided.
        alternatives: the other agents considered, with their scores, best first.
    """

    from_agent: str
    to_agent: str
    strategy: Literal["rule", "model"]
    score: float | None = None
    reason: str = ""
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAsked:
    """A model is asked for the answer, the next of the chain too where one has failed.

    Attributes:
        agent: on whose behalf.
        model: the configured name.
    """

    agent: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolStarted:
    """A tool is being run for the answer."""

    call_id: str
    tool: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFinished:
    """A tool has returned, or failed."""

    call_id: str
    tool: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Suggestions:
    """What the person may want to say next; a channel that can offer it does so under the answer."""

    texts: tuple[str, ...]


class Outcome(StrEnum):
    """How a turn ended. Cancelled: the person took the message back; it enters no counter."""

    ANSWERED = "answered"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """The chain moved on from one model to the next.

    Attributes:
        category: why.
        shown_chars: characters of the answer that the person had seen by then.
    """

    from_model: str
    to_model: str
    category: Category
    shown_chars: int = 0
    elapsed_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUsage:
    """What one model consumed in this turn, all attempts together.

    Attributes:
        cost: US dollars, exact; None when the model has no price: unknown is not 0.
        estimated: whether a part of it is our own estimate, because the provider did not get to say.
    """

    model: str
    input_tokens: int
    output_tokens: int
    cost: Decimal | None = None
    estimated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The last event of every answer.

    Attributes:
        text: the whole answer; of a failed turn what had been shown and is worth keeping, else empty.
        notice: one line for the person under the text: why it failed, or that it was cut by length.
        category: why it failed; None when it was answered.
        agent: who answered last.
        model: the configured name of the model that answered.
        record: this turn's messages in the responder's own encoding; comes back as `Exchange.record`.
        retryable: of a failure: whether it makes sense to offer the person another try. That one goes on from the
            recorded steps of this one, so it is also the safe way to ask again after a tool with effects has run.
    """

    outcome: Outcome
    text: str = ""
    notice: str = ""
    category: Category | None = None
    agent: str = ""
    model: str = ""
    hops: tuple[Hop, ...] = ()
    usage: tuple[ModelUsage, ...] = ()
    record: bytes = b""
    retryable: bool = False

    @property
    def offers_retry(self) -> bool:
        """Whether the person may have it tried again."""
        return self.outcome is Outcome.FAILED and self.retryable


AnswerEvent = (
    TextAppended
    | TextReplaced
    | Status
    | HandedOver
    | ModelAsked
    | ToolStarted
    | ToolFinished
    | Suggestions
    | Finished
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One earlier turn of the same conversation.

    Attributes:
        record: the responder's own encoding (`Finished.record`); empty if it kept none.
    """

    turn_id: str
    user_text: str
    answer_text: str
    at: datetime
    record: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One run of one tool within a turn, written down before it starts and after it ends.

    Attributes:
        step_id: the model's id of the tool call.
        agent: who called it.
        effects: whether running it twice would matter; true unless the tool is declared read-only.
        checkpoint: the responder's messages up to and with the call, to go on from.
        state: ``"intended"`` (it may or may not have happened), ``"finished"`` or ``"failed"``.
    """

    step_id: str
    agent: str
    tool: str
    arguments: str
    effects: bool
    checkpoint: bytes
    state: Literal["intended", "finished", "failed"] = "intended"
    result: str = ""


class Steps(Protocol):
    """The journal of one turn's tool calls: what makes it safe to go on after a crash."""

    @property
    def recorded(self) -> Sequence[Step]:
        """What earlier attempts wrote down, those of the turn that this one tries again too; oldest first."""
        ...

    async def intend(self, step: Step) -> None:
        """Store the intent; returns when it would survive a crash. Raises LeaseLost, StorageUnavailable."""
        ...

    async def record(self, step_id: str, result: str, *, ok: bool) -> None:
        """Store the result. Raises LeaseLost, StorageUnavailable."""
        ...


class Notebook(Protocol):
    """What is remembered about the sender, across conversations with this bot."""

    @property
    def notes(self) -> Sequence[str]:
        """Oldest first."""
        ...

    async def add(self, note: str) -> None:
        """Remember one more; the oldest gives way when the notebook is full."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The circumstances under which a message is answered.

    Attributes:
        attempt: 1 at first, one more each time that a worker takes the message over.
        deadline: monotonic seconds by which the answer must be there.
        history: the conversation before this message, oldest first.
    """

    turn_id: str
    attempt: int
    deadline: float
    history: tuple[Exchange, ...]
    steps: Steps
    notebook: Notebook


class Responder(Protocol):
    """Turns a message into an answer. Users plug in their own with ``responder = "package.module:factory"``."""

    @property
    def name(self) -> str:
        """The agent under which reports count the turns, e.g. ``"manager"``."""
        ...

    def respond(self, message: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        """Yield the answer to `Message.prompt` as it comes, then exactly one `Finished`.

        A failure of a model is a ``Finished`` with outcome ``failed``; an exception is a bug, and is reported to
        the person as one. Closing the generator cancels the work, down to the provider's socket.
        """
        ...


@runtime_checkable
class Suggester(Protocol):
    """A `Responder` that is asked, once an answer was shown, what the person may want to say next."""

    async def suggest(self, message: Message, answer: str) -> Sequence[str]:
        """The questions, best first; none where it has none in time. It bounds its own time, and never raises."""
        ...


class Replier(Protocol):
    """Shows one answer to the person who asked; made by a channel for one attempt at one turn."""

    def show(self, event: AnswerEvent) -> None:
        """Take what is new. Never waits and never raises: the latest text wins, older ones may be skipped."""
        ...

    def post(self, tx: "Connection", final: Finished) -> None:
        """Store the outcome to be shown, in the transaction that finishes the turn."""
        ...

    async def deliver(self) -> None:
        """Show what `post` stored. Returns when the platform has it or the channel has it in hand for later."""
        ...

    async def pause(self, notice: str) -> None:
        """Stop showing without an outcome: this attempt ends here, another one will go on with the same card."""
        ...
