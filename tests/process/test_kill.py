"""Invariant 1, judged by the sandbox's own record: one visible outcome a message, whatever is killed when."""

import asyncio
import random
import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import pytest
from tests.process.conftest import half_open

from mainstay.messages import turn_id_of
from mainstay.sandbox.model import SandboxSettings, Verdict
from mainstay.testing.project import Project, project

pytestmark = pytest.mark.anyio

CHATS = 25
SETTLED_WITHIN_S = 60
CONFIGURATION = """
[inbox]
lease = "2s"
merge_after = 0

[channels.feishu]
ping_interval = "1s"
pong_timeout = "500ms"
"""
STRIKES = ["worker", "worker", "goodbye", "no goodbye", "half-open"]
TOGETHER = """
[inbox]
lease = "2s"
"""
SANDBOX = SandboxSettings(time_scale=0.03, tokens_per_second=400)

STEPS = [
    "message.accepted",
    "turn.started",
    "card.created",
    "card.sent",
    "card.updated",
    "turn.finished",
    "outcome.delivered",
]


async def settled(made: Project, count: int) -> list[Verdict]:
    """The judgement, once every message has an outcome and nothing is left open, or nothing has moved for long."""
    done = 0
    async with asyncio.timeout(SETTLED_WITHIN_S) as patience:
        while True:
            verdicts = await made.sandbox.outcomes()
            before, done = done, sum(verdict.state == "final" for verdict in verdicts)
            if done != before:
                patience.reschedule(asyncio.get_running_loop().time() + SETTLED_WITHIN_S)
            if len(verdicts) == count and all(verdict.state == "final" for verdict in verdicts):
                return verdicts
            if all(verdict.state != "unfinished" for verdict in verdicts):
                await hasten_redelivery(made)
            await asyncio.sleep(0.1)


async def hasten_redelivery(made: Project) -> None:
    """Let the platform try again now what it could not deliver while the service was dead."""
    if any(delivery.state == "pending" for delivery in await made.sandbox.deliveries()):
        await made.sandbox.advance(300)


async def assert_one_outcome_each(made: Project, count: int) -> None:
    try:
        verdicts = await settled(made, count)
    except TimeoutError:
        verdicts = await made.sandbox.outcomes()
    wrong = [verdict for verdict in verdicts if (verdict.outcomes, verdict.unfinished) != (1, 0)]
    assert not wrong, f"{len(wrong)} of {len(verdicts)} messages, first {wrong[:3]}\n{made.log()[-3000:]}"
    assert len(verdicts) == count


async def assert_lanes_in_order(made: Project, said_at_s: dict[str, float], lanes: dict[str, str]) -> None:
    """Within a conversation the outcomes appeared in the order in which the messages were accepted.

    Not in which they were said: what the platform delivers again, because the service was dead, comes later.
    """
    with closing(sqlite3.connect(made.directory / ".mainstay" / "mainstay.db")) as database:
        accepted = [row[0] for row in database.execute("select turn_id from inbox order by seq")]
    app_id = made.sandbox.address.app_id
    position = {
        message_id: accepted.index(turn_id_of("feishu", app_id, "message", message_id)) for message_id in lanes
    }
    ended: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for snapshot in (await made.sandbox.record()).messages:
        [reply] = snapshot.replies
        at_s = said_at_s[snapshot.message_id] + reply.history[-1].at_s
        ended[lanes[snapshot.message_id]].append((position[snapshot.message_id], at_s))
    for chat, outcomes in ended.items():
        times = [at_s for _, at_s in sorted(outcomes)]
        assert times == sorted(times), f"{chat}: {times}"


@pytest.mark.parametrize(
    ("step", "way"), [("message.accepted", "webhook"), *((step, "subscription") for step in STEPS)]
)
async def test_a_kill_after_each_step_leaves_one_outcome(step: str, way: str, tmp_path: Path) -> None:
    """From the second step on it is the same whichever way the message came."""
    async with project(tmp_path, f'{CONFIGURATION}mode = "{way}"\n', sandbox=SANDBOX) as made:
        await made.start("-m", "mainstay.testing.dying", step)
        await made.sandbox.say("hello")
        await made.sandbox.say("and again")
        assert await made.ended() == -9
        await made.start()
        await assert_one_outcome_each(made, 2)
        await made.end()


