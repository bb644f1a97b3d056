"""Who may write, and what does a caller learn when it does not work?"""

import asyncio
import sqlite3
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from mainstay.clock import SystemClock
from mainstay.errors import ConfigError, LeftAlone, SchemaMismatch, StorageUnavailable
from mainstay.storage.model import StorageSettings
from mainstay.storage.sqlite import Storage
from mainstay.testing.clock import ManualClock

pytestmark = pytest.mark.anyio


def note(text: str) -> Callable[[Connection], str]:
    def work(tx: Connection) -> str:
        tx.exec_driver_sql("INSERT INTO notes VALUES (?)", (text,))
        return text

    return work


def file_of(settings: StorageSettings) -> Path:
    return Path(settings.url.removeprefix("sqlite:///"))


def notes(tx: Connection) -> list[str]:
    return [row[0] for row in tx.exec_driver_sql("SELECT note FROM notes ORDER BY rowid")]


def pragma(name: str) -> Callable[[Connection], str]:
    def work(tx: Connection) -> str:
        result = tx.exec_driver_sql(f"PRAGMA {name}")
        return str(result.scalar()) if result.returns_rows else ""

    return work


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  the writer is another thread
            await asyncio.sleep(0.005)


async def test_what_is_written_can_be_read(open_storage) -> None:
    storage = await open_storage()
    assert await storage.write(note("a")) == "a"
    assert await storage.read(notes) == ["a"]


@pytest.mark.parametrize(("setting", "level"), [("full", "2"), ("normal", "1")])
async def test_a_commit_is_on_the_disk_before_its_caller_knows(open_storage, setting: str, level: str) -> None:
    storage = await open_storage(synchronous=setting)
    assert await storage.write(pragma("synchronous")) == level
    assert await storage.write(pragma("journal_mode")) == "wal"
    assert await storage.write(pragma("foreign_keys")) == "1"


async def test_only_the_owner_may_read_the_files(open_storage, settings: StorageSettings) -> None:
    storage = await open_storage()
    await storage.write(note("secret"))
    home = file_of(settings).parent
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in home.iterdir()} == {
        "test.db": 0o600,
        "test.db.lock": 0o600,
        "test.db-shm": 0o600,
        "test.db-wal": 0o600,
    }
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


async def test_writes_that_wait_together_share_a_commit_in_their_order(open_storage, gate) -> None:
    storage = await open_storage()
    before = storage.stats()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(storage.write(gate))
        await until(gate.entered.is_set)
        for number in range(100):
            tasks.create_task(storage.write(note(str(number))))
        await until(lambda: storage.stats().queued == 100)
        gate.open()
    after = storage.stats()
    assert after.commits - before.commits == 3
    assert after.writes - before.writes == 101
    assert await storage.read(notes) == [str(number) for number in range(100)]


async def test_a_work_that_raises_fails_alone(open_storage, gate) -> None:
    storage = await open_storage()

    def broken(tx: Connection) -> None:
        note("undone")(tx)
        raise LookupError("a bug")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(storage.write(gate))
        await until(gate.entered.is_set)
        works = [note("a"), broken, note("b"), note("a"), note("c")]
        ends = tasks.create_task(gathered(storage, works))
        await until(lambda: storage.stats().queued == 5)
        gate.open()
    first, bug, second, twice, third = ends.result()
    assert (first, second, third) == ("a", "b", "c")
    assert isinstance(bug, LookupError)
    assert isinstance(twice, IntegrityError)
    assert await storage.read(notes) == ["a", "b", "c"]
    assert storage.check().status == "ok"


async def gathered(storage: Storage, works: list) -> list:
    return await asyncio.gather(*(storage.write(work) for work in works), return_exceptions=True)


async def test_when_the_commit_fails_nobody_is_told_that_it_is_stored(open_storage, gate) -> None:
    storage = await open_storage()
    await storage.write(
        lambda tx: tx.exec_driver_sql(
            "CREATE TABLE answers (note TEXT REFERENCES notes (note) DEFERRABLE INITIALLY DEFERRED)"
        ).close()
    )

    def orphan(tx: Connection) -> None:
        tx.exec_driver_sql("INSERT INTO answers VALUES ('of nothing')")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(storage.write(gate))
        await until(gate.entered.is_set)
        ends = tasks.create_task(gathered(storage, [note("a"), orphan, note("b")]))
        await until(lambda: storage.stats().queued == 3)
        gate.open()
    assert [type(end) for end in ends.result()] == [StorageUnavailable] * 3
    assert await storage.read(notes) == []
    assert await storage.write(note("a")) == "a"


async def test_a_work_that_ends_the_transaction_spoils_only_its_batch(open_storage) -> None:
    storage = await open_storage()
    with pytest.raises(StorageUnavailable, match="transaction failed"):
        await storage.write(lambda tx: tx.exec_driver_sql("ROLLBACK").close())
    assert await storage.write(note("a")) == "a"
    assert await storage.read(notes) == ["a"]


