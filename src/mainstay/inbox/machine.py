"""Which message may be worked on, by whom, and when is that over?

Every change of a row is decided here; the shells read rows, ask, and write what they are told. A worker holds a
message by a *lease* that it must renew. Whoever claims a message raises its attempt number, and every later change
must show owner and attempt (the *fence*): a worker that was slow, or presumed dead, can not finish what another
one has taken over.

Rows are shared between processes, so ``now`` is the wall time. A clock that is set forward lets leases run out
early, which the fence makes harmless. One that is set back would keep messages waiting for as long: a time further
in the future than any that we set counts as passed.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from mainstay.errors import LeaseLost
from mainstay.inbox.model import Claim, Head, InboxSettings, Row, State
from mainstay.messages import Message, Outcome

__all__ = [
    "Choice",
    "Cutoffs",
    "accept",
    "answered_in",
    "beside",
    "bury",
    "choose",
    "claim",
    "cutoffs",
    "expire",
    "finish",
    "free",
    "hand_out",
    "heads",
    "holds",
    "join",
    "joined",
    "ready_in",
    "release",
    "renew",
    "said",
]

H = TypeVar("H", bound=Head)
_MOST_JOINED = 100  # in one answer, which names each of them
_MOST_TEXT = 20_000  # characters
_TOLD_AGAIN_S = 600


def accept(known: Row | None, message: Message, now: datetime) -> Row | None:
    """The row of a new message; None for one that is known, whatever became of it."""
    if known is not None:
        return None
    return Row(
        turn_id=message.turn_id,
        lane=message.lane,
        state=State.QUEUED,
        attempt=0,
        crashes=0,
        owner="",
        accepted_at=now,
        due_at=now,
        lease_until_at=None,
        message=message.to_json(),
    )


def join(waiting: Sequence[Row], message: Message, settings: InboxSettings) -> Row | None:
    """The last of these rows with the message added to it; None where it is to be answered by itself.

    Nobody has begun what waits, so an answer is an answer to all of it: whoever takes it sees every message or,
    after a crash, sees them again.

    Args:
        waiting: what is queued in the message's lane and was never claimed, oldest first.
        message: the one that comes now.
        settings: say from how many on messages are answered together.
    """
    if not settings.merge_after or len(waiting) < settings.merge_after:
        return None
    last = waiting[-1]
    try:
        first = Message.from_json(last.message)
    except (ValueError, TypeError, KeyError):
        return None
    if first.sender_id != message.sender_id or not (_plain(first) and _plain(message)):
        return None
    parts = first.parts or ((first.external_id, first.text),)
    if len(parts) >= _MOST_JOINED or len(first.text) + len(message.text) > _MOST_TEXT:
        return None
    together = first.joined((*parts, (message.external_id, message.text)))
    return replace(last, message=together.to_json())


def _plain(message: Message) -> bool:
    """Whether it may be joined, and its text is all that there is to it.

    What is said in a thread refers to the message that the thread began with, as all of its lane does.
    """
    alone = message.quotes in ("", message.thread_id) and not (message.notice or message.context)
    return message.may_join and message.kind == "message" and alone


def joined(row: Row, into: str, now: datetime) -> Row:
    """The row of a message that is answered together with another: there is nothing more to do for it."""
    reason = f"answered together with {into}"
    return replace(row, message="", reason=reason, closed_at=now, state=State.FINISHED)


def answered_in(row: Row) -> tuple[str, ...]:
    """The turns of all messages that this row stands for: its own, and those of what was joined to it."""
    try:
        return Message.from_json(row.message).turn_ids
    except (ValueError, TypeError, KeyError):
        return (row.turn_id,)


def said(rows: Iterable[Row]) -> list[Message]:
    """The messages of open rows, but for those that can not be read."""
    messages = []
    for row in rows:
        try:
            messages.append(Message.from_json(row.message))
        except (ValueError, TypeError, KeyError):  # whoever claims it buries it
            continue
    return messages


def beside(aside: Message, now: datetime) -> tuple[Message, Message]:
    """What is told beside an answer to many messages, as of now and of the ten minutes before these.

    The first is told, unless one of them is known: a flood of an hour is not told about with every answer in it.
    """
    place = int(now.timestamp() // _TOLD_AGAIN_S)
    this, before = (f"{aside.external_id}:{aside.chat_id}:{each}" for each in (place, place - 1))
    return replace(aside, external_id=this), replace(aside, external_id=before)


def heads(rows: Iterable[H]) -> list[H]:
    """Of all rows, oldest first: the oldest open one of each lane, which holds up the others of its lane."""
    lanes: dict[str, H] = {}
    for row in rows:
        if row.state in (State.QUEUED, State.RUNNING):
            lanes.setdefault(row.lane, row)
    return list(lanes.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a look at the lanes' heads came to. ``expired``: too old to be begun, to be buried."""

    claimed: tuple[str, ...]
    expired: tuple[str, ...]


def choose(
    heads: Iterable[Head], now: datetime, settings: InboxSettings, limit: int, *, but: Collection[str] = ()
) -> Choice:
    """The first ``limit`` heads that may be worked on, in the order given (oldest first); no more are looked at.

    ``but``: what the worker that asks is working on already. Its lease may have run out all the same, where the
    whole process was held up; it is renewed, and not answered twice side by side.
    """
    claimed: list[str] = []
    expired: list[str] = []
    for head in heads:
        if head.turn_id in but or ready_in(head, now, settings) > 0:
            continue
        (expired if _too_old(head, now, settings) else claimed).append(head.turn_id)
        if len(claimed) == limit:
            break
    return Choice(claimed=tuple(claimed), expired=tuple(expired))


