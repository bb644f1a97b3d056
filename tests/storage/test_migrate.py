"""Do the tables become what the rooms need, once, however many ask for it?"""

import importlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, create_engine, text

from mainstay.errors import ConfigError, SchemaMismatch, StorageUnavailable
from mainstay.storage.migrate import pending, upgrade

ROOMS = ["mainstay.inbox", "mainstay.memory"]
HEADS = ["inbox_0001", "memory_0001"]

_TABLES = "HEAD = {head!r}\n"
_SCRIPT = """
import sqlalchemy as sa
from alembic import op

revision = {revision!r}
down_revision = {down!r}
branch_labels = {labels!r}
depends_on = None


def upgrade() -> None:
    op.create_table({table!r}, sa.Column("id", sa.Integer, primary_key=True))
    {more}
"""


class Room:
    """A package with tables and migrations that the test writes."""

    def __init__(self, home: Path, name: str) -> None:
        self.name = name
        self.package = home / name
        (self.package / "migrations").mkdir(parents=True)
        (self.package / "__init__.py").touch()
        self.count = 0

    def add(self, *, more: str = "pass") -> str:
        """Add the next migration and make it the head."""
        down = f"{self.name}_{self.count:04}" if self.count else None
        self.count += 1
        head = f"{self.name}_{self.count:04}"
        (self.package / "tables.py").write_text(_TABLES.format(head=head))
        labels = None if down else (self.name,)
        script = _SCRIPT.format(revision=head, down=down, labels=labels, table=f"{head}_table", more=more)
        (self.package / "migrations" / f"{head}.py").write_text(script)
        for name in [name for name in sys.modules if name.split(".")[0] == self.name]:
            del sys.modules[name]
        return head


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return Room(tmp_path, "attic")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'home' / 'test.db'}"


def tables(url: str) -> set[str]:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    try:
        return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    finally:
        connection.close()


def test_a_new_database_gets_every_rooms_tables(url: str) -> None:
    assert pending(url, ROOMS) == HEADS
    assert upgrade(url, ROOMS) == HEADS
    assert pending(url, ROOMS) == []
    assert {"inbox", "memory_exchanges", "memory_notes"} <= tables(url)
    path = Path(url.removeprefix("sqlite:///"))
    assert path.stat().st_mode & 0o777 == 0o600


def test_upgrading_again_does_nothing(url: str) -> None:
    upgrade(url, ROOMS)
    assert upgrade(url, ROOMS) == []


def test_a_room_that_joins_later_is_added_to_what_is_there(url: str, room: Room) -> None:
    upgrade(url, ROOMS)
    head = room.add()
    assert upgrade(url, [*ROOMS, "attic"]) == [head]
    assert upgrade(url, [*ROOMS, "attic"]) == []


def test_a_room_moves_on_from_where_it_is(url: str, room: Room) -> None:
    room.add()
    upgrade(url, ["attic", *ROOMS])
    second = room.add()
    assert pending(url, ["attic", *ROOMS]) == [second]
    assert upgrade(url, ["attic", *ROOMS]) == [second]
    assert {"attic_0001_table", "attic_0002_table"} <= tables(url)


def test_a_migration_that_fails_leaves_everything_as_it_was(url: str, room: Room) -> None:
    room.add(more="raise RuntimeError('broken script')")
    with pytest.raises(RuntimeError, match="broken script"):
        upgrade(url, [*ROOMS, "attic"])
    assert tables(url) == set()
    assert pending(url, [*ROOMS, "attic"]) == [*HEADS, "attic_0001"]


def at_first(url: str, room: str) -> Connection:
    """A database as the first migration of a room left it, with its revision."""
    path = Path(url.removeprefix("sqlite:///"))
    path.parent.mkdir(parents=True)
    first = importlib.import_module(f"mainstay.{room}.migrations.{room.rpartition('.')[2]}_0001")
    connection = create_engine(url).connect()
    with Operations.context(MigrationContext.configure(connection)):
        first.upgrade()
    connection.execute(text("create table alembic_version (version_num varchar(32) primary key)"))
    connection.execute(text("insert into alembic_version values (:revision)"), {"revision": first.revision})
    return connection


