"""Which messages are being worked on now?

The loop between the inbox and the attempts: claim as many lanes as may run at once, keep their leases alive, and
drain when the service stops.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import replace

from mainstay.errors import LeaseLost, StorageUnavailable
from mainstay.events import DeadLettered
from mainstay.inbox.model import Claim
from mainstay.logs.context import turn as log_turn
from mainstay.messages import Message, Replier, Responder
from mainstay.turns.attempt import Attempt, Rooms
from mainstay.turns.machine import steps_kept_after
from mainstay.turns.recalls import Left, Recalls
from mainstay.turns.steps import prune_steps

__all__ = ["OpenReplier", "Read", "Turns"]

OpenReplier = Callable[[Message, str, int], Replier]
"""``(message, turn_id, attempt)`` to the channel's replier for that attempt."""

Read = Callable[[Message], Awaitable[Message]]
"""A message to the same one with what it refers to; it is asked when the answer begins, and never raises."""


class Turns:
    """Works on the inbox until it is drained."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._recalls = Recalls(rooms.storage, rooms.clock)
        self._repliers: dict[str, tuple[OpenReplier, Read | None]] = {}
        self._attempts: dict[str, Attempt] = {}
        self._draining = False
        self._claiming = False
        self._idle = asyncio.Event()
        self._idle.set()

    def answer_through(self, channel: str, replier: OpenReplier, read: Read | None = None) -> None:
        """Show the answers to a channel's messages, and read these, like this; before `run`."""
        self._repliers[channel] = replier, read

    @property
    def running(self) -> int:
        """How many messages are being worked on."""
        return len(self._attempts)

    async def run(self, responder: Responder, *, failed: Callable[[Exception], None]) -> None:
        """Claim and answer, until `drain` has ended.

        Args:
            responder: who answers.
            failed: told, at once, what keeps this from going on; answers under way may finish all the same.
        """
        async with asyncio.TaskGroup() as tasks:
            renewing = tasks.create_task(self._attempted(self._renew(), failed))
            await self._attempted(self._claim_all(responder, tasks), failed)
            await self._idle.wait()
            renewing.cancel()

    async def _attempted(self, loop: Coroutine[None, None, None], failed: Callable[[Exception], None]) -> None:
        try:
            await loop
        except Exception as error:  # noqa: BLE001  the room's border: not at the cost of the answers under way
            failed(error)

    async def _claim_all(self, responder: Responder, tasks: asyncio.TaskGroup) -> None:
        while not self._draining:
            self._rooms.inbox.changed.clear()
            self._claiming = True
            self._idle.clear()
            try:
                wait_s = await self._claim(responder, tasks)
            finally:
                self._claiming = False
                self._rest()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._rooms.inbox.changed.wait()

    async def drain(self, timeout_s: float) -> None:
        """Claim nothing more, give running attempts ``timeout_s`` seconds, then cut off what is left.

        What is cut off goes back to the inbox, and its card says that the answer will go on.
        """
        self._draining = True
        self._rooms.inbox.changed.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        self.cut_off()
        await self._idle.wait()

    def cut_off(self) -> None:
        """End every answer that is not there yet; each goes on where the inbox is worked on next."""
        for attempt in list(self._attempts.values()):
            attempt.cut_off("drain")

    async def recall(self, turn_id: str) -> None:
        """End an answer because its message was taken back; one that waits is not answered when its turn comes.

        Nor is another try at it: what was taken back enters no model and no memory, in this process or another,
        from when this has returned. Of messages that are answered together the answer goes on while one is left.

        Raises:
            StorageUnavailable: it is not remembered; the platform is to tell it again.
        """
        await self._recalls.add(turn_id)
        await self._end_recalled()

    async def stop(self, messages: Iterable[Message]) -> None:
        """End the answers to these because who asked wants no more of them, as if they were taken back.

        Of messages that are answered together all are stopped, and the person is told which. Raises
        StorageUnavailable: then none is.
        """
        await self._recalls.stop(messages)
        await self._end_recalled()

    async def _end_recalled(self) -> None:
        running = [attempt.claim.message for attempt in self._attempts.values()]
        for gone in await self._recalls.gone(running) if running else ():
            if gone in self._attempts:
                self._attempts[gone].cut_off("recalled")

    async def prune(self) -> int:
        """Forget what was kept for another try that can not come any more, and what was taken back.

        Raises StorageUnavailable.
        """
        rooms = self._rooms
        before = steps_kept_after(rooms.clock.now(), rooms.settings)
        return await prune_steps(rooms.storage, before) + await self._recalls.prune(before)

    async def _claim(self, responder: Responder, tasks: asyncio.TaskGroup) -> float:
        """Start one answer if one can be started; returns after how many seconds to look again."""
        inbox, settings = self._rooms.inbox, self._rooms.settings
        if len(self._attempts) >= settings.concurrency:
            return settings.poll_interval  # the end of an attempt announces itself
        try:
            claims = await inbox.claim(1, but=self._attempts)
            due_s = None if claims else await inbox.next_due(but=self._attempts)
        except StorageUnavailable as error:
            self._rooms.saw(error, "turns.claim")
            return settings.poll_interval
        if claims:
            await self._start(claims[0], responder, tasks)
            await asyncio.sleep(settings.start_interval)
            return 0.0
        return settings.poll_interval if due_s is None else min(due_s, settings.poll_interval)

    async def _start(self, claim: Claim, responder: Responder, tasks: asyncio.TaskGroup) -> None:
        if self._draining:  # since it was asked for
            await self._release(claim)
            return
        if claim.message.channel not in self._repliers:
            await self._bury(claim)
            return
        try:
            left = await self._recalls.left_of(claim.message)
        except StorageUnavailable as error:  # it is asked once more when the outcome is stored
            self._rooms.saw(error, "turns.recalls", claim.turn_id)
            left = Left(message=claim.message)
        claim = replace(claim, message=left.message)
        opened, read = self._repliers[claim.message.channel]
        attempt = Attempt(
            claim, opened(claim.message, claim.turn_id, claim.attempt), self._rooms, read, left.stopped
        )
        self._attempts[claim.turn_id] = attempt
        if left.is_over:
            attempt.cut_off("recalled")
        tasks.create_task(self._work(attempt, responder), name=f"turn {claim.turn_id}")

    async def _work(self, attempt: Attempt, responder: Responder) -> None:
        turn_id = attempt.claim.turn_id
        try:
            with log_turn(turn_id):
                await attempt.run(responder)
        except Exception as error:  # noqa: BLE001  the room's border: the lease runs out, and it is tried again
            self._rooms.saw(error, "turns.attempt", turn_id)
        finally:
            del self._attempts[turn_id]
            self._rest()
            self._rooms.inbox.changed.set()

    def _rest(self) -> None:
        if not self._attempts and not self._claiming:
            self._idle.set()

    async def _release(self, claim: Claim) -> None:
        with suppress(LeaseLost, StorageUnavailable):  # else the lease runs out, to the same effect
            await self._rooms.inbox.release(claim, reason="drain")

    async def _bury(self, claim: Claim) -> None:
        reason = f"there is no channel named {claim.message.channel} any more"
        with suppress(LeaseLost, StorageUnavailable):
            await self._rooms.inbox.bury(claim, reason)
            for turn_id in claim.message.turn_ids:
                self._rooms.bus.emit(DeadLettered(turn_id=turn_id, reason=reason))

    async def _renew(self) -> None:
        """Three times within a lease; an attempt ends that has lost its claim, or whose message was taken back."""
        while True:
            await asyncio.sleep(self._rooms.lease_s / 3)
            claims = [attempt.claim for attempt in self._attempts.values()]
            if not claims:
                continue
            try:
                held = await self._rooms.inbox.renew(claims)
                await self._end_recalled()
            except StorageUnavailable as error:
                self._rooms.saw(error, "turns.renew")
                continue
            for claim in claims:
                attempt = self._attempts.get(claim.turn_id)
                if attempt is not None and attempt.claim is claim and claim.turn_id not in held:
                    attempt.cut_off("lease_lost")
