"""Which tools has this turn run already?

A row is written before a tool starts and completed after it ends, each in a transaction of its own that also
proves the claim: a worker that has lost the message can neither start a tool nor report one.

The steps of a turn end with it, but for one that has failed and may be tried again: they wait, and become those of
the turn that tries it again. So a tool with effects that has run is not run once more, however often it is tried.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from mainstay.clock import Clock
from mainstay.inbox.model import Claim
from mainstay.inbox.sqlite import Inbox
from mainstay.messages import Message, Step
from mainstay.storage.sqlite import Storage
from mainstay.turns.tables import turn_steps

__all__ = ["StoredSteps", "prune_steps", "settle_steps"]

_OWN = turn_steps.c.turn_id == bindparam("this")
_STEPS = select(turn_steps).where(_OWN).order_by(turn_steps.c.position)
_DROP, _KEEP = delete(turn_steps).where(_OWN), update(turn_steps).where(_OWN)


class StoredSteps:
    """`mainstay.messages.Steps` for one claim; made by `load`."""

    def __init__(
        self, storage: Storage, inbox: Inbox, claim: Claim, recorded: Sequence[Step], clock: Clock
    ) -> None:
        self._storage = storage
        self._inbox = inbox
        self._claim = claim
        self._clock = clock
        self._position = len(recorded)
        self.recorded = recorded

    @classmethod
    async def load(cls, storage: Storage, inbox: Inbox, claim: Claim, clock: Clock) -> "StoredSteps":
        """Read what earlier attempts wrote. A first attempt has nothing to read, unless it tries a turn again."""

        def take_over(tx: Connection) -> Sequence[Step]:
            inbox.prove(tx, claim)
            _take_over(tx, claim.message)
            return _read(tx, claim.turn_id)

        recorded: Sequence[Step] = ()
        if claim.message.retry_of:
            recorded = await storage.write(take_over)
        elif claim.attempt > 1:
            recorded = await storage.read(lambda tx: _read(tx, claim.turn_id))
        return cls(storage, inbox, claim, recorded, clock)

    async def intend(self, step: Step) -> None:
        """See `mainstay.messages.Steps.intend`."""
        self._position += 1
        values = {
            "turn_id": self._claim.turn_id,
            "step_id": step.step_id,
            "position": self._position,
            "attempt": self._claim.attempt,
            "agent": step.agent,
            "tool": step.tool,
            "arguments": step.arguments,
            "effects": step.effects,
            "checkpoint": step.checkpoint,
            "state": "intended",
            "result": "",
            "intended_at": self._clock.now(),
        }

        def work(tx: Connection) -> None:
            self._inbox.prove(tx, self._claim)
            statement = insert(turn_steps).values(values)
            tx.execute(
                statement.on_conflict_do_update(
                    index_elements=["turn_id", "step_id"], set_={"state": "intended", "result": ""}
                )
            )

        await self._storage.write(work)

    async def record(self, step_id: str, result: str, *, ok: bool) -> None:
        """See `mainstay.messages.Steps.record`."""

        def work(tx: Connection) -> None:
            self._inbox.prove(tx, self._claim)
            tx.execute(
                update(turn_steps)
                .where(turn_steps.c.turn_id == self._claim.turn_id, turn_steps.c.step_id == step_id)
                .values(state="finished" if ok else "failed", result=result)
            )

        await self._storage.write(work)


def _read(tx: Connection, turn_id: str) -> tuple[Step, ...]:
    rows = tx.execute(_STEPS, {"this": turn_id})
    return tuple(
        Step(
            step_id=row.step_id,
            agent=row.agent,
            tool=row.tool,
            arguments=row.arguments,
            effects=row.effects,
            checkpoint=row.checkpoint,
            state=row.state,
            result=row.result,
        )
        for row in rows
    )


def _take_over(tx: Connection, message: Message) -> None:
    """Make the steps of the turn that is tried again those of this one. Only one ever does: the try is single."""
    theirs = update(turn_steps).where(turn_steps.c.turn_id == message.retry_of)
    tx.execute(theirs.values(turn_id=message.turn_id, kept_at=None))


def settle_steps(tx: Connection, message: Message, *, keep_from: datetime | None) -> None:
    """Drop the steps of a turn that has its outcome, or keep them for another try.

    Args:
        tx: the transaction that stores the outcome.
        message: what the turn was about.
        keep_from: now, when there may be another try; None when nobody will go on from them.
    """
    if message.retry_of:  # it may have come to its outcome without being begun
        _take_over(tx, message)
    if keep_from is None:
        tx.execute(_DROP, {"this": message.turn_id})
    else:
        tx.execute(_KEEP, {"this": message.turn_id, "kept_at": keep_from})


async def prune_steps(storage: Storage, before: datetime) -> int:
    """Drop what was kept for another try since before then; returns how many steps."""
    old = delete(turn_steps).where(turn_steps.c.kept_at < before)
    return await storage.write(lambda tx: tx.execute(old).rowcount)