async def test_the_card_of_a_killed_turn_of_which_nothing_can_be_read_says_that_no_answer_comes(
    tmp_path: Path,
) -> None:
    async with project(tmp_path, CONFIGURATION, sandbox=SANDBOX) as made:
        await made.start("-m", "mainstay.testing.dying", "card.updated")
        await made.sandbox.say("hello")
        assert await made.ended() == -9
        with closing(sqlite3.connect(made.directory / ".mainstay" / "mainstay.db")) as database, database:
            assert database.execute("update inbox set message = '{'").rowcount == 1
        await made.start()
        await assert_one_outcome_each(made, 1)
        [snapshot] = (await made.sandbox.record()).messages
        assert "Please ask again." in snapshot.text
        await assert_nothing_says_that_it_thinks(made)
        await made.end()


async def strike(made: Project, at: str) -> None:
    """The worker is killed, or what it hears by."""
    match at:
        case "worker":
            await made.kill()
            await made.start()
        case "goodbye":
            await made.sandbox.kick(1001)
        case "no goodbye":
            await made.sandbox.kick(1006)
        case "half-open":
            await half_open(made)


async def assert_nothing_says_that_it_thinks(made: Project) -> None:
    for snapshot in (await made.sandbox.record()).messages:
        for reply in snapshot.replies:
            assert not reply.streaming
            assert "Thinking" not in reply.text + reply.status


async def round_of_kills(made: Project, seed: int, messages: int) -> None:
    chance = random.Random(seed)
    said_at_s: dict[str, float] = {}
    lanes: dict[str, str] = {}
    loop = asyncio.get_running_loop()
    all_said = asyncio.Event()

    async def talk() -> None:
        for number in range(messages):
            chat = f"oc_{number % CHATS:032x}"
            said = await made.sandbox.say(f"question {number}", chat=chat)
            said_at_s[said.message_id], lanes[said.message_id] = loop.time(), chat
            await asyncio.sleep(chance.uniform(0.0, 0.08))
        all_said.set()

    await made.start()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(talk())
        while not all_said.is_set():
            await asyncio.sleep(chance.uniform(0.3, 3.0))
            await strike(made, chance.choice(STRIKES))
    await assert_one_outcome_each(made, messages)
    await assert_nothing_says_that_it_thinks(made)
    await assert_lanes_in_order(made, said_at_s, lanes)
    await made.end()


async def test_kills_at_random_moments_lose_and_double_nothing(tmp_path: Path) -> None:
    async with project(tmp_path, CONFIGURATION, sandbox=SANDBOX) as made:
        await round_of_kills(made, seed=0, messages=120)


async def test_a_flood_in_the_middle_of_which_it_is_killed_has_one_outcome_for_each_message(tmp_path: Path) -> None:
    """Some in an answer of their own, in order, the last of them together in one that names each."""
    async with project(tmp_path, TOGETHER, sandbox=SANDBOX) as made:
        await made.start()
        said = [await made.sandbox.say(f"question {number:02}") for number in range(50)]
        async with asyncio.timeout(SETTLED_WITHIN_S):
            async for snapshot in made.sandbox.watch(said[1].message_id):
                if snapshot.replies:
                    break
        await made.kill()
        await made.start()
        await assert_one_outcome_each(made, 50)
        record = await made.sandbox.record()
        assert len(record.unprompted) == 1
        assert sum(bool(snapshot.replies) for snapshot in record.messages) < 25
        await made.end()


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(100, 120))
async def test_twenty_rounds_of_kills_lose_and_double_nothing(seed: int, tmp_path: Path) -> None:
    async with project(tmp_path, CONFIGURATION, sandbox=SANDBOX) as made:
        await round_of_kills(made, seed, messages=200)
