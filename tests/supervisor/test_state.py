"""What a daemon leaves behind is whole, whenever it dies, and holds no secret."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mainstay.errors import MainstayError
from mainstay.supervisor.model import Child, Ended, Instance, Reason, Restart, State
from mainstay.supervisor.state import FILE, LeftBehind, Lifecycle, load, save
from mainstay.testing.clock import ManualClock

RESTART = Restart(at_s=1.5, reason=Reason.MEMORY, detail="101 MiB", uptime_s=3.25)
FULL = Instance(
    state=State.STOPPING,
    child=Child(pid=7, mark="boot:1"),
    since_s=2.0,
    restarts=(RESTART, RESTART),
    stop_for=Reason.USER,
    again=True,
    ended=Ended(code=3),
    status="字",
)


def test_everything_comes_back_as_it_was(tmp_path: Path) -> None:
    kept = LeftBehind(boot="b", instances={"web:0": FULL, "web:1": Instance()})
    save(tmp_path, kept)
    assert load(tmp_path) == kept
    assert kept.instances["web:1"].due_s == math.inf
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


def test_where_nothing_was_kept_there_is_nothing(tmp_path: Path) -> None:
    assert load(tmp_path) is None


def test_a_daemon_that_died_while_it_wrote_leaves_what_was_there_before(tmp_path: Path) -> None:
    kept = LeftBehind(boot="b", instances={"web:0": FULL})
    save(tmp_path, kept)
    (tmp_path / FILE).with_suffix(".new").write_text('{"v": 1, "inst')
    assert load(tmp_path) == kept


@pytest.mark.parametrize("text", ["", "[]", '{"v": 9}', '{"v": 1, "boot": "b"}', '{"v": 1'])
def test_what_can_not_be_read_is_said_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(MainstayError, match=r"supervisor\.json can not be read: .*move it away"):
        load(tmp_path)


def test_a_file_that_was_cut_anywhere_is_said_in_one_line(tmp_path: Path) -> None:
    kept = LeftBehind(boot="b", instances={"web:0": FULL, "web:1": Instance()})
    save(tmp_path, kept)
    whole = (tmp_path / FILE).read_bytes()
    for cut in (*(whole[:length] for length in range(len(whole))), b"\0" * len(whole)):
        (tmp_path / FILE).write_bytes(cut)
        with pytest.raises(MainstayError, match=r"^[^\n]*can not be read: [^\n]*; move it away to begin anew$"):
            load(tmp_path)
    (tmp_path / FILE).write_bytes(whole)
    assert load(tmp_path) == kept


def test_something_else_in_its_place_is_said_too(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(MainstayError, match=r"can not be read: .*move it away"):
        load(tmp_path)


def test_a_line_that_was_cut_takes_no_other_with_it(tmp_path: Path) -> None:
    log = tmp_path / "lifecycle.log"
    lifecycle = Lifecycle(tmp_path, ManualClock())
    for name in ("web:0", "字:1"):
        lifecycle.write("ready", name=name)
    whole = log.read_bytes()
    for length in range(len(whole) + 1):
        log.write_bytes(whole[:length])
        before = [json.loads(line) for line in whole[:length].split(b"\n")[:-1]]
        lifecycle.write("stopped", name="web:0")
        *first, last = log.read_bytes().splitlines()
        assert [json.loads(line) for line in first[: len(before)]] == before
        assert json.loads(last)["what"] == "stopped"


def test_the_log_of_what_happened_is_only_added_to(tmp_path: Path) -> None:
    clock = ManualClock(datetime(2026, 1, 2, tzinfo=UTC))
    for _ in range(2):
        Lifecycle(tmp_path, clock).write("restart", name="web:0", reason="exit")
    lines = [json.loads(line) for line in (tmp_path / "lifecycle.log").read_text().splitlines()]
    assert lines == [{"at": "2026-01-02T00:00:00.000Z", "what": "restart", "name": "web:0", "reason": "exit"}] * 2


def test_a_log_that_can_not_be_written_is_counted_and_stops_nothing(tmp_path: Path) -> None:
    lifecycle = Lifecycle(tmp_path / "gone", ManualClock())
    lifecycle.write("restart")
    assert lifecycle.dropped == 1


def test_a_log_that_a_loss_of_power_has_cut_short_goes_on_with_a_line_of_its_own(tmp_path: Path) -> None:
    log = tmp_path / "lifecycle.log"
    Lifecycle(tmp_path, ManualClock()).write("ready", name="web:0")
    log.write_bytes(log.read_bytes()[:-10])
    Lifecycle(tmp_path, ManualClock()).write("stopped", name="web:0")
    assert [json.loads(line)["what"] for line in log.read_text().splitlines()[1:]] == ["stopped"]
