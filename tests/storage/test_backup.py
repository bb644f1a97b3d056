"""A backup is whole and of one moment, whatever happens around it; a restore leaves one database or the other."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mainstay.clock import SystemClock
from mainstay.errors import ConfigError, MainstayError, SchemaMismatch, StorageUnavailable
from mainstay.schema import SCHEMA, heads
from mainstay.storage.backup import back_up, copy_file, database_of, dated, prune, restore
from mainstay.storage.file import lacking, reached, scripts
from mainstay.storage.holding import alone, holding
from mainstay.storage.migrate import upgrade
from mainstay.storage.model import StorageSettings
from mainstay.storage.sqlite import Storage
from mainstay.turns.tables import HEAD

pytestmark = pytest.mark.anyio

AT = datetime(2026, 11, 26, 4, 15, 30, 123456, tzinfo=UTC)
WRITER = Path(__file__).with_name("writing.py")


@contextmanager
def written(path: Path) -> Iterator[subprocess.Popen[str]]:
    """The database, while another process writes it through the storage room; its output says what was stored."""
    with subprocess.Popen([sys.executable, str(WRITER), str(path)], stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "100\n"
            yield writer
        finally:
            writer.kill()


@contextmanager
def beside(*command: str) -> Iterator[subprocess.Popen[str]]:
    """Another process, which ends when it has read all of its input."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def rows(path: Path) -> tuple[list[int], list[int]]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        one, other = (connection.execute(f"SELECT n FROM {table} ORDER BY n").fetchall() for table in ("a", "b"))
        return [row[0] for row in one], [row[0] for row in other]


