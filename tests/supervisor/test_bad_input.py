"""What makes no sense has a state or one line that says so, and whoever runs beside it goes on.

One supervisor for all of it: the bystander has to live through everything that is done here.
"""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.supervisor.project import Supervised, gone, kill, supervised, until

COUNTING: Final = """
import itertools, time
for number in itertools.count():
    print(number, flush=True)
    time.sleep(0.005)
"""
TAKEN: Final = """
import socket, sys
try:
    socket.socket().bind(("127.0.0.1", int(sys.argv[1])))
except OSError as error:
    sys.exit(f"port {sys.argv[1]}: {error.strerror}")
"""
AWAY: Final = """
import os, time
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
print(os.getpid(), flush=True)
time.sleep(600)
"""
AWAY_WITHOUT_A_NAME: Final = """
import os, sys, time
if os.fork():
    time.sleep(600)
os.setsid()
if os.fork():
    os._exit(0)
print(os.getpid(), flush=True)
os.execve("/bin/sleep", ["sleep", "600"], {})
"""
STUBBORN: Final = """
import signal, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""
CLOSING: Final = """
import os, pathlib, sys, time
print("the last word", flush=True)
os.close(1)
os.close(2)
pathlib.Path(sys.argv[1]).touch()
time.sleep(600)
"""
FLOODING: Final = """
import os
while True:
    os.write(1, b"y\\n" * 4096)
"""
HUGE: Final = """
import os, pathlib, sys, time
for _ in range(200):
    left = bytes(1 << 20)
    while left:
        left = left[os.write(1, left):]
