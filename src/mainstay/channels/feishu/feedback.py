"""What do people think of the answers?"""

from sqlalchemy import Connection, insert, select, update

from mainstay.channels.feishu.press import Vote
from mainstay.channels.feishu.tables import feedback
from mainstay.clock import Clock
from mainstay.storage.sqlite import Storage

__all__ = ["Feedback"]


class Feedback:
    """One opinion of each person about each answer of a channel; every method raises StorageUnavailable."""

    def __init__(self, storage: Storage, channel: str, *, clock: Clock) -> None:
        self._storage = storage
        self._channel = channel
        self._clock = clock

    async def give(self, turn_id: str, person: str, vote: Vote) -> str:
        """Note an opinion in the place of the person's earlier one; returns that, or an empty text."""
        now = self._clock.now()
        theirs = feedback.c.turn_id == turn_id, feedback.c.person == person

        def work(tx: Connection) -> str:
            before = tx.execute(select(feedback.c.vote).where(*theirs)).scalar_one_or_none()
            if before is None:
                values = {"turn_id": turn_id, "person": person, "channel": self._channel}
                tx.execute(insert(feedback).values(**values, vote=vote, at=now))
            elif before != vote:
                tx.execute(update(feedback).where(*theirs).values(vote=vote, at=now))
            return before or ""

        return await self._storage.write(work)
