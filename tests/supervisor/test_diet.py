"""The daemon has nothing in it that it does not need, and what is secret passes through memory only."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.supervisor.project import COUNTING, DEADLINE_S, Supervised, python

import mainstay

HEAVY = frozenset(
    {
        "ssl",
        "_ssl",
        "_hashlib",
        "hmac",
        "secrets",
        "random",
        "ctypes",
        "decimal",
        "difflib",
        "gzip",
        "zlib",
        "tomllib",
    }
    | {
        "argparse",
        "email",
        "http",
        "urllib.request",
        "xml",
        "sqlite3",
        "unittest",
        "multiprocessing",
        "site",
        "orjson",
    }
)
SHOWING = """
import json, sys
[source] = sys.argv[1:]
sys.path.append(source)
sys.modules["ssl"] = None
import asyncio
del sys.modules["ssl"]
import mainstay.supervisor.life, mainstay.supervisor.planning, mainstay.supervisor.updating
print(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Supervised]:
    made = Supervised(tmp_path)
    yield made
    made.run("kill", code=None)


def test_the_daemon_imports_neither_the_configuration_nor_what_is_large() -> None:
    source = str(Path(mainstay.__file__).parent.parent)
    words = [sys.executable, "-I", "-S", "-c", SHOWING, source]
    shown = subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE_S, check=True).stdout
    modules = set(json.loads(shown))
    rooms = {name for name in modules if name.startswith("mainstay.") and name.count(".") == 1}
    ground = {"alive", "clock", "errors", "notify", "settings", "supervisor", "units"}
    assert rooms <= {f"mainstay.{name}" for name in ground}
    assert not {name for name in modules if name in HEAVY}


def test_what_is_secret_gets_to_the_child_and_into_no_file_argument_or_environment(
    home: Supervised,
) -> None:
    (home.directory / ".env").write_text("DEEP=a-well-kept-secret\n")
    (home.directory / ".env").chmod(0o600)
    (home.directory / "mainstay.toml").write_text(
        f'[apps.web]\ncommand = {json.dumps(python(COUNTING)["command"])}\nenv = {{ TOKEN = "env:DEEP" }}\n'
    )
    home.run("start")
    home.run("restart")
    home.run("update")
    child = home.instances()["web:0"]["pid"]
    assert b"TOKEN=a-well-kept-secret" in Path(f"/proc/{child}/environ").read_bytes()
    pids = {home.daemon(), int([line for line in home.lifecycle() if line["what"] == "daemon"][-1]["keeper"])}
    told = [Path(f"/proc/{pid}/{name}").read_bytes() for pid in pids for name in ("cmdline", "environ")]
    kept = [path.read_bytes() for path in (home.directory / ".mainstay").rglob("*") if path.is_file()]
    assert not [text for text in told + kept if b"a-well-kept-secret" in text]


def test_what_was_changed_in_the_configuration_is_read_when_it_is_used_or_told_if_wrong(
    home: Supervised,
) -> None:
    home.configure(web=python(COUNTING))
    home.run("start")
    home.configure(web=python(COUNTING), more=python(COUNTING))
    assert set(home.instances()) == {"web:0"}
    home.run("start")
    assert set(home.instances()) == {"web:0", "more:0"}
    (home.directory / "mainstay.toml").unlink()
    (home.directory / "mainstay.toml").write_text("[apps.web]\ncommand = 3\n[apps.more]\nnonsense = 1\n")
    refused = home.run("restart", code=2).stderr
    assert refused.startswith("mainstay: mainstay.toml:2: apps.web.command: ")
    assert "\nmainstay: mainstay.toml:4: apps.more.nonsense: unknown key" in refused