pathlib.Path(sys.argv[1]).touch()
time.sleep(600)
"""
MIB: Final = 1 << 20


def python(code: str, *arguments: object, **settings: object) -> dict[str, object]:
    return {"command": [sys.executable, "-I", "-S", "-c", code, *map(str, arguments)], **settings}


class World(Supervised):
    """A project in which one program behaves.

    Attributes:
        bystander: its pid.
    """

    bystander: int

    def unharmed(self) -> None:
        """The bystander runs as it ran, and what it says arrives."""
        now = self.instances()["bystander:0"]
        assert (now["pid"], now["restarts"], now["state"]) == (self.bystander, 0, "ready")
        seen = len(self.log("bystander"))
        until(lambda: len(self.log("bystander")) > seen)

    def complaint(self, *words: str, code: int) -> str:
        """The one line that is said."""
        done = self.run(*words, code=code)
        [line] = done.stderr.splitlines()
        assert line.startswith("mainstay: ")
        return line


@pytest.fixture(scope="module")
def taken() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, taken: int) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("bad"))
    with supervised(world):
        world.add("bystander", **python(COUNTING))
        world.run("start")
        world.bystander = world.instances()["bystander:0"]["pid"]
        script, text, plain = (world.directory / name for name in ("script", "text", "plain"))
        script.write_text("#!/no/such/interpreter\n")
        text.write_bytes(b"\0just words\n")
        plain.write_text("")
        for path in (script, text):
            path.chmod(0o755)
        for name, settings in {
            "no-program": {"command": "no-such-program"},
            "no-interpreter": {"command": str(script)},
            "no-text": {"command": str(text)},
            "no-permission": {"command": str(plain)},
            "a-directory": {"command": str(world.directory)},
            "no-cwd": {"command": "true", "cwd": "nowhere"},
            "cwd-file": {"command": "true", "cwd": "plain"},
            "no-home": {"command": "true", "cwd": "~no-such-user/app"},
            "too-long": {"command": ["true", "x" * 200_000]},
            "nul": {"command": ["true", "\0"]},
            "taken-port": python(TAKEN, taken),
        }.items():
            world.add(name, **{"max_restarts": 0, **settings})
        world.run("start", code=1)
        yield world


@pytest.mark.parametrize(
    ("app", "detail"),
    [
        ("no-program", "there is no command 'no-such-program': install it"),
        ("no-interpreter", "what the first line of .*script names is not there"),
        ("no-text", "is no program: a script has to begin with #!"),
        ("no-permission", "may not be run: is it a file, and executable"),
        ("a-directory", "may not be run: is it a file, and executable"),
        ("no-cwd", r"its directory .*nowhere can not be used \(No such file or directory\): make it"),
        ("cwd-file", r"its directory .*plain can not be used \(Not a directory\)"),
        ("no-home", "nobody knows where ~no-such-user/app is: write the whole path"),
        ("too-long", "its arguments and its environment are too long together"),
        ("nul", "NUL"),
        ("taken-port", "exit code 1"),
    ],
)
def test_what_can_not_run_is_given_up_with_the_reason(world: World, app: str, detail: str) -> None:
    found = world.instances()[f"{app}:0"]
    assert (found["state"], found["pid"]) == ("errored", None)
    assert re.search(detail, found["detail"])
    assert "\n" not in found["detail"]
    assert not world.everybody(f"{app}:0")
    world.unharmed()


def test_what_a_program_said_about_its_port_is_in_its_log(world: World, taken: int) -> None:
    assert world.run("logs", "taken-port").stdout == f"taken-port:0 err | port {taken}: Address already in use\n"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('[apps.bystander]\ncommand = "true"\n', r"mainstay.toml:\d+: is not valid TOML: Cannot declare"),
        (
            '[apps.x]\ncommand = "true"\ncommand = "false"\n',
            r"mainstay.toml:\d+: is not valid TOML: Cannot overwrite",
        ),
        ("[apps.x]\ninstances = 3\n", r"mainstay.toml:\d+: apps.x.command: is missing"),
        ('[apps.x]\ncommand = ""\n', r"mainstay.toml:\d+: apps.x.command: '' is not a command"),
        ('[apps.x]\ncommand = "true"\ninstances = 0\n', r"mainstay.toml:\d+: apps.x.instances: 0 is no number"),
        (
            '[apps.x]\ncommand = "true"\nmemory_limit = "1 potato"\n',
            r"mainstay.toml:\d+: apps.x.memory_limit: '1 potato'",
        ),
        (
            '[apps.x]\ncommand = "true"\nout_file = "/"\n',
            r"mainstay.toml:\d+: apps.x.out_file: '/' is not the name",
        ),
        ('[apps."x:0"]\ncommand = "true"\n', r"mainstay.toml:\d+: \[apps.'x:0'\]: is not a name"),
    ],
)
def test_a_mistake_in_the_configuration_is_one_line_with_its_place(world: World, more: str, said: str) -> None:
    file = world.directory / "mainstay.toml"
    before = file.read_text()
    file.write_text(before + more)
    try:
        assert re.match(f"mainstay: {said}", world.complaint("start", code=2))
    finally:
        file.write_text(before)
    world.unharmed()


def test_one_that_does_not_want_to_end_is_ended(world: World) -> None:
    world.add("stubborn", **python(STUBBORN, stop_timeout="200ms"))
    world.run("start", "stubborn")
    until(lambda: world.log("stubborn"))
    world.run("stop", "stubborn")
    found = world.instances()["stubborn:0"]
    assert (found["state"], found["ended"]) == ("stopped", "killed by SIGKILL")
    assert not world.everybody("stubborn:0")
    world.unharmed()


def test_one_that_forks_away_is_taken_for_one_that_has_ended_and_what_it_forked_ends(world: World) -> None:
    world.add("away", **python(AWAY, max_restarts=1))
    world.run("start", "--no-wait", "away")
    found = world.until(lambda now: now["away:0"]["state"] == "errored")["away:0"]
    assert (found["ended"], found["restarts"]) == ("exit code 0", 1)
    until(lambda: not world.everybody("away:0"))
    world.unharmed()


def test_one_that_closes_its_output_runs_on(world: World) -> None:
    closed = world.directory / "closed"
    world.add("closing", **python(CLOSING, closed))
    world.run("start", "closing")
    until(closed.exists)
    until(lambda: world.log("closing") == "the last word\n")
    found = world.instances()["closing:0"]
    assert (found["state"], found["restarts"]) == ("ready", 0)
    closed.unlink()
    world.run("restart", "closing")
    until(closed.exists)
    until(lambda: world.log("closing") == "the last word\n" * 2)
    world.unharmed()


def peak_bytes(pid: int) -> int:
    """The most memory that the process ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


