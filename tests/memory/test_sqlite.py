"""What was said before: is it kept, and is it forgotten?"""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from mainstay.memory.model import MemorySettings, MemoryUsage
from mainstay.memory.sqlite import Memory
from mainstay.memory.tables import HEAD, metadata
from mainstay.messages import Exchange
from mainstay.storage.migrate import upgrade
from mainstay.storage.model import StorageSettings
from mainstay.storage.sqlite import Storage
from mainstay.testing.clock import ManualClock

pytestmark = pytest.mark.anyio

DAY_S = 24 * 3600.0
SETTINGS = MemorySettings(history=3, kept_per_lane=5, notes=3)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def storage(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Storage]:
    url = f"sqlite:///{tmp_path / 'memory.db'}"
    upgrade(url, ["mainstay.memory"])
    storage = Storage(StorageSettings(url=url), clock=clock)
    await storage.open({"memory": HEAD})
    yield storage
    await storage.close()


@pytest.fixture
def memory(storage: Storage, clock: ManualClock) -> Memory:
    return Memory(storage, SETTINGS, clock=clock)


def exchange(name: str, clock: ManualClock, record: bytes = b"") -> Exchange:
    return Exchange(
        turn_id=name, user_text=f"question {name}", answer_text=f"answer {name}", at=clock.now(), record=record
    )


async def say(storage: Storage, memory: Memory, lane: str, *exchanges: Exchange) -> None:
    def work(tx: Connection) -> None:
        for one in exchanges:
            memory.append(tx, lane, one)

    await storage.write(work)


async def names(memory: Memory, lane: str) -> list[str]:
    return [one.turn_id for one in await memory.history(lane)]


async def test_a_conversation_is_shown_oldest_first_up_to_its_limit(
    storage: Storage, memory: Memory, clock: ManualClock
) -> None:
    assert await memory.history("lane") == ()
    await say(storage, memory, "lane", *(exchange(name, clock) for name in "abcd"))
    await say(storage, memory, "other", exchange("e", clock))
    assert await memory.history("lane") == tuple(exchange(name, clock) for name in "bcd")
    assert await names(memory, "other") == ["e"]


async def test_what_is_too_large_together_is_cut_off_at_the_old_end(storage: Storage, clock: ManualClock) -> None:
    memory = Memory(storage, replace(SETTINGS, history_bytes=60), clock=clock)
    await say(storage, memory, "lane", *(exchange(name, clock, b"x" * 10) for name in "abc"))
    assert await memory.history("lane") == (exchange("b", clock, b"x" * 10), exchange("c", clock, b"x" * 10))


@pytest.mark.parametrize(
    "record", [b"", b"\0", bytes(range(256)), "早".encode()[:2], b'{"a": 1}\r\n', b"\0" * 100_000]
)
async def test_a_record_comes_back_byte_for_byte(
    storage: Storage, memory: Memory, clock: ManualClock, record: bytes
) -> None:
    await say(storage, memory, "lane", exchange("a", clock, record))
    assert await memory.history("lane") == (exchange("a", clock, record),)


async def test_a_record_that_no_history_could_hold_takes_no_space(
    storage: Storage, memory: Memory, clock: ManualClock
) -> None:
    await say(storage, memory, "lane", exchange("a", clock, b"x" * SETTINGS.history_bytes))
    assert (await memory.usage()).content_bytes == len("question aanswer a")


async def test_a_turn_is_remembered_once(storage: Storage, memory: Memory, clock: ManualClock) -> None:
    first = exchange("a", clock, b"1")
    await say(storage, memory, "lane", first)
    await say(storage, memory, "lane", replace(first, answer_text="another one"), exchange("b", clock))
    assert await memory.history("lane") == (first, exchange("b", clock))


async def test_an_exchange_goes_with_its_transaction(storage: Storage, memory: Memory, clock: ManualClock) -> None:
    def work(tx: Connection) -> None:
        memory.append(tx, "lane", exchange("a", clock))
        raise LookupError

    with pytest.raises(LookupError):
        await storage.write(work)
    assert await memory.history("lane") == ()


