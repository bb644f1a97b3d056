"""What has a person seen, and is it an outcome?

The judge. It knows the platform's data only, and nothing of the bot: a reply that is no card is one visible
outcome. A card is one when the bot itself has closed its streaming mode and it says something; while it streams,
when the platform had to close it, or when it still says nothing but the dots or the "Thinking…" that it was opened
with, it is unfinished. A card that was never sent, and a message that was taken back, nobody sees.

A card that says that it is continued (in an element whose ``element_id`` starts with "continued") is one outcome
with the next message that the bot says to the same question; as long as there is none, it is unfinished.

A button that was pressed asks for something too, if the bot has said that it will do it (HTTP 200, and a toast of
the kind "info"; a "success" says that it is done already, and owes nothing). What the bot says to the same message
from then on is the outcome of the press, and not a second one of the message. Where no answer to the press came at
all, as when the bot died, it may be the outcome of the press, and need not come, unless the message has none: the
card that was pressed may have given way to another one. Pressing the same button again, whoever does, asks for
nothing more.

Several messages of one person may be answered together: a message that has no reply of its own has its outcome in
a reply to another one of theirs in the same chat, if that quotes how it begins, “like this”, in an element whose
``element_id`` starts with "notice", or in the last paragraph of a plain message. What is quoted may lack the
mention that it begins with, may have spaces of no width in it, and has ‘single’ quotes in place of its own. What
its author has changed may be quoted as it was said before.
"""

import json
import re
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mainstay.sandbox.feishu import cardtext
from mainstay.sandbox.feishu.cards import CardKit
from mainstay.sandbox.feishu.messages import Messages, post_text
from mainstay.sandbox.feishu.model import Moment, StoredMessage
from mainstay.sandbox.model import Reply, Shown, Snapshot, Verdict

__all__ = ["Press", "Record"]

_INNER_QUOTES = str.maketrans("“”", "‘’")
_QUOTED = re.compile("“([^”]*)”")
_TOGETHER = 200  # messages before it, and after it, in which one is looked for: events come in any order
_DOTS = " .…。·⏳\n\u200b"


@dataclass(slots=True, kw_only=True)
class Press:
    """A button that was pressed.

    Attributes:
        message_id: the message whose card has it.
        label: what it says.
        value: what it sends, as JSON.
        since: the revision at which it was pressed first.
        promised: whether the bot has said that it will do it; None where it has not said anything.
        lost: it may have been taken all the same, because the answer to a press never came.
    """

    message_id: str
    label: str
    value: str
    since: int
    promised: bool | None = None
    lost: bool = False