def ready_in(head: Head, now: datetime, settings: InboxSettings) -> float:
    """Seconds until the head of a lane may be claimed; 0 if it may be now."""
    if head.state is State.RUNNING:
        assert head.lease_until_at is not None
        lost_at = head.lease_until_at + timedelta(seconds=_backoff(head.crashes + 1, settings))
        return _until(lost_at, now, 2 * settings.lease + settings.max_backoff)
    return _until(head.due_at, now, 2 * settings.max_backoff)


def _until(at: datetime, now: datetime, longest_s: float) -> float:
    wait_s = (at - now).total_seconds()
    return 0.0 if wait_s > longest_s else max(0.0, wait_s)


def _too_old(head: Head, now: datetime, settings: InboxSettings) -> bool:
    """One that was begun may have shown something to the person, who is told how it ended, however late."""
    return head.attempt == 0 and (now - head.accepted_at).total_seconds() > settings.max_age


def _backoff(crashes: int, settings: InboxSettings) -> float:
    """The first crash may be anybody's fault: no wait. From the second on the message itself is suspected."""
    if crashes < 2:
        return 0.0
    return float(min(settings.backoff * 2 ** min(crashes - 2, 30), settings.max_backoff))


def claim(row: H, owner: str, now: datetime, settings: InboxSettings) -> H:
    """Give a message that `choose` named to a worker; if another one had it, that one has vanished with it."""
    return replace(
        row,
        state=State.RUNNING,
        attempt=row.attempt + 1,
        crashes=row.crashes + (row.state is State.RUNNING),
        owner=owner,
        lease_until_at=now + timedelta(seconds=settings.lease),
    )


def hand_out(row: Row, now: datetime) -> Claim:
    """The claim as its worker gets it. Raises ValueError, TypeError or KeyError if the message can not be read."""
    return Claim(
        message=Message.from_json(row.message),
        turn_id=row.turn_id,
        attempt=row.attempt,
        accepted_at=row.accepted_at,
        waited_s=max(0.0, (now - row.accepted_at).total_seconds()),
        crashes=row.crashes,
    )


def holds(row: Head | None, owner: str, attempt: int) -> bool:
    """Whether this claim is still the current one. A lease that ran out counts until somebody takes it over."""
    return row is not None and row.state is State.RUNNING and (row.owner, row.attempt) == (owner, attempt)


def _held(row: Row | None, owner: str, attempt: int) -> Row:
    if row is None or not holds(row, owner, attempt):
        found = (
            "it is gone" if row is None else f"it is {row.state}, attempt {row.attempt} of {row.owner or 'nobody'}"
        )
        raise LeaseLost(f"attempt {attempt} of {owner} has lost its message: {found}")
    return row


def renew(row: Row | None, owner: str, attempt: int, now: datetime, settings: InboxSettings) -> Row:
    """Keep a claim for another lease. Raises LeaseLost."""
    return replace(_held(row, owner, attempt), lease_until_at=now + timedelta(seconds=settings.lease))


def finish(row: Row | None, owner: str, attempt: int, outcome: Outcome, detail: str, now: datetime) -> Row:
    """End a message with its outcome. Raises LeaseLost."""
    held = _held(row, owner, attempt)
    return replace(
        held,
        state=State.FINISHED,
        outcome=outcome,
        detail=detail,
        message="",
        lease_until_at=None,
        closed_at=now,
    )


def release(
    row: Row | None, owner: str, attempt: int, delay_s: float, reason: str, now: datetime, settings: InboxSettings
) -> Row:
    """Give a message back, to be claimed after ``delay_s``, at most ``max_backoff``. Raises LeaseLost."""
    delay_s = min(max(0.0, delay_s), settings.max_backoff)
    held = _held(row, owner, attempt)
    return replace(
        held, state=State.QUEUED, due_at=now + timedelta(seconds=delay_s), lease_until_at=None, reason=reason
    )


def free(row: Row, now: datetime, settings: InboxSettings) -> Row:
    """Take a message from a worker that is known to be dead, without waiting for its lease."""
    if row.state is not State.RUNNING:
        return row
    crashes = row.crashes + 1
    return replace(
        row,
        state=State.QUEUED,
        crashes=crashes,
        due_at=now + timedelta(seconds=_backoff(crashes, settings)),
        lease_until_at=None,
        reason=f"worker {row.owner} is gone",
    )


def bury(row: Row | None, owner: str, attempt: int, reason: str, now: datetime) -> Row:
    """Make a dead letter of a claimed message. Raises LeaseLost."""
    return replace(_held(row, owner, attempt), state=State.DEAD, reason=reason, lease_until_at=None, closed_at=now)


def expire(row: Row, now: datetime, settings: InboxSettings) -> Row:
    """Make a dead letter of a message that nobody has begun and that is past ``max_age``."""
    if row.state is not State.QUEUED or not _too_old(row, now, settings):
        return row
    reason = f"not begun within {settings.max_age:g} s"
    return replace(row, state=State.DEAD, reason=reason, lease_until_at=None, closed_at=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutoffs:
    """What may go: finished rows and dead letters closed before these times, open rows accepted before that one."""

    finished_at: datetime
    dead_at: datetime
    accepted_at: datetime


def cutoffs(now: datetime, settings: InboxSettings) -> Cutoffs:
    """How long rows are kept. A dead letter too must be recognised when the platform sends it again."""
    return Cutoffs(
        finished_at=now - timedelta(seconds=settings.retention),
        dead_at=now - timedelta(seconds=max(settings.dead_retention, settings.retention)),
        accepted_at=now - timedelta(seconds=settings.max_age),
    )