async def test_old_exchanges_and_old_notes_are_forgotten(
    storage: Storage, memory: Memory, clock: ManualClock
) -> None:
    await say(storage, memory, "lane", exchange("old", clock))
    await (await memory.notebook("p")).add("old")
    clock.advance(90 * DAY_S)
    await say(storage, memory, "lane", exchange("new", clock))
    assert await memory.prune() == 0
    clock.advance(1)
    assert await memory.prune() == 1
    assert await names(memory, "lane") == ["new"]
    clock.advance(275 * DAY_S)
    assert await memory.prune() == 2
    assert (await memory.notebook("p")).notes == []


async def test_a_long_conversation_is_cut_to_its_newest_exchanges(
    storage: Storage, memory: Memory, clock: ManualClock
) -> None:
    await say(storage, memory, "long", *(exchange(f"l{number:03}", clock) for number in range(450)))
    await say(storage, memory, "short", *(exchange(f"s{number}", clock) for number in range(5)))
    commits = storage.stats().commits
    assert await memory.prune() == 445
    assert storage.stats().commits - commits >= 445 / 200, "other writers must get their turn in between"
    kept = await storage.read(
        lambda tx: [row[0] for row in tx.exec_driver_sql("SELECT turn_id FROM memory_exchanges ORDER BY seq")]
    )
    assert kept == [f"l{number}" for number in range(445, 450)] + [f"s{number}" for number in range(5)]
    assert await memory.prune() == 0


async def test_pruning_never_cuts_into_what_a_history_shows(storage: Storage, clock: ManualClock) -> None:
    memory = Memory(storage, MemorySettings(history=4, kept_per_lane=1), clock=clock)
    await say(storage, memory, "lane", *(exchange(name, clock) for name in "abcdef"))
    assert await memory.prune() == 2
    assert await names(memory, "lane") == ["c", "d", "e", "f"]


async def test_a_notebook_is_one_persons_and_the_oldest_notes_give_way(memory: Memory) -> None:
    await (await memory.notebook("earlier")).add("stays")
    notebook = await memory.notebook("p")
    assert notebook.notes == []
    for text in ("a", "b", "  b ", "", "c", "d"):
        await notebook.add(text)
    assert notebook.notes == ["b", "c", "d"]
    assert (await memory.notebook("p")).notes == ["b", "c", "d"]
    assert (await memory.notebook("earlier")).notes == ["stays"]


async def test_two_conversations_of_one_person_add_to_one_notebook(memory: Memory) -> None:
    one, two = await memory.notebook("p"), await memory.notebook("p")
    await one.add("a")
    await two.add("b")
    assert two.notes == ["a", "b"]


async def test_usage_is_measured_now_and_then(storage: Storage, memory: Memory, clock: ManualClock) -> None:
    empty = await memory.usage()
    assert empty == MemoryUsage(
        exchanges=0,
        conversations=0,
        notes=0,
        people=0,
        content_bytes=0,
        oldest_at=None,
        measured_at=clock.now(),
    )
    began = clock.now()
    await say(storage, memory, "one", exchange("a", clock, b"12345"), exchange("b", clock))
    await say(storage, memory, "two", exchange("c", clock))
    await (await memory.notebook("p")).add("早茶")
    clock.advance(59)
    assert await memory.usage() is empty
    clock.advance(1)
    assert await memory.usage() == MemoryUsage(
        exchanges=3,
        conversations=2,
        notes=1,
        people=1,
        content_bytes=3 * len("question aanswer a") + 5 + 6,
        oldest_at=began,
        measured_at=began + timedelta(seconds=60),
    )


async def test_the_migrations_make_the_tables_that_the_code_expects(storage: Storage) -> None:
    assert await storage.read(lambda tx: compare_metadata(MigrationContext.configure(tx), metadata)) == []