class Record:
    """Reads what `Messages` and `CardKit` hold; keeps only who replied to whom."""

    def __init__(self, messages: Messages, cards: CardKit) -> None:
        self._messages = messages
        self._cards = cards
        self._replies: dict[str, list[str]] = defaultdict(list)
        self._revisions: dict[str, int] = {}
        self._origins: dict[str, str] = {}
        self._sent_at: dict[str, int] = {}
        self._presses: dict[str, list[Press]] = {}
        self._spoken: dict[tuple[str, str], list[str]] = defaultdict(list)
        self.revision = 0
        self.unprompted: deque[str] = deque(maxlen=10_000)
        """Ids of what the bot said without replying to anybody."""

    def said(self, message_id: str) -> None:
        """A person has spoken."""
        self._origins[message_id] = message_id
        message = self._messages.messages[message_id]
        self._spoken[message.chat_id, message.sender_id].append(message_id)
        self.touch(message_id)

    def sent(self, message: StoredMessage) -> None:
        """The bot has spoken."""
        origin = self._origins.get(message.parent_id, "")
        if message.message_id in self._origins or message.message_id in self.unprompted:
            return
        if origin:
            self._replies[origin].append(message.message_id)
            self._origins[message.message_id] = origin
            self.touch(origin)
            self._sent_at[message.message_id] = self.revision
        else:
            self.unprompted.append(message.message_id)

    def touch(self, message_id: str) -> None:
        """Something about this message, or about a reply to it, has changed."""
        origin = self._origins.get(message_id)
        if origin is not None:
            self.revision += 1
            self._revisions[origin] = self.revision

    def pressed(self, message_id: str, label: str, value: object) -> Press:
        """A button on a card of the bot is being pressed; `answered` tells what the bot says to it."""
        self.touch(message_id)
        press = Press(
            message_id=message_id, label=label, value=json.dumps(value, sort_keys=True), since=self.revision
        )
        origin = self._origins.get(message_id)
        if origin is None:  # what the bot said unasked is nobody's outcome
            return press
        known = self._presses.setdefault(origin, [])
        for each in known:
            if (each.message_id, each.value) == (press.message_id, press.value):
                return each
        known.append(press)
        return press

    def answered(self, press: Press, status: int, answer: object) -> None:
        """The bot has answered a press."""
        toast = answer.get("toast") if isinstance(answer, dict) else None
        kind = toast.get("type", "info") if isinstance(toast, dict) else ""
        promised = status == 200 and kind == "info"
        press.lost = press.lost or not status
        if status and not press.promised:
            press.promised = promised
            self.touch(press.message_id)

    def forget_oldest(self) -> list[str]:
        """Drop the oldest thing that was said; returns its id and those of its replies."""
        oldest = next(iter(self._revisions))
        del self._revisions[oldest]
        self._presses.pop(oldest, None)
        gone = self._messages.messages[oldest]
        self._spoken[gone.chat_id, gone.sender_id].remove(oldest)
        ids = [oldest, *self._replies.pop(oldest, ())]
        for each in ids:
            del self._origins[each]
            self._sent_at.pop(each, None)
        return ids

    def messages(self) -> list[str]:
        """The ids of everything that people said, oldest first."""
        return list(self._revisions)

    def snapshot(self, message_id: str, now: Moment, *, history: bool = False) -> Snapshot:
        """What this message has led to. Raises KeyError when nobody said it."""
        message = self._messages.messages[message_id]
        replies = self._visible(message, now, history=history)
        speaking = [reply for reply in replies if reply.text.strip(_DOTS)] or replies
        return Snapshot(
            message_id=message_id,
            revision=self._revisions[message_id],
            said=_text(message),
            recalled=message.deleted,
            text=speaking[-1].text if speaking else "",
            status=speaking[-1].status if speaking else "",
            streaming=any(reply.streaming for reply in replies),
            final=all(verdict.state == "final" for verdict in self._verdicts(message, replies, now)),
            reactions=tuple(self._messages.reactions.get(message_id, {}).values()),
            replies=replies,
            said_at_s=message.at_s,
        )

    def verdicts(self, message_id: str, now: Moment) -> list[Verdict]:
        """The judgement on this message, then on each button that was pressed on an answer to it."""
        message = self._messages.messages[message_id]
        return self._verdicts(message, self._visible(message, now, history=False), now)

    def _verdicts(self, message: StoredMessage, replies: Sequence[Reply], now: Moment) -> list[Verdict]:
        known = self._presses.get(message.message_id, ())
        presses = [press for press in known if press.lost or press.promised is not False]
        if presses and not any(self._sent_at[reply.message_id] <= presses[0].since for reply in replies):
            presses = [press for press in presses if press.promised]
        shares: list[list[Reply]] = [[] for _ in range(len(presses) + 1)]
        for reply in replies:
            sent_at = self._sent_at[reply.message_id]
            shares[sum(press.since < sent_at for press in presses)].append(reply)
        own_replies = shares[0] or self._naming(message, now)
        own = _verdict(message.message_id, _text(message), own_replies, recalled=message.deleted)
        return [
            own,
            *(
                _verdict(press.message_id, press.label, share, recalled=message.deleted, kind="press")
                for press, share in zip(presses, shares[1:], strict=True)
                if press.promised or share
            ),
        ]

    def _naming(self, message: StoredMessage, now: Moment) -> list[Reply]:
        """The outcomes of what else the person said that name this message."""
        spoken = self._spoken[message.chat_id, message.sender_id]
        here = spoken.index(message.message_id)
        others = (*spoken[max(0, here - _TOGETHER) : here], *spoken[here + 1 :][:_TOGETHER])
        outcomes = (reply for each in others for reply in self._visible_to(each, now) if reply.final)
        ways = [said for each in _versions(message) for said in _ways_to_quote(each)]
        return [
            reply for reply in outcomes if any(_begins(said, each) for each in _named_by(reply) for said in ways)
        ]

    def _visible_to(self, message_id: str, now: Moment) -> tuple[Reply, ...]:
        return self._visible(self._messages.messages[message_id], now, history=False)

    def reply(self, message_id: str, now: Moment) -> Reply:
        """One message of the bot, as a person sees it."""
        return self._read(self._messages.messages[message_id], 0.0, now, history=True)

    def _visible(self, said: StoredMessage, now: Moment, *, history: bool) -> tuple[Reply, ...]:
        sent = (self._messages.messages[each] for each in self._replies.get(said.message_id, ()))
        return tuple(self._read(each, said.at_s, now, history=history) for each in sent if not each.deleted)

    def _read(self, message: StoredMessage, since_s: float, now: Moment, *, history: bool) -> Reply:
        reactions = tuple(self._messages.reactions.get(message.message_id, {}).values())
        in_thread = bool(message.thread_id)
        if message.msg_type != "interactive":
            text = _text(message)
            shown = (Shown(message.at_s - since_s, 0, text),) if history else ()
            return Reply(
                message_id=message.message_id,
                kind=message.msg_type,
                text=text,
                status="",
                streaming=False,
                final=True,
                in_thread=in_thread,
                reactions=reactions,
                history=shown,
            )
        card = self._cards.cards.get(message.card_id)
        content = card.content if card else json.loads(message.content)
        text, status, actions = cardtext.words(content)
        timed_out = card is not None and self._cards.settle(card, now)
        streaming = card is not None and card.streaming
        opening = card is not None and text == card.opened_with and text.endswith(("…", "..."))
        entries = card.history if card and history else ()
        return Reply(
            message_id=message.message_id,
            kind="card",
            text=text,
            status=status,
            streaming=streaming,
            final=not (streaming or timed_out or opening) and bool(text.strip(_DOTS)),
            parts={each.element_id: each.text for each in cardtext.elements(content) if each.element_id},
            card_id=message.card_id,
            sequence=card.sequence if card else 0,
            template=cardtext.template(content),
            summary=cardtext.summary(content),
            in_thread=in_thread,
            continued=cardtext.is_continued(content),
            actions=actions,
            reactions=reactions,
            history=tuple(Shown(at_s - since_s, sequence, shown) for at_s, sequence, shown in entries),
        )