STEP = """insert into turn_steps
(turn_id, step_id, position, attempt, agent, tool, arguments, effects, checkpoint, state, result, intended_at)
values ('t', 's', 1, 1, 'a', 'pay', '{}', 1, x'00', 'finished', 'paid', '2026-01-01 00:00:00')"""
OUTCOME = """insert into feishu_outbox
(turn_id, channel, lane, attempt, message, outcome, text, notice, state, via, apologise, tries, error, created_at,
due_at)
values ('t', 'feishu', 'l', 1, '{}', 'failed', '', 'n', 'delivered', 'card', 0, 1, '', '2026-01-01',
'2026-01-01')"""

CARD = """insert into feishu_cards (turn_id, channel, card_id, message_id, created_at)
values ('t', 'feishu', 'c', 'm', '2026-01-01')"""


@pytest.mark.parametrize(
    ("room", "insert", "column", "known"),
    [
        ("turns", STEP, "turn_steps.kept_at", None),
        ("channels.feishu", OUTCOME, "feishu_outbox.offer", "none"),
        ("channels.feishu", OUTCOME, "feishu_outbox.suggestions", "[]"),
        ("channels.feishu", CARD, "feishu_cards.part_of", ""),
        ("channels.feishu", CARD, "feishu_cards.retired", ""),
    ],
)
def test_a_database_of_the_version_before_keeps_its_rows_and_takes_those_of_its_program(
    url: str, room: str, insert: str, column: str, known: object
) -> None:
    with at_first(url, room) as connection:
        connection.execute(text(insert))
        connection.commit()
    assert upgrade(url, [f"mainstay.{room}"]) == [importlib.import_module(f"mainstay.{room}.tables").HEAD]
    table, name = column.split(".")
    with create_engine(url).connect() as connection:
        connection.execute(text(insert.replace("'t'", "'another'")))  # by a process of that version
        assert connection.execute(text(f"select {name} from {table}")).scalars().all() == [known, known]


def test_a_database_of_a_newer_program_is_left_alone(url: str, room: Room) -> None:
    room.add()
    room.add()
    upgrade(url, ["attic"])
    (room.package / "migrations" / "attic_0002.py").unlink()
    (room.package / "tables.py").write_text(_TABLES.format(head="attic_0001"))
    for name in [name for name in sys.modules if name.startswith("attic")]:
        del sys.modules[name]
    with pytest.raises(SchemaMismatch, match="newer version of this program"):
        upgrade(url, ["attic"])


def test_looking_creates_nothing(url: str) -> None:
    assert pending(url, ROOMS) == HEADS
    assert not Path(url.removeprefix("sqlite:///")).parent.exists()


def test_postgresql_is_refused_in_so_many_words() -> None:
    with pytest.raises(ConfigError, match="postgresql is not supported yet"):
        upgrade("postgresql://host/db", ROOMS)


def test_a_file_that_is_no_database_is_reported(url: str) -> None:
    path = Path(url.removeprefix("sqlite:///"))
    path.parent.mkdir()
    path.write_text("a text that is longer than the header of a database file is" * 20)
    with pytest.raises(StorageUnavailable, match="not a database"):
        upgrade(url, ROOMS)


_UPGRADE = """
import sys
from mainstay.storage.migrate import upgrade
sys.stdin.read(1)
print(upgrade(sys.argv[1], sys.argv[2:]), "alembic" in sys.modules)
"""


def start(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _UPGRADE, url, *ROOMS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_two_processes_at_once_migrate_once(url: str) -> None:
    children = [start(url) for _ in range(2)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("x")
        child.stdin.flush()
    said = sorted(child.communicate(timeout=60)[0].strip() for child in children)
    assert said == [f"{HEADS} True", "[] False"]
    assert pending(url, ROOMS) == []


def test_alembic_is_not_imported_when_nothing_is_pending(url: str) -> None:
    upgrade(url, ROOMS)
    out, _ = start(url).communicate("x", timeout=60)
    assert out == "[] False\n"
