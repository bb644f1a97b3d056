"""Does the table do what the machine says, and is it what the migration made?"""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.errors import LeaseLost
from mainstay.inbox.model import Claim, InboxSettings
from mainstay.inbox.sqlite import Inbox
from mainstay.inbox.tables import HEAD, metadata
from mainstay.messages import Message, Outcome
from mainstay.settings import SETTING
from mainstay.storage.migrate import upgrade
from mainstay.storage.model import StorageSettings
from mainstay.storage.sqlite import Storage
from mainstay.testing.clock import ManualClock
from mainstay.testing.inbox import InboxInMemory, Rows

SETTINGS = InboxSettings(lease=10, backoff=1, max_backoff=8, retention=40, dead_retention=40, max_age=60)


class Pair:
    """Three workers of one inbox, driven by the same happenings as those of the other kind."""

    def __init__(self, make: Any, write: Any, clock: ManualClock) -> None:  # noqa: ANN401
        self.workers = [make(f"w{number}") for number in range(3)]
        self.write = write
        self.clock = clock
        self.held: list[tuple[int, Claim]] = []

    async def do(self, action: str, who: int, what: int) -> object:
        inbox = self.workers[who]
        match action:
            case "put":
                name, chat = str(what % 6), str(what % 2)
                sent_at = self.clock.now()
                message = Message(
                    channel="c",
                    bot_id="b",
                    external_id=name,
                    chat_id=chat,
                    sender_id="s",
                    text="t",
                    sent_at=sent_at,
                )
                return await inbox.put(message)
            case "claim":
                claims = await inbox.claim(1 + what % 3)
                self.held += [(who, claim) for claim in claims]
                return claims
            case "recover":
                return await inbox.recover(lambda owner: owner != f"w{what % 3}")
            case "prune":
                return await inbox.prune()
            case "wait":
                self.clock.advance((1.0, 9.0, 10.0, 11.0, 45.0)[what % 5])
                return None
        if not self.held:
            return None
        owner, claim = self.held[what % len(self.held)]
        return await self.use(action, self.workers[owner], claim, what)

    async def use(self, action: str, inbox: Any, claim: Claim, what: int) -> object:  # noqa: ANN401
        try:
            match action:
                case "finish":
                    return await self.write(lambda tx: inbox.finish(tx, claim, Outcome.ANSWERED, "{}"))
                case "prove":
                    return await self.write(lambda tx: inbox.prove(tx, claim))
                case "release":
                    return await inbox.release(claim, delay_s=float(what % 12), reason="r")
                case "bury":
                    return await inbox.bury(claim, "b")
                case _:
                    return await inbox.renew([claim])
        except LeaseLost as error:
            return str(error)

    async def state(self) -> list[object]:
        inbox = self.workers[0]
        return [await inbox.depth(), await inbox.next_due()]