def _verdict(
    message_id: str,
    said: str,
    replies: Sequence[Reply],
    *,
    recalled: bool,
    kind: Literal["message", "press"] = "message",
) -> Verdict:
    outcomes, pending = _outcomes(replies)
    final = [outcome for outcome in outcomes if all(reply.final for reply in outcome)]
    unfinished = len(outcomes) - len(final) + bool(pending)
    state: Literal["none", "unfinished", "final"] = "final" if final else "none"
    return Verdict(
        message_id=message_id,
        said=said,
        recalled=recalled,
        outcomes=len(final),
        unfinished=unfinished,
        state="unfinished" if unfinished else state,
        texts=tuple("".join(reply.text for reply in outcome) for outcome in final),
        kind=kind,
    )


def _named_by(reply: Reply) -> list[str]:
    """What it quotes beside the answer itself, which may quote anything: in a notice, or in its last paragraph."""
    notices = [text for name, text in reply.parts.items() if name.startswith("notice")]
    if reply.kind != "card":
        notices = reply.text.rsplit("\n\n", 1)[1:]
    return _QUOTED.findall("\n".join(notices).replace("\u200b", ""))


def _versions(message: StoredMessage) -> Iterator[StoredMessage]:
    """What it says now, and what it said before it was edited."""
    version: StoredMessage | None = message
    while version is not None:
        yield version
        version = version.before


def _ways_to_quote(message: StoredMessage) -> tuple[str, str]:
    """What it says, with names in it, and without who is mentioned first."""
    text = _text(message).replace("@_all", "@all")
    for number, each in enumerate(message.mentions, start=1):
        text = text.replace(f"@_user_{number}", f"@{each['name']}", 1)
    said = " ".join(text.split()).translate(_INNER_QUOTES)
    first = f"@{message.mentions[0]['name']}" if message.mentions else ""
    return said, said.removeprefix(first).strip()


def _begins(said: str, quoted: str) -> bool:
    return said == quoted or (quoted.endswith("…") and len(quoted) > 1 and said.startswith(quoted[:-1]))


def _outcomes(replies: Sequence[Reply]) -> tuple[list[list[Reply]], list[Reply]]:
    """The replies, those that continue one another together; last what waits for the message that continues it."""
    whole: list[list[Reply]] = []
    begun: list[Reply] = []
    for reply in replies:
        begun.append(reply)
        if not reply.continued:
            whole.append(begun)
            begun = []
    return whole, begun


def _text(message: StoredMessage) -> str:
    content = json.loads(message.content)
    if message.msg_type == "text":
        return str(content.get("text", ""))
    if message.msg_type != "post":
        return f"[{message.msg_type}]"
    return post_text(content)
