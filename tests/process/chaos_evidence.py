"""What is to be seen after an afternoon of chaos, and is it as it was promised?

By the sandbox's own record; from the service comes only the order in which it took messages in.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tests.process.chaos import Chaos
from tests.process.chaos_plan import Line
from tests.process.conftest import inbox, turn_of

from mainstay.sandbox.model import Delivery, Reply, Snapshot, Verdict
from mainstay.testing.project import Project

_NAME = re.compile(r"\bq\d{4}\b", re.ASCII)
_EARLIER = re.compile(r"(?:Before that you wrote: |在那之前你写的是：)“(q\d{4})")
_ANSWER = "\n\nAnswer:\n"  # of which suggestions are asked for: it may quote what was said before it
_EVERY_CALL = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the platform and the models' provider have recorded.

    Attributes:
        lines: what was said, by message_id.
        accepted: the message_ids in the order in which the service took them in.
        asked: what the models were asked for, by model, oldest first.
        before: of messages that were taken back: how often each model had been asked by then.
        happened: what was done, and how often.
    """

    lines: dict[str, Line]
    accepted: list[str]
    verdicts: list[Verdict]
    shown: dict[str, Snapshot]
    unprompted: list[Reply]
    deliveries: list[Delivery]
    asked: dict[str, list[dict[str, Any]]]
    before: dict[str, dict[str, int]]
    happened: dict[str, int]


async def gathered(made: Project, chaos: Chaos) -> Evidence:
    """All of it."""
    turns = {turn_of(made, message_id): message_id for message_id in chaos.lines}
    record = await made.sandbox.record()
    models = await made.sandbox.models(last=_EVERY_CALL)
    return Evidence(
        lines=dict(chaos.lines),
        accepted=[turns[turn_id] for turn_id in inbox(made) if turn_id in turns],
        verdicts=await made.sandbox.outcomes(),
        shown={each.message_id: each for each in record.messages},
        unprompted=list(record.unprompted),
        deliveries=await made.sandbox.deliveries(),
        asked={name: model["calls"] for name, model in models.items()},
        before=dict(chaos.asked),
        happened=dict(chaos.happened),
    )


def judge(seen: Evidence) -> None:
    """Everything that was promised."""
    _no(_not_once(seen))
    _no(_still_promising(seen))
    _no(_never_taken(seen))
    _no(_out_of_order(seen))
    _no(_of_another_conversation(seen))
    _no(_asked_although_taken_back(seen))


def _not_once(seen: Evidence) -> Iterator[object]:
    """Nobody is left in silence, and nobody is told twice; what was not for the bot it leaves alone."""
    taken = {line.message_id for line in seen.lines.values() if _is_acknowledged(seen, line)} | set(seen.accepted)
    for verdict in seen.verdicts:
        outcomes = (1,)
        if verdict.kind == "message":
            line = seen.lines[verdict.message_id]
            outcomes = {True: (1,), False: (0,), None: (0, 1)}[line.asks]
            if line.asks and line.message_id not in taken:
                outcomes = (0, 1)
        if verdict.recalled:
            outcomes = (0, *outcomes)
        if verdict.unfinished or verdict.outcomes not in outcomes:
            yield verdict
    yield from set(seen.lines) ^ {each.message_id for each in seen.verdicts if each.kind == "message"}


def _still_promising(seen: Evidence) -> Iterator[object]:
    """Nothing looks as if there was more to come."""
    for reply in (*(reply for each in seen.shown.values() for reply in each.replies), *seen.unprompted):
        if reply.streaming or not reply.final or reply.status or "Thinking" in reply.text:
            yield reply
        if {"Stop", "停止"} & set(reply.actions):
            yield reply


def _never_taken(seen: Evidence) -> Iterator[object]:
    """What has to be answered, and was acknowledged, was taken in; and nobody is left without a try."""
    yield from (each for each in seen.deliveries if each.state == "pending" or not each.attempts)
    asked = (line for line in seen.lines.values() if line.asks and line.message_id not in seen.accepted)
    yield from (line for line in asked if _is_acknowledged(seen, line))


def _is_acknowledged(seen: Evidence, line: Line) -> bool:
    """Whether the platform was told that the bot has what makes this a question."""
    event = f"edit:{line.message_id}" if line.by_edit else line.message_id
    return any(
        attempt.answer == "200" for each in seen.deliveries if each.message_id == event for attempt in each.attempts
    )


def _out_of_order(seen: Evidence) -> Iterator[object]:
    """Within a conversation outcomes appear in the order in which the messages were taken in."""
    lanes = defaultdict[str, list[tuple[float, Line]]](list)
    for message_id in seen.accepted:
        snapshot, line = seen.shown[message_id], seen.lines[message_id]
        if snapshot.replies and snapshot.replies[0].history:
            shown_at_s = snapshot.said_at_s + snapshot.replies[0].history[-1].at_s
            lanes[line.lane].append((shown_at_s, line))
    for lane in lanes.values():
        yield from ((before, after) for before, after in pairwise(lane) if after[0] < before[0])


def _of_another_conversation(seen: Evidence) -> Iterator[object]:
    """What is shown is about what was said in this conversation, and not about what was taken back before."""
    lines = {line.name: line for line in seen.lines.values() if line.name}
    for message_id, snapshot in seen.shown.items():
        lane = seen.lines[message_id].lane
        for text in {shown.text for reply in snapshot.replies for shown in reply.history}:
            yield from ((snapshot, name) for name in _NAME.findall(text) if lines[name].lane != lane)
            for name in _EARLIER.findall(text):
                earlier = seen.shown[lines[name].message_id]
                if earlier.replies and not any(name in reply.text for reply in earlier.replies):
                    yield snapshot, name
    yield from (reply for reply in seen.unprompted if _NAME.search(reply.text))


def _asked_although_taken_back(seen: Evidence) -> Iterator[object]:
    """No model is asked about it any more, once the platform was told that it is known."""
    for message_id, before in seen.before.items():
        name = seen.lines[message_id].name
        for model, calls in seen.asked.items():
            for call in calls:
                question = call["said"].partition(_ANSWER)[0]
                if call["number"] > before.get(model, 0) and _NAME.findall(question)[:2] == [name]:
                    yield name, call


def _no(wrong: Iterable[object]) -> None:
    """There must be none; what stands there if there are must be enough to go by."""
    found = list(wrong)
    assert not found, f"{len(found)}: " + "; ".join(map(str, found[:3]))