ACTIONS = (
    *("put", "claim", "wait") * 3,
    "finish",
    "finish",
    "renew",
    "prove",
    "release",
    "bury",
    "recover",
    "prune",
)


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(
    st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 2), st.integers(0, 59)), min_size=20, max_size=60)
)
def test_the_table_and_the_inbox_in_memory_can_not_be_told_apart(steps: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as home:
        asyncio.run(compare(Path(home), steps))


async def compare(home: Path, steps: list[tuple[str, int, int]]) -> None:
    url = f"sqlite:///{home / 'inbox.db'}"
    clock, other_clock = ManualClock(), ManualClock()
    storage = Storage(StorageSettings(url=url, synchronous="normal"), clock=clock)
    await storage.open({})
    await storage.write(metadata.create_all)
    rows = Rows()
    table = Pair(lambda name: Inbox(storage, SETTINGS, clock=clock, worker=name), storage.write, clock)
    fake = Pair(lambda name: InboxInMemory(rows, SETTINGS, clock=other_clock, worker=name), rows.write, other_clock)
    try:
        for step in steps:
            assert await table.do(*step) == await fake.do(*step), step
            assert await table.state() == await fake.state(), step
        for turn_id in rows.by_turn:
            assert await table.workers[0].find(turn_id) == await fake.workers[0].find(turn_id)
    finally:
        await storage.close()


@pytest.mark.anyio
async def test_the_migrations_make_the_tables_that_the_code_expects(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'inbox.db'}"
    upgrade(url, ["mainstay.inbox"])
    storage = Storage(StorageSettings(url=url), clock=ManualClock())
    await storage.open({"inbox": HEAD})
    assert await storage.read(lambda tx: compare_metadata(MigrationContext.configure(tx), metadata)) == []
    await storage.close()


@pytest.mark.anyio
async def test_a_claim_does_not_walk_over_what_is_finished(tmp_path: Path) -> None:
    storage = Storage(StorageSettings(url=f"sqlite:///{tmp_path / 'inbox.db'}"), clock=ManualClock())
    await storage.open({})
    await storage.write(metadata.create_all)
    plan = await storage.read(
        lambda tx: tx.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT min(seq) FROM inbox WHERE closed_at IS NULL GROUP BY lane"
        ).all()
    )
    assert ["USING INDEX inbox_open" in row[3] for row in plan] == [True]
    await storage.close()


@pytest.mark.anyio
async def test_the_text_of_a_message_does_not_outlive_its_turn(tmp_path: Path) -> None:
    clock = ManualClock()
    storage = Storage(StorageSettings(url=f"sqlite:///{tmp_path / 'inbox.db'}"), clock=clock)
    await storage.open({})
    await storage.write(metadata.create_all)
    inbox = Inbox(storage, SETTINGS, clock=clock, worker="w")
    await inbox.put(
        Message(
            channel="c", bot_id="b", external_id="a", chat_id="c", sender_id="s", text="secret", sent_at=clock.now()
        )
    )
    (claim,) = await inbox.claim(1)
    await storage.write(lambda tx: inbox.finish(tx, claim, Outcome.ANSWERED, "{}"))
    rows = await storage.read(lambda tx: [tuple(row) for row in tx.exec_driver_sql("SELECT * FROM inbox")])
    assert len(rows) == 1
    assert "secret" not in str(rows)
    await storage.close()


@pytest.mark.anyio
@pytest.mark.parametrize("stored", ["", "{", "[]", "{}", '{"sent_at": "yesterday"}'])
async def test_a_message_that_can_not_be_read_does_not_stop_the_others(tmp_path: Path, stored: str) -> None:
    clock, buried = ManualClock(), []
    storage = Storage(StorageSettings(url=f"sqlite:///{tmp_path / 'inbox.db'}"), clock=clock)
    await storage.open({})
    await storage.write(metadata.create_all)
    inbox = Inbox(
        storage, SETTINGS, clock=clock, worker="w", on_buried=lambda turn_id, reason: buried.append(reason)
    )
    for name in "ab":
        await inbox.put(
            Message(
                channel="c", bot_id="b", external_id=name, chat_id=name, sender_id="s", text="", sent_at=clock.now()
            )
        )
    await storage.write(
        lambda tx: tx.exec_driver_sql("UPDATE inbox SET message = ? WHERE seq = 1", (stored,)).close()
    )
    assert [claim.message.external_id for claim in await inbox.claim(5)] == ["b"]
    assert (await inbox.depth()).dead == 1
    assert [reason[:13] for reason in buried] == ["not readable:"]
    await storage.close()


@pytest.mark.parametrize("text", ["7h59m", "1h", 0])
def test_repeats_must_be_recognised_for_as_long_as_the_platform_repeats(text: str | float) -> None:
    parse = InboxSettings.__dataclass_fields__["retention"].metadata[SETTING].parse
    assert parse("8h") == 8 * 3600
    with pytest.raises(ValueError, match="8h or more"):
        parse(text)