def notes(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT text FROM notes ORDER BY rowid")]


def note(path: Path, *texts: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS notes (text TEXT)")
        connection.executemany("INSERT INTO notes VALUES (?)", [(text,) for text in texts])


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database of this version."""
    path = tmp_path_factory.mktemp("empty") / "mainstay.db"
    upgrade(f"sqlite:///{path}", SCHEMA)
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path, empty: bytes) -> Path:
    path = tmp_path / "home" / "mainstay.db"
    path.parent.mkdir()
    path.write_bytes(empty)
    note(path, "one", "two")
    return path


def files(directory: Path) -> set[str]:
    return {each.name for each in directory.iterdir()}


def test_every_backup_under_writes_is_whole_and_of_one_moment(tmp_path: Path) -> None:
    path, counts = tmp_path / "mainstay.db", [0]
    with written(path) as writer:
        for number in range(8):
            copy = back_up(path, tmp_path / f"{number}.db", within_s=30)
            one, other = rows(copy.path)
            assert one == other == list(range(len(one))), "two rows of one transaction, and all those before them"
            assert len(one) >= 100, "what was confirmed before is in it"
            counts.append(len(one))
            assert writer.stdout is not None
            said = int(writer.stdout.readline())
            while said < len(one):
                said = int(writer.stdout.readline())
    assert counts == sorted(set(counts)), "it was written meanwhile"


def test_a_backup_is_one_file_for_its_owner_only(path: Path, tmp_path: Path) -> None:
    copy = back_up(path, tmp_path / "backups" / "b.db", within_s=30)
    assert files(tmp_path / "backups") == {"b.db"}
    assert copy.path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "backups").stat().st_mode & 0o777 == 0o700
    assert copy.size_bytes == copy.path.stat().st_size
    assert set(copy.revisions) == set(heads().values())
    assert notes(copy.path) == ["one", "two"]


def test_what_was_committed_and_is_only_in_the_log_is_in_the_backup(path: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("INSERT INTO notes VALUES ('three')")
        connection.commit()
        assert notes(back_up(path, tmp_path / "b.db", within_s=30).path) == ["one", "two", "three"]


def test_what_is_there_already_is_left_as_it_is(path: Path, tmp_path: Path) -> None:
    (tmp_path / "mainstay.toml").write_text("mine")
    with pytest.raises(MainstayError, match="exists already, and is left as it is"):
        back_up(path, tmp_path / "mainstay.toml", within_s=30)
    assert (tmp_path / "mainstay.toml").read_text() == "mine"


def test_no_database_is_no_backup(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="`mainstay migrate` makes one"):
        back_up(tmp_path / "mainstay.db", tmp_path / "b.db", within_s=30)
    assert files(tmp_path) == set()


def test_no_backup_is_made_in_the_middle_of_a_restore(path: Path, tmp_path: Path) -> None:
    with alone(path), pytest.raises(StorageUnavailable, match="a backup is being restored: try again"):
        back_up(path, tmp_path / "b.db", within_s=60)
    assert "b.db" not in files(tmp_path)


def test_a_damaged_database_gives_no_backup(path: Path, tmp_path: Path) -> None:
    damage(path)
    with pytest.raises(StorageUnavailable, match=r"damaged|not a database"):
        back_up(path, tmp_path / "backups" / "b.db", within_s=30)
    assert files(tmp_path / "backups") == set()


def test_a_copy_that_takes_too_long_is_given_up_and_leaves_nothing(path: Path, tmp_path: Path) -> None:
    note(path, *("x" * 200 for _ in range(20_000)))
    with pytest.raises(StorageUnavailable, match="takes longer than 0 s"):
        back_up(path, tmp_path / "backups" / "b.db", within_s=0)
    assert files(tmp_path / "backups") == set()


_LIMITED = """
import resource, sys
from pathlib import Path
from mainstay.errors import MainstayError
from mainstay.storage.backup import back_up
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
try:
    back_up(Path(sys.argv[1]), Path(sys.argv[2]), within_s=30)
except MainstayError as error:
    print(error)
"""


def test_a_disk_that_fills_leaves_no_half_file(path: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _LIMITED, str(path), str(tmp_path / "backups" / "b.db")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "the disk" in ran.stdout
    assert files(tmp_path / "backups") == set()


_KILLED = """
import sys
from pathlib import Path
from mainstay.storage import backup
backup._STEPS = 100
looks = 0
class Told:
    @staticmethod
    def monotonic():
        global looks
        looks += 1
        if looks == 50:  # in the middle of the copy
            print("half", flush=True)
            sys.stdin.read()
        return 0.0
backup.time = Told
backup.back_up(Path(sys.argv[1]), Path(sys.argv[2]), within_s=30)
"""


def test_a_kill_in_the_middle_leaves_no_half_file_under_a_final_name(path: Path, tmp_path: Path) -> None:
    note(path, *("x" * 200 for _ in range(20_000)))
    target = tmp_path / "backups" / "b.db"
    command = [sys.executable, "-c", _KILLED, str(path), str(target)]
    with beside(*command) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "half\n"
        assert all(".partial" in name for name in files(target.parent))
        child.kill()
    assert not target.exists()
    back_up(path, target, within_s=30)
    assert files(target.parent) == {"b.db"}, "what the kill has left is gone with the next one"


def test_another_backup_that_is_being_made_is_left_alone(path: Path, tmp_path: Path) -> None:
    note(path, *("x" * 200 for _ in range(20_000)))
    target = tmp_path / "backups" / "b.db"
    command = [sys.executable, "-c", _KILLED, str(path), str(target)]
    with beside(*command) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "half\n"
        back_up(path, tmp_path / "backups" / "another.db", within_s=30)
        child.communicate("", timeout=60)
    assert files(target.parent) == {"b.db", "another.db"}
    assert child.returncode == 0


def test_only_the_oldest_of_our_own_are_removed(tmp_path: Path) -> None:
    names = [dated("bot", AT.replace(second=second)) for second in range(4)]
    others = ["bot-old.db", dated("other-bot", AT), dated("bot-2", AT), "mainstay.db", f"{names[0]}x"]
    others += [f"{names[0]}.why-it-is-kept"]
    others += [directory := dated("bot", AT.replace(year=2000))]
    for name in [*names, *others, f"{names[0]}.toml", f"{names[3]}.toml"]:
        (tmp_path / name).mkdir() if name == directory else (tmp_path / name).write_text("")
    assert [each.name for each in prune(tmp_path, "bot", 2, beside=(".toml", ".env"))] == names[:2]
    assert files(tmp_path) == {*names[2:], *others, f"{names[3]}.toml"}
    assert prune(tmp_path, "bot", 2, beside=(".toml", ".env")) == []


def test_the_configuration_is_copied_for_its_owner_only(tmp_path: Path) -> None:
    (tmp_path / "mainstay.toml").write_text("[service]\n")
    copy_file(tmp_path / "mainstay.toml", tmp_path / "b.db.toml")
    assert (tmp_path / "b.db.toml").read_text() == "[service]\n"
    assert (tmp_path / "b.db.toml").stat().st_mode & 0o777 == 0o600


def test_postgresql_is_another_programs_business() -> None:
    with pytest.raises(ConfigError, match="pg_dump"):
        database_of("postgresql+psycopg://host/db")


def test_the_names_of_the_scripts_say_which_revision_the_code_needs(path: Path) -> None:
    assert {room: scripts(room)[-1] for room in SCHEMA} == heads()
    assert reached(path) == set(heads().values())
    assert lacking(path, SCHEMA) == []
    assert lacking(path.with_name("none.db"), SCHEMA) == list(heads().values())


# restoring


def damage(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(20_000))


@pytest.fixture
def backup(path: Path, tmp_path: Path) -> Path:
    copy = back_up(path, tmp_path / "backups" / "b.db", within_s=30).path
    note(path, "since then")
    return copy


def restored(backup: Path, path: Path) -> Path | None:
    done = restore(backup, path, rooms=SCHEMA, at=AT)
    assert notes(path) == ["one", "two"]
    assert path.stat().st_mode & 0o777 == 0o600
    return done.kept


def test_the_database_is_that_of_the_backup_and_the_one_before_it_is_kept(backup: Path, path: Path) -> None:
    kept = restored(backup, path)
    assert kept == path.with_name("mainstay.db.before-20261126T041530.123Z")
    assert notes(kept) == ["one", "two", "since then"]
    assert files(path.parent) == {"mainstay.db", "mainstay.db.lock", kept.name}


def test_a_log_that_a_kill_has_left_goes_with_the_old_database(backup: Path, path: Path) -> None:
    """SQLite would play it into the restored one."""
    with written(path) as writer:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert path.with_name("mainstay.db-wal").stat().st_size
    kept = restored(backup, path)
    assert kept is not None
    assert files(path.parent) == {"mainstay.db", "mainstay.db.lock", kept.name}
    assert len(rows(kept)[0]) >= 100
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_log_that_another_program_is_reading_is_kept_with_the_old_database(backup: Path, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM notes").fetchone() == (3,)
        note(path, "in the log")
        with closing(sqlite3.connect(backup)) as again:
            again.execute("PRAGMA journal_mode=WAL")  # such a file reads any log beside it
        kept = restore(backup, path, rooms=SCHEMA, at=AT).kept
        assert kept is not None
        assert kept.with_name(f"{kept.name}-wal").stat().st_size
        assert not {"mainstay.db-wal", "mainstay.db-shm"} & files(path.parent)
    assert notes(kept) == ["one", "two", "since then", "in the log"]
    assert notes(path) == ["one", "two"]


def test_a_damaged_database_is_exchanged_and_kept_with_its_log(backup: Path, path: Path) -> None:
    path.write_bytes(b"no database any more" * 500)
    path.with_name("mainstay.db-wal").write_bytes(b"a log of it")
    kept = restored(backup, path)
    assert kept is not None
    assert kept.stat().st_size
    assert kept.with_name(f"{kept.name}-wal").read_bytes() == b"a log of it"


def test_where_there_is_none_the_backup_becomes_the_database(backup: Path, tmp_path: Path) -> None:
    assert restored(backup, tmp_path / "elsewhere" / "mainstay.db") is None


async def test_a_database_in_use_is_not_exchanged(backup: Path, path: Path) -> None:
    storage = Storage(StorageSettings(url=f"sqlite:///{path}"), clock=SystemClock())
    await storage.open(heads())
    with pytest.raises(MainstayError, match=f"in use by process {os.getpid()}: stop what uses it first"):
        restore(backup, path, rooms=SCHEMA, at=AT)
    await storage.close()
    restored(backup, path)


async def test_a_service_does_not_begin_in_the_middle_of_a_restore(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mainstay.storage.holding import alone\n"
        "with alone(Path(sys.argv[1])): print('alone', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(path)]
    storage = Storage(StorageSettings(url=f"sqlite:///{path}"), clock=SystemClock())
    with beside(*command) as child:
        assert child.stdout is not None
        assert await asyncio.to_thread(child.stdout.readline) == "alone\n"
        with pytest.raises(StorageUnavailable, match="a backup is being restored"):
            await storage.open(heads())
        with pytest.raises(StorageUnavailable, match="a backup is being restored"), holding(path):
            pass
        child.communicate("", timeout=60)
    await storage.open(heads())
    await storage.close()


def test_what_is_no_backup_changes_nothing(backup: Path, path: Path, tmp_path: Path) -> None:
    text, foreign, half = tmp_path / "text", tmp_path / "foreign.db", tmp_path / "half.db"
    text.write_text("no database " * 500)
    note(foreign, "of another program")
    half.write_bytes(backup.read_bytes()[:20_000])
    part = tmp_path / "part.db"
    part.write_bytes(backup.read_bytes())
    part.with_name("part.db-wal").write_bytes(b"more")
    newer = tmp_path / "newer.db"
    newer.write_bytes(backup.read_bytes())
    with closing(sqlite3.connect(newer)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'inbox_9999' WHERE version_num LIKE 'inbox%'")
    for file, kind, says in (
        (tmp_path / "none", MainstayError, "is not there"),
        (tmp_path, MainstayError, "no file"),
        (path, MainstayError, "is the database itself"),
        (text, StorageUnavailable, f"{text}: the file is not a database"),
        (foreign, MainstayError, "none of Mainstay's"),
        (half, StorageUnavailable, "half.db: the file is damaged"),
        (part, MainstayError, "is only a part"),
        (newer, SchemaMismatch, r"newer version of this program.*inbox_9999"),
    ):
        with pytest.raises(kind, match=says):
            restore(file, path, rooms=SCHEMA, at=AT)
        assert notes(path) == ["one", "two", "since then"]
        assert files(path.parent) <= {"mainstay.db", "mainstay.db.lock"}


def test_a_backup_of_an_older_version_is_restored_and_says_what_it_lacks(backup: Path, path: Path) -> None:
    with closing(sqlite3.connect(backup)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'turns_0001' WHERE version_num LIKE 'turns%'")
    assert restore(backup, path, rooms=SCHEMA, at=AT).lacking == (HEAD,)
    assert lacking(path, SCHEMA) == [HEAD]


_KILLED_AT = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from mainstay.schema import SCHEMA
from mainstay.storage.backup import restore
left = int(sys.argv[3])
def hook(event, args):
    global left
    if event in ("os.rename", "os.link", "os.remove") or (event == "open" and "home" in str(args[0])):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), 9)
sys.addaudithook(hook)
at = datetime(2026, 1, 1, 0, int(sys.argv[3]), tzinfo=UTC)
restore(Path(sys.argv[1]), Path(sys.argv[2]), rooms=SCHEMA, at=at)
"""


def test_a_kill_at_any_step_leaves_the_one_database_or_the_other(backup: Path, path: Path) -> None:
    seen, step = set(), 0
    while True:
        step += 1
        command = [sys.executable, "-c", _KILLED_AT, str(backup), str(path), str(step)]
        ran = subprocess.run(command, capture_output=True, timeout=60, check=False)
        seen.add(tuple(notes(path)))
        if ran.returncode == 0:
            break
        assert ran.returncode == -signal.SIGKILL, ran.stderr
        if notes(path) == ["one", "two"]:
            note(path, "since then")
    assert step > 5
    assert seen == {("one", "two"), ("one", "two", "since then")}
    assert restored(backup, path) is not None