async def test_cancelling_takes_back_a_write_that_has_not_begun(open_storage, gate) -> None:
    storage = await open_storage()
    blocking = asyncio.ensure_future(storage.write(gate))
    await until(gate.entered.is_set)
    waiting = [asyncio.ensure_future(storage.write(note(name))) for name in "abc"]
    await until(lambda: storage.stats().queued == 3)
    waiting[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting[1]
    gate.open()
    await asyncio.gather(blocking, waiting[0], waiting[2])
    assert await storage.read(notes) == ["a", "c"]


async def test_cancelling_the_caller_of_a_running_write_does_not_break_its_batch(open_storage, gate) -> None:
    storage = await open_storage()

    def slow(tx: Connection) -> None:
        note("slow")(tx)
        gate(tx)

    running = asyncio.ensure_future(storage.write(slow))
    await until(gate.entered.is_set)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    next_one = asyncio.ensure_future(storage.write(note("next")))
    gate.open()
    assert await next_one == "next"
    assert await storage.read(notes) == ["slow", "next"]


async def test_a_write_that_takes_too_long_says_whether_it_may_still_happen(open_storage, gate) -> None:
    storage = await open_storage(write_timeout=1.0)
    running = asyncio.ensure_future(storage.write(gate))
    await until(gate.entered.is_set)
    with pytest.raises(StorageUnavailable) as queued:
        await storage.write(note("never"))
    assert "may still" not in str(queued.value)
    with pytest.raises(StorageUnavailable, match=r"took longer than 1 s; it may still be stored"):
        await running
    gate.open()
    await storage.write(note("later"))
    assert await storage.read(notes) == ["later"]


async def test_a_read_that_takes_too_long_is_given_up(open_storage, gate) -> None:
    storage = await open_storage(read_timeout=0.05)
    with pytest.raises(StorageUnavailable, match=r"a read took longer than 0\.05 s$"):
        await storage.read(gate)
    gate.open()


async def test_a_full_queue_refuses_and_counts(open_storage, gate) -> None:
    storage = await open_storage(write_queue=2)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(storage.write(gate))
        await until(gate.entered.is_set)
        for name in "ab":
            tasks.create_task(storage.write(note(name)))
        await until(lambda: storage.stats().queued == 2)
        with pytest.raises(StorageUnavailable, match="2 writes are waiting already; nothing was stored"):
            await storage.write(note("c"))
        gate.open()
    assert storage.stats().refused == 1
    assert await storage.read(notes) == ["a", "b"]


async def test_too_many_reads_are_refused_and_counted(open_storage, gate) -> None:
    storage = await open_storage(read_queue=1)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(storage.read(gate))
        await until(gate.entered.is_set)
        with pytest.raises(StorageUnavailable, match="reads are waiting"):
            await storage.read(notes)
        gate.open()
    assert storage.stats().refused == 1
    assert await storage.read(notes) == []


async def test_reads_do_not_wait_for_a_write_and_do_not_see_half_of_it(open_storage, gate) -> None:
    storage = await open_storage()

    def slow(tx: Connection) -> None:
        note("half")(tx)
        gate(tx)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(storage.write(slow))
        await until(gate.entered.is_set)
        assert await storage.read(notes) == []
        gate.open()
    assert await storage.read(notes) == ["half"]


async def test_a_reader_can_not_write(open_storage) -> None:
    storage = await open_storage()
    with pytest.raises(StorageUnavailable):
        await storage.read(note("a"))
    assert await storage.read(notes) == []


async def test_closing_stores_what_waits_and_refuses_what_comes(settings: StorageSettings, gate) -> None:
    storage = Storage(settings, clock=ManualClock())
    await storage.open({})
    await storage.write(lambda tx: tx.exec_driver_sql("CREATE TABLE notes (note)").close())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(storage.write(gate))
        await until(gate.entered.is_set)
        for name in "abc":
            tasks.create_task(storage.write(note(name)))
        await until(lambda: storage.stats().queued == 3)
        closing = tasks.create_task(storage.close())
        gate.open()
    assert closing.done()
    with pytest.raises(StorageUnavailable, match="closed"):
        await storage.write(note("d"))
    with pytest.raises(StorageUnavailable, match="closed"):
        await storage.read(notes)
    again = Storage(settings, clock=ManualClock())
    await again.open({})
    assert await again.read(notes) == ["a", "b", "c"]
    await again.close()


async def test_closing_what_was_never_opened_is_harmless(settings: StorageSettings) -> None:
    await Storage(settings, clock=ManualClock()).close()


async def test_a_lock_held_by_another_process_shows_until_it_is_gone(
    open_storage, settings: StorageSettings
) -> None:
    storage = await open_storage()
    other = sqlite3.connect(file_of(settings), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable, match="another process keeps it locked"):
        await storage.write(note("a"))
    condition = storage.check()
    assert (condition.name, condition.status, condition.required) == ("database", "down", True)
    assert "locked" in condition.reason
    other.execute("ROLLBACK")
    other.close()
    await until(lambda: storage.check().status == "ok")
    assert await storage.write(note("a")) == "a"


async def test_a_write_holds_off_other_processes_from_its_first_statement(
    open_storage, settings: StorageSettings
) -> None:
    storage = await open_storage()
    other = sqlite3.connect(file_of(settings), isolation_level=None, timeout=0, check_same_thread=False)

    def work(tx: Connection) -> None:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")

    await storage.write(work)
    other.close()


async def test_a_full_database_fails_the_work_that_does_not_fit_and_says_so(open_storage) -> None:
    storage = await open_storage(probe_interval=60.0)
    pages = int(await storage.write(pragma("page_count")))
    await storage.write(pragma(f"max_page_count={pages + 4}"))
    with pytest.raises(StorageUnavailable, match="the disk is full"):
        await storage.write(note("x" * 100_000))
    assert storage.check().status == "down"
    await storage.write(lambda tx: notes(tx))
    assert storage.check().status == "down"  # a look that writes nothing proves nothing
    await storage.write(pragma("max_page_count=100000"))
    await storage.write(note("x" * 100_000))
    assert storage.check().status == "ok"
    assert storage.stats().failed == 1


async def test_a_database_that_can_not_be_written_says_so(open_storage) -> None:
    storage = await open_storage(probe_interval=60.0)
    await storage.write(pragma("query_only=ON"))
    with pytest.raises(StorageUnavailable, match="it can not be written"):
        await storage.write(note("a"))
    assert storage.check().status == "down"


async def test_a_write_that_hangs_shows(open_storage, gate) -> None:
    clock = ManualClock()
    storage = await open_storage(clock=clock)
    running = asyncio.ensure_future(storage.write(gate))
    await until(gate.entered.is_set)
    assert storage.check().status == "ok"
    clock.advance(10.1)
    assert "a write has taken 10 s" in storage.check().reason
    gate.open()
    await running
    assert storage.check().status == "ok"


async def test_a_missing_database_names_the_command_and_is_not_created(settings: StorageSettings) -> None:
    storage = Storage(settings, clock=ManualClock())
    with pytest.raises(SchemaMismatch, match="run `mainstay migrate`"):
        await storage.open({"inbox": "inbox_0001"})
    assert not file_of(settings).exists()
    await storage.close()


async def test_another_schema_version_names_both_and_the_command(open_storage, settings: StorageSettings) -> None:
    storage = await open_storage()
    await storage.write(lambda tx: tx.exec_driver_sql("CREATE TABLE alembic_version (version_num)").close())
    await storage.write(lambda tx: tx.exec_driver_sql("INSERT INTO alembic_version VALUES ('inbox_0001')").close())
    other = Storage(settings, clock=ManualClock())
    with pytest.raises(SchemaMismatch, match="needs inbox_0002, there is inbox_0001: run `mainstay migrate`"):
        await other.open({"inbox": "inbox_0002"})
    await other.open({"inbox": "inbox_0001"})
    await other.close()


async def test_a_file_that_is_no_database_is_told_apart(settings: StorageSettings) -> None:
    file_of(settings).parent.mkdir()
    file_of(settings).write_text("a text that is longer than the header of a database file is" * 20)
    storage = Storage(settings, clock=ManualClock())
    with pytest.raises(StorageUnavailable, match="not a database"):
        await storage.open({})
    await storage.close()


async def test_a_directory_that_can_not_be_made_is_reported(tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    storage = Storage(StorageSettings(url=f"sqlite:///{tmp_path}/file/db"), clock=ManualClock())
    with pytest.raises(StorageUnavailable, match="can not be created"):
        await storage.open({})
    await storage.close()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://host/db", "postgresql is not supported yet"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///test.db?mode=ro", "takes no options"),
        ("mainstay.db", "is not a database URL"),
    ],
)
def test_a_url_that_can_not_work_is_a_configuration_error(url: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Storage(StorageSettings(url=url), clock=ManualClock())


async def test_a_path_with_odd_characters_is_taken_literally(tmp_path) -> None:
    path = tmp_path / "50% of #1 & more" / "a b.db"
    storage = Storage(StorageSettings(url=f"sqlite:///{path}"), clock=ManualClock())
    await storage.open({})
    await storage.write(lambda tx: tx.exec_driver_sql("CREATE TABLE notes (note)").close())
    await storage.close()
    assert path.exists()


class LeavesAlone:
    """A `mainstay.guard.Guard` that lets nothing through."""

    def permit(self) -> AbstractContextManager[object]:
        raise LeftAlone("database is left alone for 5s more", wait_s=5)


async def test_a_database_that_is_left_alone_is_neither_written_nor_read_nor_waited_for(tmp_path: Path) -> None:
    settings = StorageSettings(url=f"sqlite:///{tmp_path / 'left.db'}")
    storage = Storage(settings, clock=SystemClock(), guard=LeavesAlone())
    await storage.open({})
    ran: list[str] = []
    try:
        for call in (storage.write, storage.read):
            with pytest.raises(StorageUnavailable, match="is left alone"):
                await call(lambda tx: ran.append("ran"))
    finally:
        await storage.close()
    assert ran == []