def test_a_flood_of_output_takes_little_memory_and_the_disk_that_was_allowed(world: World) -> None:
    before = peak_bytes(world.daemon())
    settings = {"log_max_size": "1MiB", "log_keep": 2, "log_compress": False}
    world.add("flooding", **python(FLOODING, **settings))
    world.run("start", "flooding")
    logs = world.home / "logs"
    seen: set[str] = set()

    def some_were_deleted() -> bool:
        seen.update(each.name for each in logs.iterdir() if each.name.startswith("flooding-0.out"))
        return len(seen) > 5

    until(some_were_deleted)
    world.unharmed()
    world.run("stop", "flooding")
    written = [each.stat().st_size for each in logs.iterdir() if each.name.startswith("flooding-0.out")]
    assert len(written) <= 3
    assert max(written) <= MIB
    assert peak_bytes(world.daemon()) < before + 20 * MIB


def test_a_line_without_an_end_takes_little_memory(world: World) -> None:
    before, done = peak_bytes(world.daemon()), world.directory / "done"
    world.add("huge", **python(HUGE, done))
    world.run("start", "huge")
    until(done.exists)
    until(lambda: sum(each.stat().st_size for each in (world.home / "logs").glob("huge-0.out*")) == 200 * MIB)
    assert peak_bytes(world.daemon()) < before + 20 * MIB
    assert "bytes more" in world.run("logs", "huge", "-n", "1").stdout
    world.unharmed()
    world.run("stop", "huge")


def test_a_state_that_was_cut_short_is_named_and_without_it_all_that_runs_is_found_again(world: World) -> None:
    state = world.home / "supervisor.json"
    kill(world.daemon())
    state.write_bytes(state.read_bytes()[:-100])
    said = world.complaint("start", "bystander", code=1)
    assert f"{state} can not be read: " in said
    assert "move it away to begin anew" in said
    assert not gone(world.bystander)
    state.rename(state.with_suffix(".broken"))
    world.run("start", "bystander")
    world.unharmed()


@pytest.mark.parametrize("what", ["a socket of nobody", "a file"])
def test_what_stands_where_the_socket_should_be_keeps_nobody_from_starting(world: World, what: str) -> None:
    path = world.home / "supervisor.sock"
    kill(world.daemon())
    path.unlink()
    if what == "a file":
        path.write_text("")
    else:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
    assert "has died" in world.complaint("list", code=3)
    world.run("start", "bystander")
    world.unharmed()


AS_ANOTHER: Final = """
import os, sys
from mainstay.cli.main import main
assert main(sys.argv[1:]) == 0  # which loads all that the other one may not be able to read
os.setuid(65534)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can try to be somebody else")
@pytest.mark.parametrize("verb", ["list", "start"])
def test_another_user_is_told_whose_supervisor_it_is(world: World, verb: str) -> None:
    closed = [each for each in (world.home, *world.home.parents) if not each.stat().st_mode & 0o001]
    before = {each: each.stat().st_mode for each in closed}
    try:
        for each in closed:
            each.chmod(0o755)
        asked = [sys.executable, "-c", AS_ANOTHER, verb, *["bystander"] * (verb == "start")]
        done = subprocess.run(asked, cwd=world.directory, capture_output=True, text=True, check=False)
    finally:
        for each, mode in before.items():
            each.chmod(mode)
    said = f"mainstay: {world.home}/supervisor.sock is another user's: ask its supervisor as that user\n"
    assert (done.returncode, done.stderr) == (1, said)
    world.unharmed()


def test_the_end_of_the_supervisor_is_also_that_of_one_that_has_hidden_from_it(tmp_path: Path) -> None:
    home = Supervised(tmp_path)
    with supervised(home):
        home.configure(hiding=python(AWAY_WITHOUT_A_NAME))
        home.run("start")
        until(lambda: home.log("hiding").endswith("\n"))
        hidden = int(home.log("hiding"))
        until(lambda: Path(f"/proc/{hidden}/environ").read_bytes() == b"")
        home.run("kill")
        assert gone(hidden)
