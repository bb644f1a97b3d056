"""The live view is drawn on a real terminal, which is as it was when the view is over."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.emulator import Terminal
from tests.supervisor.project import Supervised, kill

from mainstay.cli.monit.drawing import frame, spark
from mainstay.cli.monit.machine import heard, missed, pressed, settled
from mainstay.cli.monit.model import KEPT, Order, Quit, Seen, View
from mainstay.cli.terminal import width

TALKING = ["sh", "-c", "while :; do echo 你好; sleep 0.2; done"]
Opened = Callable[..., Terminal]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Supervised]:
    made = Supervised(tmp_path)
    yield made
    made.run("kill", code=None)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    made: list[Terminal] = []

    def start(**size: int) -> Terminal:
        env = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
        made.append(Terminal([sys.executable, "-m", "mainstay", "monit"], cwd=tmp_path, env=env, **size))
        return made[-1]

    yield start
    for each in made:
        each.close()


def test_it_draws_obeys_keys_and_gives_the_terminal_back(home: Supervised, opened: Opened) -> None:
    home.configure(web={"command": TALKING, "instances": 2}, other={"command": ["sleep", "600"]})
    home.run("start")
    terminal = opened()
    terminal.sees("> web:0")
    assert not terminal.is_restored
    terminal.sees("out 你好")
    terminal.press("j")
    terminal.sees("> web:1")
    terminal.press("\x1b[A")
    terminal.sees("> web:0")
    terminal.press("l")
    rows = terminal.until(lambda rows: not any("web:1" in row for row in rows))
    assert any("log of web:0" in row for row in rows)
    terminal.press("l")
    terminal.sees("  web:1")
    terminal.press("s")
    terminal.sees("stop web:0? y/n")
    terminal.press("n")
    terminal.sees("web:0 goes on as it is")
    terminal.press("sy")
    terminal.until(lambda rows: any("> web:0" in row and "stopped" in row for row in rows))
    assert home.instances()["web:0"]["state"] == "stopped"
    terminal.press("sy")
    terminal.until(lambda rows: any("> web:0" in row and "ready" in row for row in rows))
    before = home.instances()["web:0"]
    terminal.press("r")
    after = home.until(lambda now: now["web:0"]["restarts"] == before["restarts"] + 1)
    assert after["web:0"]["pid"] != before["pid"]
    terminal.press("q")
    assert terminal.wait() == 0
    assert terminal.is_restored


def test_it_waits_for_a_supervisor_that_died_and_follows_the_size_of_the_terminal(
    home: Supervised, opened: Opened
) -> None:
    home.configure(web={"command": TALKING})
    home.run("start")
    terminal = opened()
    terminal.sees("> web:0")
    kill(home.daemon())
    terminal.sees("supervisor not running, waiting")
    home.run("start")
    terminal.until(lambda rows: not any("waiting" in row for row in rows))
    terminal.resize(40, 8)
    terminal.process.send_signal(signal.SIGWINCH)
    rows = terminal.sees("> web:0")
    assert len(rows) == 8
    terminal.process.send_signal(signal.SIGTSTP)
    terminal.stopped()
    assert terminal.is_restored
    terminal.process.send_signal(signal.SIGCONT)
    terminal.until(lambda _: not terminal.is_restored)
    terminal.sees("> web:0")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.wait() == 128 + signal.SIGTERM
    assert terminal.is_restored


def test_a_crash_leaves_a_terminal_that_can_be_typed_on(tmp_path: Path, opened: Opened) -> None:
    """Of a supervisor that talks nonsense."""
    (tmp_path / ".mainstay").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / ".mainstay" / "supervisor.sock"))
        listener.listen()

        def answer() -> None:
            talk, _ = listener.accept()
            with talk, talk.makefile("rwb") as file:
                file.readline()
                file.write(b'{"ok": [{"name": 7}]}\n')

        talking = threading.Thread(target=answer)
        talking.start()
        terminal = opened()
        assert terminal.wait() == 1
        talking.join()
    assert any("Error" in row for row in terminal.screen.rows)
    assert terminal.is_restored


def test_without_a_terminal_it_says_what_to_use(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mainstay", "monit"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "mainstay list --json" in done.stderr


# What is drawn.


def instance(name: str, **more: object) -> dict[str, Any]:
    return {
        "name": name,
        "state": "ready",
        "pid": 4711,
        "uptime_s": 93784.0,
        "restarts": 3,
        "cpu_percent": 12.34,
        "memory_bytes": 50_000_000,
        "processes": 1,
        "detail": "",
        "status": "",
        "ended": None,
        "output": [],
        **more,
    }


SEEN = heard(
    Seen(),
    [
        instance("web:0", detail="目标模型限流，稍后再试" * 5),
        instance("worker:0", state="errored", pid=None, cpu_percent=None, memory_bytes=None, status="好"),
        *(instance(f"many:{number}") for number in range(40)),
    ],
)
LOG = ["out 一二三四五六七八九十" * 20, "err plain", "out e\u0301 combining \u200b and \ufe0f", "out 🙂" * 40]


@pytest.mark.parametrize("columns", [1, 2, 9, 20, 40, 79, 80, 200])
def test_every_row_is_as_wide_as_the_terminal_whatever_is_in_it(columns: int) -> None:
    views = [View(selected=name, log_only=log_only) for name in ("web:0", "many:39") for log_only in (False, True)]
    for view, rows in itertools.product(views, (1, 2, 4, 5, 8, 13, 24, 60)):
        drawn = frame(view, SEEN, LOG, columns=columns, rows=rows, colours=False)
        assert [width(row) for row in drawn] == [columns] * rows


@pytest.mark.parametrize("rows", [5, 8, 24, 60])
def test_what_is_selected_is_seen_however_many_there_are(rows: int) -> None:
    for name in SEEN.names:
        drawn = frame(View(selected=name), SEEN, LOG, columns=80, rows=rows, colours=False)
        assert [row.split()[1] for row in drawn if row.startswith("> ")] == [name]


def test_columns_stay_below_their_heads_beside_wide_characters() -> None:
    drawn = frame(View(selected="web:0"), SEEN, (), columns=100, rows=24, colours=False)
    head, first, second = drawn[1:4]
    at = head.index("REASON")
    assert first[at:].startswith("目标")
    assert first.rstrip().endswith("…")
    assert second[at:].startswith("好")
    assert first[: head.index("STATE")].split() == [">", "web:0"]


def test_where_there_is_no_colour_there_is_none() -> None:
    plain = frame(View(selected="web:0"), SEEN, LOG, columns=80, rows=24, colours=False)
    assert not any("\x1b" in row for row in plain)
    coloured = frame(View(selected="web:0"), SEEN, LOG, columns=80, rows=24)
    assert any("\x1b[31merrored" in row for row in coloured)


def test_bars_are_as_high_as_the_values() -> None:
    assert spark([0, 50, 100, 1000], 10, top=100, bars="0123456789") == "0499"
    assert spark([1, 2, 3], 2, top=3, bars="0123") == "23"
    assert spark([1], 5, top=0, bars="01") == "0"


def test_what_a_lost_log_says_is_seen() -> None:
    log = {
        "stream": "out",
        "path": "/x",
        "trouble": "No space left on device",
        "dropped_bytes": 9,
        "dropped_lines": 4,
    }
    seen = heard(Seen(), [instance("web:0", output=[log])])
    drawn = "\n".join(frame(View(selected="web:0"), seen, (), columns=200, rows=24, colours=False))
    assert "the log is not written: No space left on device; 4 lines of the log were lost" in drawn


# What keys do.


def test_nothing_is_stopped_before_somebody_has_confirmed_it() -> None:
    view = View(selected="web:0")
    asked, order = pressed(view, "s", SEEN)
    assert order is None
    for key in ("n", "q", "s", "escape", "enter"):
        after, order = pressed(asked, key, SEEN)
        assert (after.asked, order) == (None, None)
    assert pressed(asked, "y", SEEN)[1] == Order(do="stop", name="web:0")
    asked, _ = pressed(View(selected="worker:0"), "s", SEEN)
    assert pressed(asked, "y", SEEN)[1] == Order(do="start", name="worker:0")


def test_while_nobody_answers_nobody_is_asked_and_what_was_known_is_shown() -> None:
    seen = missed(SEEN, "supervisor not running, waiting")
    for key in ("r", "s"):
        after, order = pressed(View(selected="web:0"), key, seen)
        assert (after.asked, order) == (None, None)
    drawn = frame(View(selected="web:0"), seen, (), columns=80, rows=24, colours=False)
    assert drawn[-1].startswith("supervisor not running, waiting")
    assert any("> web:0" in row for row in drawn)


def test_the_selection_stays_on_what_there_is() -> None:
    view = View(selected="web:0")
    assert pressed(view, "up", SEEN)[0].selected == "web:0"
    assert pressed(view, "G", SEEN)[0].selected == "many:39"
    assert pressed(View(selected="many:39"), "j", SEEN)[0].selected == "many:39"
    gone = heard(SEEN, [instance("worker:0")])
    asked, _ = pressed(view, "s", SEEN)
    after = settled(asked, gone)
    assert (after.selected, after.asked) == ("worker:0", None)
    assert settled(View(selected="web:0", log_only=True), Seen()) == View()
    assert pressed(View(), "q", Seen())[1] == Quit()


def test_what_is_remembered_is_bounded() -> None:
    seen = Seen()
    for number in range(3 * KEPT):
        seen = heard(seen, [instance("web:0", cpu_percent=float(number))])
    assert len(seen.cpu["web:0"]) == KEPT
    assert seen.cpu["web:0"][-1] == 3 * KEPT - 1
    assert json.dumps(seen.memory["web:0"])
