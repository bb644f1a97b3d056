"""How does one attempt at one message go?

Hand it to the `Responder`, feed the `Replier`, and store the outcome in *one* transaction (memory, outbox, inbox
row). A crash leaves either a message that will be answered again or an outcome that will be shown; never both,
never neither. What an ending means is decided in `mainstay.turns.machine`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from mainstay.bus import Bus
from mainstay.clock import Clock
from mainstay.errors import Category, LeaseLost, StorageUnavailable
from mainstay.events import ErrorSeen, TurnCutOff, TurnFinished, TurnStarted
from mainstay.inbox.model import Claim
from mainstay.inbox.sqlite import Inbox
from mainstay.memory.sqlite import Memory
from mainstay.messages import Exchange, Finished, Message, Outcome, Replier, Responder, Turn
from mainstay.recovery import notices
from mainstay.recovery.classify import classify
from mainstay.recovery.model import worth_another_try
from mainstay.storage.sqlite import Storage
from mainstay.turns.machine import Transcript, consider, describe, without
from mainstay.turns.model import CutOff, GiveUp, TurnSettings
from mainstay.turns.recalls import recalled_of, stopped_of
from mainstay.turns.steps import StoredSteps, settle_steps

__all__ = ["Attempt", "Rooms"]

_log = logging.getLogger(__name__)

_BACKSTOP_S = 1.0  # a responder ends its own work at the deadline; one that does not is ended this much later


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """What an attempt works with.

    Attributes:
        turn_timeout_s: how long a person waits for one answer, all models and tools together.
        lease_s: the inbox's lease.
    """

    storage: Storage
    inbox: Inbox
    memory: Memory
    bus: Bus
    clock: Clock
    settings: TurnSettings
    turn_timeout_s: float
    lease_s: float

    def saw(self, error: BaseException, where: str, turn_id: str = "", *, logged: bool = False) -> None:
        """Tell everybody about an error that is no failed call to a model; ``logged``: its line is written."""
        failure = classify(error)
        category, message = failure.category, failure.message
        self.bus.emit(ErrorSeen(category=category, message=message, where=where, turn_id=turn_id, logged=logged))


class Attempt:
    """One claim, from `TurnStarted` to `TurnFinished` or `TurnCutOff`.

    Args:
        claim: the right to answer.
        replier: shows the answer.
        rooms: what it works with.
        read: adds to the message what it refers to; None where there is nothing to be looked up.
        stopped: what else was said, and stopped, of which the outcome has to say so; see `Left`.
    """

    def __init__(
        self,
        claim: Claim,
        replier: Replier,
        rooms: Rooms,
        read: Callable[[Message], Awaitable[Message]] | None = None,
        stopped: Sequence[str] = (),
    ) -> None:
        self.claim = claim
        self._message = claim.message
        self._replier = replier
        self._rooms = rooms
        self._read = read
        self._were_stopped = stopped
        self._transcript = Transcript()
        self._language = notices.language_of(claim.message.text)
        self._answering: asyncio.Task[Finished | None] | None = None
        self._answered = False
        self._cut_off: CutOff | None = None
        self._hurry = asyncio.Event()

    def cut_off(self, why: CutOff) -> bool:
        """End the answer, down to the provider's socket; False when there is an outcome already.

        When the service stops, an outcome that can not be stored is not tried again either: the next one answers.
        """
        if why == "drain":
            self._hurry.set()
        if self._answered or self._cut_off is not None:
            return False
        self._cut_off = why
        if self._answering is not None:
            self._answering.cancel()
        return True

    async def run(self, responder: Responder) -> None:
        """Answer, and store how it ended."""
        claim, started = self.claim, self._rooms.clock.monotonic()
        self._rooms.bus.emit(
            TurnStarted(
                turn_id=claim.turn_id, lane=claim.message.lane, attempt=claim.attempt, waited_s=claim.waited_s
            )
        )
        final = await self._outcome(responder)
        stored = final and await self._stored(final, started)
        if stored:
            seconds = self._rooms.clock.monotonic() - started
            agent = "" if self._message.notice else responder.name
            self._rooms.bus.emit(self._finished(stored, agent, seconds))
            await self._replier.deliver()
        else:
            await self._give_back()

    async def _outcome(self, responder: Responder) -> Finished | None:
        """What this attempt came to; None when another attempt is to follow."""
        if self._message.notice:
            self._answered = True
            return Finished(outcome=Outcome.ANSWERED, text=self._message.notice)
        decision = consider(self.claim, self._rooms.settings)
        if isinstance(decision, GiveUp):
            self._answered = True
            return self._given_up(decision)
        # a task of its own, so that `cut_off` ends the answer and not what follows it
        async with asyncio.TaskGroup() as tasks:
            self._answering = answering = tasks.create_task(self._guarded(responder))
            if self._cut_off is not None:  # before it began
                answering.cancel()
        self._answered = True
        if not answering.cancelled():
            return answering.result()
        return self._transcript.recalled() if self._cut_off == "recalled" else None

    async def _guarded(self, responder: Responder) -> Finished | None:
        """The room's border: whatever a responder raises has an outcome."""
        turn_id = self.claim.turn_id
        try:
            await self._answer(responder)
        except TimeoutError as error:
            self._rooms.saw(error, f"responder {responder.name}", turn_id)
            return self._failed(Category.TIMEOUT)
        except (LeaseLost, StorageUnavailable) as error:
            self._rooms.saw(error, "turns.answer", turn_id)
            self._cut_off = "lease_lost" if isinstance(error, LeaseLost) else "storage"
            return None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return self._broken(f"the responder {responder.name} was cancelled, and not by the service")
        except Exception as error:  # noqa: BLE001
            _log.exception("the responder %s raised", responder.name)
            self._rooms.saw(error, f"responder {responder.name}", turn_id, logged=True)
            return self._failed(classify(error).category)
        if self._transcript.final is None:
            return self._broken(f"the responder {responder.name} ended without a Finished event")
        return self._transcript.final

    def _broken(self, how: str) -> Finished:
        turn_id, category = self.claim.turn_id, Category.INTERNAL
        self._rooms.bus.emit(ErrorSeen(category=category, message=how, where="turns", turn_id=turn_id))
        return self._failed(category)

    async def _answer(self, responder: Responder) -> None:
        rooms, claim = self._rooms, self.claim
        deadline = rooms.clock.monotonic() + rooms.turn_timeout_s
        if self._read is not None:
            self._message = await self._read(claim.message)
        turn = Turn(
            turn_id=claim.turn_id,
            attempt=claim.attempt,
            deadline=deadline,
            history=await rooms.memory.history(claim.message.lane),
            steps=await StoredSteps.load(rooms.storage, rooms.inbox, claim, rooms.clock),
            notebook=await rooms.memory.notebook(claim.message.person),
        )
        async with (
            asyncio.timeout(rooms.turn_timeout_s + _BACKSTOP_S),
            aclosing(responder.respond(self._message, turn)) as events,
        ):
            async for event in events:
                self._transcript.add(event)
                if isinstance(event, Finished):
                    return
                self._replier.show(event)

    async def _stored(self, final: Finished, started: float) -> Finished | None:
        """Store the outcome and return it; None when it is not ours to tell, or while nothing can be stored.

        One that itself can not be stored is a responder's bug, which it would have again: the person is told.
        """
        try:
            return await self._settled(final, started)
        except Exception as error:  # noqa: BLE001  a text that is no Unicode, a record that is no bytes
            _log.exception("the outcome can not be stored")
            self._rooms.saw(error, "turns.settle", self.claim.turn_id, logged=True)
        self._transcript = Transcript()
        return await self._settled(self._failed(Category.INTERNAL), started)

    async def _settled(self, final: Finished, started: float) -> Finished | None:
        rooms, claim = self._rooms, self.claim
        give_up_at = rooms.clock.monotonic() + rooms.lease_s
        in_doubt = False
        while True:
            seconds = rooms.clock.monotonic() - started
            try:
                return await rooms.storage.write(self._settling(final, seconds))
            except LeaseLost as error:
                if in_doubt and await self._was_stored():
                    return final
                self._cut_off = "lease_lost"
                rooms.saw(error, "turns.settle", claim.turn_id)
                return None
            except StorageUnavailable as error:
                rooms.saw(error, "turns.settle", claim.turn_id)
                if self._hurry.is_set() or rooms.clock.monotonic() > give_up_at:
                    self._cut_off = "storage"
                    return None
                in_doubt = True
                with suppress(TimeoutError):
                    async with asyncio.timeout(rooms.settings.poll_interval):
                        await self._hurry.wait()

    async def _was_stored(self) -> bool:
        """Whether a write that seemed to fail has stored the outcome after all: attempts are numbered once."""
        entry = await self._rooms.inbox.find(self.claim.turn_id)
        return entry is not None and entry.outcome is not None and entry.attempt == self.claim.attempt

    def _settling(self, final: Finished, seconds: float) -> Callable[[Connection], Finished]:
        """What was taken back in the meantime, whoever has heard of it, is not answered any more."""
        rooms, claim, message = self._rooms, self.claim, self._message

        def work(tx: Connection) -> Finished:
            left = without(message, recalled_of(tx, message))
            told = self._naming(final, left) if left else self._stopped(tx)
            rooms.inbox.finish(tx, claim, told.outcome, describe(told, seconds=seconds))
            if left and told.outcome is Outcome.ANSWERED and left.text:
                rooms.memory.append(
                    tx,
                    message.lane,
                    Exchange(
                        turn_id=claim.turn_id,
                        user_text=left.text,
                        answer_text=told.text,
                        at=rooms.clock.now(),
                        record=told.record if left is message else b"",  # it has what was taken back, too
                    ),
                )
            settle_steps(tx, message, keep_from=rooms.clock.now() if told.offers_retry else None)
            self._replier.post(tx, told)
            return told

        return work

    def _naming(self, final: Finished, left: Message) -> Finished:
        """The same outcome; where it is that of several messages, it says of which."""
        if final.outcome is Outcome.CANCELLED:
            return final
        others = [text for each, text in left.parts if each != self._message.parts[0][0]]
        return self._saying(final, notices.together(others, self._language) if others else "", self._were_stopped)

    def _stopped(self, tx: Connection) -> Finished:
        """Nothing is answered any more; of several messages that were stopped it says which."""
        stopped = stopped_of(tx, self._message)
        others = [text for each, text in self._message.parts[1:] if each in stopped]
        return self._saying(self._transcript.recalled(), "", [*self._were_stopped, *others])

    def _saying(self, final: Finished, others: str, stopped: Sequence[str]) -> Finished:
        lines = (others, notices.stopped_too(stopped, self._language) if stopped else "")
        notice = "\n\n".join(line for line in (final.notice, *lines) if line)
        return replace(final, notice=notice) if any(lines) else final

    async def _give_back(self) -> None:
        claim, why = self.claim, self._cut_off or "lease_lost"
        self._rooms.bus.emit(TurnCutOff(turn_id=claim.turn_id, attempt=claim.attempt, reason=why))
        await self._replier.pause(notices.resuming(self._language) if why == "drain" else "")
        if why == "drain":
            with suppress(LeaseLost, StorageUnavailable):  # else the lease runs out, to the same effect
                await self._rooms.inbox.release(claim, reason=why)

    def _given_up(self, why: GiveUp) -> Finished:
        """What killed its workers would do so again; what only came too late can still be answered."""
        match why.reason:
            case "crashes":
                notice = notices.gave_up(self._language)
                return self._transcript.failed(Category.INTERNAL, notice, retryable=False)
            case "age":
                notice = notices.too_late(self._language)
                return self._transcript.failed(Category.TIMEOUT, notice, retryable=True)

    def _failed(self, category: Category) -> Finished:
        notice = notices.failed(category, self._language)
        return self._transcript.failed(category, notice, retryable=worth_another_try(category))

    def _finished(self, final: Finished, agent: str, seconds: float) -> TurnFinished:
        return TurnFinished(
            turn_id=self.claim.turn_id,
            lane=self.claim.message.lane,
            agent=agent,
            answered_by=final.agent or agent,
            model=final.model,
            outcome=final.outcome,
            category=final.category,
            attempt=self.claim.attempt,
            latency_s=seconds,
            usage=final.usage,
        )
