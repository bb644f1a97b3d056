"""What do people do, and what breaks meanwhile, when everything comes at once?

Who does what, and what goes wrong, follows from a seed; what it meets depends on the machine. Each of the tasks
here has a chance of its own, so that one that waits for longer does not change what the others do.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from tests.process.chaos_plan import (
    CHANGES,
    GROUPS,
    MODELS,
    PEOPLE,
    PLATFORM,
    SPEECH,
    SPOILS,
    STRIKES,
    Line,
    Way,
    every,
    question,
)
from tests.process.conftest import half_open

from mainstay.sandbox.client import SandboxError
from mainstay.sandbox.model import SaidMessage
from mainstay.testing.project import Project

__all__ = ["Chaos"]


@dataclass(slots=True)
class Chaos:
    """One afternoon; `live` through it, then read what was said.

    Attributes:
        lines: by message_id, in the order of saying.
        happened: how often each thing was done, by name.
        asked: how often each model had been asked when the platform knew that a message's recall was taken, by the
            message's id.
    """

    made: Project
    seed: int
    way: Way
    lines: dict[str, Line] = field(default_factory=dict)
    happened: dict[str, int] = field(default_factory=dict)
    asked: dict[str, dict[str, int]] = field(default_factory=dict)
    _speech: Iterator[str] = field(init=False)
    _changes: Iterator[str] = field(init=False)
    _strikes: Iterator[str] = field(init=False)
    _over: asyncio.Event = field(default_factory=asyncio.Event)
    _recalls: set[str] = field(default_factory=set)

    async def live(self, seconds: float) -> None:
        """So long; afterwards no fault is left, and answers may still be on their way."""
        self._speech = every(random.Random(f"{self.seed} speech"), SPEECH)
        self._changes = every(random.Random(f"{self.seed} change"), CHANGES)
        self._strikes = every(random.Random(f"{self.seed} strike"), STRIKES[self.way])
        async with asyncio.TaskGroup() as tasks:
            for name, pause_s, act in (
                ("people", 0.12, self._somebody_speaks),
                ("changes", 0.35, self._something_changes),
                ("platform", 0.5, self._the_platform_refuses),
                ("models", 0.9, self._a_model_fails),
                ("strikes", 3.0, self._strike),
            ):
                tasks.create_task(self._again_and_again(random.Random(f"{self.seed} {name}"), pause_s, act))
            tasks.create_task(self._watch_recalls())
            await asyncio.sleep(seconds)
            self._over.set()
        await self.made.sandbox.clear()

    async def repeat(self) -> None:
        """Once more some of the messages, long after: nothing comes of it."""
        for message_id in list(self.lines)[:: max(1, len(self.lines) // 8)]:
            with suppress(SandboxError):
                await self.made.sandbox.deliver_again(message_id, new_event_id=True)

    async def _again_and_again(
        self, chance: random.Random, pause_s: float, act: Callable[[random.Random], Awaitable[str]]
    ) -> None:
        while not self._over.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(chance.uniform(0.2 * pause_s, 1.8 * pause_s)):
                    await self._over.wait()
            with suppress(SandboxError):  # what it is about is not there any more
                what = await act(chance)
                self.happened[what] = self.happened.get(what, 0) + 1

    # what people say

    async def _somebody_speaks(self, chance: random.Random) -> str:
        who, what = chance.choice(PEOPLE), next(self._speech)
        match what:
            case "private":
                await self._say(chance, who)
            case "group" | "topic":
                await self._say(chance, who, chat=chance.choice(GROUPS), chat_type="group", topic=what == "topic")
            case "thread":
                return await self._in_a_thread(chance, who)
            case "quote":
                before = self._latest(chance, lambda line: line.sender == who and line.lane.endswith("main"))
                await self._say(chance, who, thread=before.message_id if before else "")
            case "flood":
                chat = {} if chance.random() < 0.7 else {"chat": chance.choice(GROUPS), "chat_type": "group"}
                thread = self._latest(chance, lambda line: line.chat in GROUPS) if chat else None
                if thread:
                    chat = {"thread": thread.lane}
                for _ in range(chance.randint(8, 14)):
                    await self._say(chance, who, **chat)
            case "overheard":
                await self._say(
                    chance, who, chat=chance.choice(GROUPS), chat_type="group", mention=False, asks=False
                )
            case _:
                return await self._stop(chance)
        return what

    async def _in_a_thread(self, chance: random.Random, who: str) -> str:
        """To the bot, or to nobody in particular, which is for the bot where it has answered the first message."""
        root = self._latest(chance, lambda line: line.chat in GROUPS and line.asks is True)
        if root is None:
            return "no thread"
        mention = chance.random() < 0.6
        await self._say(chance, who, thread=root.lane, mention=mention, asks=True if mention else None)
        return "thread" if mention else "following"

    async def _stop(self, chance: random.Random) -> str:
        line = self._latest(chance, lambda line: bool(line.name) and line.asks is True)
        if line is None:
            return "nothing to stop"
        word = chance.choice(("stop", "停", "Cancel!"))
        if line.chat in GROUPS and chance.random() < 0.5:
            await self._say(chance, line.sender, chat=line.chat, chat_type="group", word=word)
        elif line.chat in GROUPS:
            await self._say(chance, line.sender, thread=line.lane, word=word)
        else:
            await self._say(chance, line.sender, word=word)
        return "stop"

    async def _say(
        self,
        chance: random.Random,
        who: str,
        *,
        word: str = "",
        asks: bool | None = True,
        **where: Any,  # noqa: ANN401  see `SandboxClient.say`
    ) -> None:
        name = "" if word else f"q{len(self.lines):04}"
        text = word or question(chance, name)
        said = await self.made.sandbox.say(text, sender=who, **where)
        line = Line(
            message_id=said.message_id,
            name=name,
            text=text,
            chat=said.chat_id,
            lane=self._lane(said, where.get("thread", "")),
            sender=who,
            asks=asks,
        )
        self.lines[said.message_id] = line

    def _lane(self, said: SaidMessage, thread: str) -> str:
        if said.chat_type == "p2p":
            return f"{said.chat_id} main"
        return self.lines[thread].lane if thread in self.lines else said.message_id

    def _latest(self, chance: random.Random, wanted: Callable[[Line], bool]) -> Line | None:
        """One of the last that are so."""
        found = [line for line in list(self.lines.values())[-40:] if wanted(line)]
        return chance.choice(found[-6:]) if found else None

    # what becomes of what they have said

    async def _something_changes(self, chance: random.Random) -> str:
        line = self._latest(chance, lambda line: bool(line.name))
        if line is None:
            return "nothing"
        sandbox, what = (
            self.made.sandbox,
            chance.choices(
                ("edit", "recall", "again", "as new", "press", "late", "tokens"), (16, 14, 10, 10, 40, 6, 4)
            )[0],
        )
        match what:
            case "edit":
                await self._edit(chance, line)
            case "recall":
                await sandbox.recall(line.message_id)
                self._recalls.add(line.message_id)
            case "again" | "as new":
                await sandbox.deliver_again(line.message_id, new_event_id=what == "as new")
            case "press":
                return await self._press(chance)
            case "late":
                await sandbox.hold_events()
                await asyncio.sleep(chance.uniform(0.2, 0.8))
                await sandbox.release_events(chance.choice(("reversed", "shuffled")))
            case _:
                await sandbox.expire_tokens()
        return what

    async def _edit(self, chance: random.Random, line: Line) -> None:
        overheard = self._latest(chance, lambda line: line.asks is False)
        if overheard is not None and chance.random() < 0.5:
            await self.made.sandbox.edit(overheard.message_id, question(chance, overheard.name), mentions=["bot"])
            self.lines[overheard.message_id] = replace(overheard, asks=True, by_edit=True)
        elif line.asks is True:
            await self.made.sandbox.edit(line.message_id, question(chance, line.name))

    async def _press(self, chance: random.Random) -> str:
        record = await self.made.sandbox.record()
        found = [
            (self.lines[each.message_id], reply, label)
            for each in record.messages[-60:]
            if each.message_id in self.lines
            for reply in each.replies
            for label in reply.actions
        ]
        if not found:
            return "no button"
        rare = [each for each in found if each[2] in ("Stop", "停止", "Try again", "重试")]
        line, reply, label = chance.choice(rare if rare and chance.random() < 0.7 else found)
        user = line.sender if chance.random() < 0.8 else chance.choice(PEOPLE)
        await self.made.sandbox.press(reply.message_id, label, user=user)
        return f"press {label if len(label) < 10 else 'suggestion'}"

    async def _watch_recalls(self) -> None:
        """Note when the platform has heard that a recall was taken: from then on nobody is to be asked about it."""
        while not self._over.is_set() or self._recalls:
            if self._recalls:
                known = {
                    each.message_id.removeprefix("recall:")
                    for each in await self.made.sandbox.deliveries()
                    if each.message_id.startswith("recall:") and each.state != "pending"
                }
                models = await self.made.sandbox.models(last=1)
                for message_id in known & self._recalls:
                    self.asked[message_id] = {name: model["total"] for name, model in models.items()}
                self._recalls -= known
                if self._over.is_set():
                    return
            await asyncio.sleep(0.2)

    # what goes wrong

    async def _the_platform_refuses(self, chance: random.Random) -> str:
        if self.way == "subscription" and chance.random() < 0.25:
            await self.made.sandbox.spoil_events(chance.choice(SPOILS))
            return "spoilt event"
        if self.way == "subscription" and chance.random() < 0.1:
            await self.made.sandbox.refuse_handshakes()
            return "refused handshake"
        call, details = chance.choice(PLATFORM)
        await self.made.sandbox.platform_fault(call, **details)
        return "platform fault"

    async def _a_model_fails(self, chance: random.Random) -> str:
        name, details = chance.choice(MODELS)
        how = {"times": chance.randint(1, 3)} if chance.random() < 0.6 else {"for_s": chance.uniform(0.3, 1.5)}
        await self.made.sandbox.fault(name, model=chance.choice(("a", "a", "b", "")), **how, **details)
        return "model fault"

    async def _strike(self, _: random.Random) -> str:
        what = next(self._strikes)
        match what:
            case "killed":
                await self.made.kill()
                await self.made.start()
            case "stopped and started":
                assert await self.made.end() == 0
                await self.made.start()
            case "goodbye":
                await self.made.sandbox.kick(1001)
            case "no goodbye":
                await self.made.sandbox.kick(1006)
            case _:
                await half_open(self.made)
        return what
