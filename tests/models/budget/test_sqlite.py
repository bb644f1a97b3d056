"""What was spent outlives the process that spent it, and is known to the others."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from mainstay.bus import Bus
from mainstay.events import BudgetReached, Event
from mainstay.models.budget.account import Account
from mainstay.models.budget.ledger import Ledger
from mainstay.models.budget.model import BudgetSettings
from mainstay.models.budget.sqlite import StoredSpending
from mainstay.models.budget.tables import HEAD, metadata
from mainstay.models.cost import Tokens, UsageBook
from mainstay.models.model import ModelSettings, Price
from mainstay.storage.migrate import upgrade
from mainstay.storage.model import StorageSettings
from mainstay.storage.sqlite import Storage
from mainstay.testing.clock import ManualClock

pytestmark = pytest.mark.anyio

DAY_S = 86400.0
DOLLAR = Tokens(0, 1_000_000)
"""What an attempt at the dear model is taken to cost beforehand, too."""
MODELS = {
    "dear": ModelSettings(
        price=Price(input=Decimal(1), output=Decimal(1)), max_output_tokens=1_000_000, budget_per_day=Decimal(5)
    ),
    "fine": ModelSettings(price=Price(input=Decimal("0.000001"), output=Decimal("0.0375"))),
    "unpriced": ModelSettings(),
}
BUDGET = BudgetSettings(per_day=Decimal(8), per_chat_per_day=Decimal(3), retention=2 * DAY_S)


@dataclass
class Worker:
    """One process: its storage, its ledger, and what it tells."""

    storage: Storage
    ledger: Ledger
    spending: StoredSpending
    heard: list[Event]

    async def ask(
        self, model: str = "dear", chat: str = "a", *, tokens: Tokens | None = DOLLAR, worked: bool = True
    ) -> bool:
        """Make an attempt, if it may be made; says whether it was."""
        await self.ledger.refresh(chat)
        with Account(self.ledger, "turn", chat, lambda: 0, UsageBook(self.ledger.prices)) as account:
            if account.refuse(model) is not None:
                return False
            meter = account.begin()
            meter.worked, meter.counted = worked, tokens
        return True

    def spent(self, model: str = "dear") -> Decimal | None:
        return self.ledger.spent_by(model)

    async def rows(self) -> list[tuple[object, ...]]:
        return await self.storage.read(
            lambda tx: [tuple(row) for row in tx.exec_driver_sql("SELECT * FROM model_spending ORDER BY 1, 2, 3")]
        )


Start = Callable[..., Awaitable[Worker]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def start(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Start]:
    settings = StorageSettings(url=f"sqlite:///{tmp_path / 'budget.db'}", busy_timeout=0.02)
    upgrade(settings.url, ["mainstay.models.budget"])
    async with AsyncExitStack() as stack:

        async def started(budget: BudgetSettings = BUDGET) -> Worker:
            storage = Storage(settings, clock=clock)
            await storage.open({"mainstay.models.budget": HEAD})
            stack.push_async_callback(storage.close)
            bus, heard = Bus(), list[Event]()
            bus.subscribe_all(heard.append)
            ledger = Ledger(budget, MODELS, bus=bus, clock=clock)
            spending = StoredSpending(storage, ledger, retention_s=budget.retention, clock=clock)
            return Worker(storage, ledger, spending, heard)

        yield started


async def test_a_restart_knows_what_was_spent_today(start: Start) -> None:
    before = await start()
    assert await before.ask()
    assert await before.ask(chat="b")
    assert await before.spending.flush()
    after = await start()
    await after.ledger.refresh("a")
    assert after.spent() == 2
    assert await after.ask()
    assert await after.ask()
    assert await after.ask() is False
    assert await after.ask(chat="c")
    (reached,) = after.heard
    assert isinstance(reached, BudgetReached)
    assert (reached.scope, reached.chat, reached.spent, reached.limit) == ("chat", "a", 3, 3)


async def test_two_processes_see_what_the_other_has_spent(start: Start, clock: ManualClock) -> None:
    one, other = await start(), await start()
    asked = []
    for worker, chat in zip((one, other, one, other, one, other), "abcdef", strict=True):
        asked.append(await worker.ask(chat=chat))
        await worker.spending.flush()
        clock.advance(0.2)
    assert asked == [True] * 5 + [False]
    await one.ledger.refresh("a")
    assert (one.spent(), other.spent()) == (5, 5)


async def test_two_processes_share_the_budget_of_one_chat(start: Start) -> None:
    one, other = await start(), await start()
    assert [await worker.ask() and await worker.spending.flush() for worker in (one, other, one)] == [True] * 3
    assert await other.ask() is False
    assert await other.ask(chat="b")


async def test_what_many_spend_at_once_adds_up_to_the_last_picodollar(start: Start) -> None:
    workers = [await start(BudgetSettings()) for _ in range(2)]

    async def spend(worker: Worker, number: int) -> None:
        await worker.ask("fine", f"chat {number % 3}", tokens=Tokens(number, number))
        await worker.spending.flush()

    async with asyncio.TaskGroup() as tasks:
        for number in range(60):
            tasks.create_task(spend(workers[number % 2], number))
    tokens = sum(range(60))
    expected = tokens * (Decimal("0.000001") + Decimal("0.0375")) / 1_000_000
    fresh = await start()
    await fresh.ledger.refresh("")
    assert fresh.spent("fine") == expected
    rows = await fresh.rows()
    assert [row[1] for row in rows] == ["chat 0", "chat 1", "chat 2"]
    assert [sum(int(str(row[column])) for row in rows) for column in (4, 5, 6)] == [tokens, tokens, 60]


async def test_what_is_written_is_written_by_itself_and_a_new_process_begins_with_it(
    start: Start, clock: ManualClock
) -> None:
    worker, other = await start(), await start()
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(each.spending.run()) for each in (worker, other)]
        assert await worker.ask()
        async with asyncio.timeout(10):
            while not await worker.rows():  # noqa: ASYNC110  the writing is another task's
                await asyncio.sleep(0.005)
        third = await start(BudgetSettings())
        running.append(tasks.create_task(third.spending.run()))
        async with asyncio.timeout(10):
            while third.spent() != 1:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        for each in running:
            each.cancel()


async def test_estimated_and_unpriced_attempts_are_counted_and_what_cost_nothing_is_not(start: Start) -> None:
    worker = await start()
    assert await worker.ask(tokens=None)
    assert await worker.ask("unpriced")
    assert await worker.ask(tokens=None, worked=False)
    await worker.spending.flush()
    day = str(worker.ledger.today)
    assert await worker.rows() == [
        (day, "a", "dear", 0, 0, 0, 1, 1, 0),
        (day, "a", "unpriced", 0, 0, 1_000_000, 1, 0, 1),
    ]
    assert worker.spent("unpriced") is None


async def test_what_can_not_be_written_now_is_written_later_and_counts_at_once(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker = await start()
    assert await worker.ask()
    assert await worker.spending.flush()
    with closing(sqlite3.connect(tmp_path / "budget.db", isolation_level=None)) as another:
        another.execute("BEGIN IMMEDIATE")
        for chat in "bcd":
            assert await worker.ask(chat=chat)
            assert await worker.spending.flush() is False
        assert worker.spent() == 4
        assert await worker.ask(chat="e")
        assert await worker.ask(chat="f") is False
        another.execute("ROLLBACK")
    assert await worker.spending.flush()
    assert worker.spent() == 5
    assert [(row[1], row[3]) for row in await worker.rows()] == [(chat, 10**12) for chat in "abcde"]
    assert caplog.text.count("what was spent is not written yet") == 1


async def test_a_storage_that_can_not_be_read_stops_nobody(
    start: Start, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    worker = await start()
    await worker.storage.close()
    for chat in "abcde":
        assert await worker.ask(chat=chat)
        clock.advance(2)
    assert await worker.ask(chat="f") is False
    assert caplog.text.count("what other processes have spent is not known") == 1


async def test_a_new_day_begins_with_nothing(start: Start, clock: ManualClock) -> None:
    worker = await start()
    for chat in "abcd":
        assert await worker.ask(chat=chat)
    assert worker.ledger.used_up("model", "dear") is False
    assert await worker.ask(chat="e")
    assert await worker.ask(chat="f") is False
    assert worker.ledger.used_up("model", "dear") is True
    assert [check().status for check in worker.ledger.checks(["dear"])] == ["ok"]
    clock.advance(DAY_S)
    assert worker.ledger.used_up("model", "dear") is False
    assert worker.spent() == 0
    assert await worker.ask()
    await worker.spending.flush()
    assert worker.spent() == 1
    assert len(worker.heard) == 1


async def test_the_budget_of_the_day_shows_what_is_spent_and_who_is_not_asked(start: Start) -> None:
    worker = await start()
    (check,) = worker.ledger.checks(["dear", "fine", "unpriced"])
    assert (check().status, check().reason, check().detail["spentToday"]) == ("ok", "", "0")
    for chat in "aaaaabcdef":
        await worker.ask("fine", chat=chat, tokens=Tokens(0, 24_000_000))
    assert (check().status, check().affects_status) == ("degraded", True)
    assert check().reason == (
        "8.1 of today's 8 USD are spent; not asked: dear, fine; today's budget of 1 chat is reached"
    )
    assert check().detail == {"spentToday": "8.1", "perDay": "8", "perChatPerDay": "3", "chatsReached": 1}
    assert (await start(BudgetSettings())).ledger.checks(["dear"]) == []


async def test_days_past_the_retention_are_forgotten(start: Start, clock: ManualClock) -> None:
    worker = await start()
    for _ in range(4):
        await worker.ask()
        await worker.ask(chat="b")
        await worker.spending.flush()
        clock.advance(DAY_S)
    assert await worker.spending.prune() == 4
    assert sorted({str(row[0]) for row in await worker.rows()}) == ["2026-01-03", "2026-01-04"]
    assert await worker.spending.prune() == 0


async def test_the_migrations_make_the_tables_that_the_code_expects(start: Start) -> None:
    worker = await start()
    differs = await worker.storage.read(lambda tx: compare_metadata(MigrationContext.configure(tx), metadata))
    assert differs == []
