"""The keeper starts what it is told to start, remembers how it ended, and is not to be confused."""

import asyncio
import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.supervisor.conftest import Home, gone, next_end

from mainstay.alive import started_mark
from mainstay.errors import MainstayError
from mainstay.supervisor.keeping import Keeper
from mainstay.supervisor.model import Ended
from mainstay.supervisor.processes import send

pytestmark = pytest.mark.anyio

WAIT = "import sys, signal; print('up', flush=True); signal.pause()"


async def test_a_child_is_what_was_asked_for_and_nothing_else(home: Home, keeper: Keeper) -> None:
    program = """if True:
        import json, os, sys
        status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
        print(json.dumps({
            "env": dict(os.environ), "cwd": os.getcwd(), "args": sys.argv[1:], "session": os.getsid(0),
            "pid": os.getpid(), "umask": os.umask(0), "fds": sorted(os.listdir("/proc/self/fd"))[:-1],
            "input": os.readlink("/proc/self/fd/0"), "blocked": int(status["SigBlk"], 16),
        }))"""
    child = await keeper.spawn(
        "web:0",
        [sys.executable, "-I", "-S", "-c", program, "one two", "三"],
        env={"A": "b=c", "EMPTY": "", "LC_CTYPE": "C.UTF-8"},
        cwd=home.path,
        stdout=home.output("web:0"),
        umask=0o027,
    )
    said = json.loads(await home.said("web:0", b"}\n"))
    assert said == {
        "env": {"A": "b=c", "EMPTY": "", "LC_CTYPE": "C.UTF-8"},
        "cwd": str(home.path),
        "args": ["one two", "三"],
        "session": child.pid,
        "pid": child.pid,
        "umask": 0o027,
        "fds": ["0", "1", "2"],
        "input": "/dev/null",
        "blocked": 0,
    }
    assert await next_end(keeper) == (child, Ended(code=0))


async def test_a_child_ignores_no_signal_whoever_has_started_the_keeper(home: Home) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        keeper = await home.connect()
    finally:
        signal.signal(signal.SIGHUP, before)
    await home.spawn(keeper, "grep", "grep", "SigIgn", "/proc/self/status")
    of_the_c_library = 0b11 << 31  # 32 and 33, which GNU make leaves ignored and nobody else can change
    assert int((await home.said("grep", b"\n")).split()[1], 16) & ~of_the_c_library == 0


async def test_the_mark_is_the_one_by_which_everybody_knows_a_process(home: Home, keeper: Keeper) -> None:
    child = await home.python(keeper, "web:0", WAIT)
    assert child.mark == started_mark(child.pid)


@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("exit 0", Ended(code=0)),
        ("exit 3", Ended(code=3)),
        ("kill -KILL $$", Ended(signal=signal.SIGKILL)),
        ("kill -TERM $$", Ended(signal=signal.SIGTERM)),
        ("kill -PIPE $$", Ended(signal=signal.SIGPIPE)),
    ],
)
async def test_how_a_child_ended_is_told(home: Home, keeper: Keeper, script: str, how: Ended) -> None:
    child = await home.spawn(keeper, "sh", "sh", "-c", script)
    assert await next_end(keeper) == (child, how)


async def test_many_at_once_are_each_told_of_once(home: Home, keeper: Keeper) -> None:
    started = await asyncio.gather(*(home.spawn(keeper, f"sh:{n}", "sh", "-c", f"exit {n}") for n in range(40)))
    ends = dict([await next_end(keeper) for _ in started])
    assert [ends[child] for child in started] == [Ended(code=n) for n in range(40)]
    for child in started:
        keeper.acknowledge(child)
    assert keeper.children == ()


async def test_what_can_not_be_run_is_said_in_one_line_and_the_keeper_goes_on(home: Home, keeper: Keeper) -> None:
    plain, no_interpreter, no_program = (home.path / name for name in ("plain", "no-interpreter", "no-program"))
    plain.write_text("#!/bin/sh\n")
    no_interpreter.write_text("#!/nowhere/python\n")
    no_program.write_text("hello\n")
    for path in (no_interpreter, no_program):
        path.chmod(0o755)
    wrong = {
        "no-such-command": "there is no command 'no-such-command': install it",
        "/no/such/command": "there is no command '/no/such/command'",
        "./plain": "may not be run",
        "/": "may not be run",
        "./no-interpreter": "what the first line of ./no-interpreter names is not there",
        "./no-program": "is no program",
    }
    for command, why in wrong.items():
        with pytest.raises(MainstayError, match=f"^app:0 can not be started: .*{why}") as caught:
            await home.spawn(keeper, "app:0", command)
        assert "\n" not in str(caught.value)
    with pytest.raises(MainstayError, match="too long together"):
        await home.spawn(keeper, "app:0", "true", "x" * (3 << 20))
    with pytest.raises(MainstayError, match="NUL"):
        await home.spawn(keeper, "app:0", "true", "\0")
    assert keeper.children == ()
    child = await home.spawn(keeper, "app:0", "true")
    assert await next_end(keeper) == (child, Ended(code=0))


async def test_a_missing_directory_and_an_output_that_is_no_pipe_are_said(home: Home, keeper: Keeper) -> None:
    with pytest.raises(
        MainstayError, match=r"^a:0 can not be started: its directory /nowhere can not be used \(No such"
    ):
        await keeper.spawn("a:0", ["true"], env={}, cwd=Path("/nowhere"))
    with pytest.raises(MainstayError, match=f"its directory {home.path}/keeper.log can not be used"):
        await keeper.spawn("a:0", ["true"], env={}, cwd=home.path / "keeper.log")
    with pytest.raises(MainstayError, match=r"its stderr can not be opened .*: see to .*keeper\.log"):
        await keeper.spawn("a:0", ["true"], env={}, cwd=home.path, stderr=home.path / "keeper.log")
    with pytest.raises(MainstayError, match="its stdout can not be opened"):
        await keeper.spawn("a:0", ["true"], env={}, cwd=home.path, stdout=Path("/nowhere/out"))


async def test_without_free_file_descriptors_a_start_fails_and_the_next_one_does_not(
    home: Home, keeper: Keeper
) -> None:
    first = await home.python(keeper, "first", WAIT)
    before = resource.prlimit(keeper.pid, resource.RLIMIT_NOFILE)
    for limit in range(_open_files(keeper.pid) + 1, 6, -1):
        resource.prlimit(keeper.pid, resource.RLIMIT_NOFILE, (limit, before[1]))
        with pytest.raises(MainstayError, match="Too many open files"):
            await home.spawn(keeper, "second", "true")
    stranger = socket.socket(socket.AF_UNIX)
    stranger.connect(f"/proc/self/fd/{_directory(home)}/keeper.sock")
    with pytest.raises(MainstayError, match="Too many open files"):
        await home.spawn(keeper, "second", "true")
    resource.prlimit(keeper.pid, resource.RLIMIT_NOFILE, before)
    stranger.close()
    second = await home.spawn(keeper, "second", "true")
    assert await next_end(keeper) == (second, Ended(code=0))
    assert started_mark(first.pid) == first.mark


async def test_a_server_gets_its_sockets_where_it_looks_for_them(home: Home, keeper: Keeper) -> None:
    program = """if True:
        import os, socket
        assert (os.environ["LISTEN_FDS"], os.environ["LISTEN_PID"]) == ("2", str(os.getpid()))
        for fd in (3, 4):
            connection, _ = socket.socket(fileno=fd).accept()
            connection.sendall(b"from %d" % fd)
            connection.close()"""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = [each.getsockname()[1] for each in (one, two)]
        await keeper.hold("web", [one.fileno(), two.fileno()])
    # This daemon has none of them any more: only the keeper listens.
    given = await keeper.give("web")
    child = await keeper.spawn(
        "web:0", [sys.executable, "-I", "-c", program], env={}, cwd=home.path, stderr=home.output("e"), listen=given
    )
    for fd in given:
        os.close(fd)
    for fd, port in zip((3, 4), ports, strict=True):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b"from %d" % fd
        writer.close()
        await writer.wait_closed()
    assert await next_end(keeper) == (child, Ended(code=0))


async def test_what_is_held_is_there_for_the_next_daemon_until_it_is_dropped(home: Home, keeper: Keeper) -> None:
    reading, writing = os.pipe()
    await keeper.hold("pipe", [writing])
    os.close(writing)
    keeper.close()
    later = await home.connect()
    assert await later.held() == ("pipe",)
    (given,) = await later.give("pipe")
    os.write(given, b"still open")
    os.close(given)
    assert os.read(reading, 100) == b"still open"
    await later.drop("pipe")
    assert await later.held() == ()
    assert await later.give("pipe") == []
    assert os.read(reading, 100) == b""
    os.close(reading)


async def test_orphans_are_reaped_without_a_word(home: Home, keeper: Keeper) -> None:
    program = """if True:
        import os, time
        if os.fork() == 0:
            if os.fork() == 0:
                time.sleep(0)
                os._exit(5)
            os._exit(0)
        os.wait()
        print("forked", flush=True)"""
    child = await home.python(keeper, "forks", program)
    assert await next_end(keeper) == (child, Ended(code=0))
    keeper.acknowledge(child)
    # It ends only when it has nobody left, zombies and orphans included.
    await keeper.stop(30)
    await gone(keeper.pid)


async def test_a_keeper_that_has_children_does_not_end_and_says_who_they_are(home: Home, keeper: Keeper) -> None:
    child = await home.python(keeper, "web:0", WAIT)
    with pytest.raises(MainstayError, match=rf"children left: web:0 \({child.pid}\)"):
        await keeper.stop(0.0)
    with pytest.raises(MainstayError, match="told to end"):
        await home.spawn(keeper, "web:1", "true")
    assert send(child, signal.SIGKILL)
    await gone(keeper.pid)


async def test_a_keeper_that_is_asked_to_end_by_a_signal_stays_with_its_children(
    home: Home, keeper: Keeper
) -> None:
    child = await home.python(keeper, "web:0", WAIT)
    os.kill(keeper.pid, signal.SIGHUP)
    os.kill(keeper.pid, signal.SIGINT)
    os.kill(keeper.pid, signal.SIGTERM)
    assert await keeper.held() == ()
    send(child, signal.SIGKILL)
    assert await next_end(keeper) == (child, Ended(signal=signal.SIGKILL))
    await gone(keeper.pid)


async def test_a_keeper_that_nobody_needs_goes(home: Home, keeper: Keeper) -> None:
    child = await home.spawn(keeper, "web:0", "true")
    await next_end(keeper)
    keeper.acknowledge(child)
    await keeper.release(home.output("web:0"))
    keeper.close()
    await gone(keeper.pid)
    assert not (home.path / "keeper.sock").exists()


async def test_two_daemons_at_once_start_one_keeper_and_one_of_them_has_it(home: Home) -> None:
    tried = await asyncio.gather(*(home.connect() for _ in range(4)), return_exceptions=True)
    made = [each for each in tried if isinstance(each, Keeper)]
    assert {str(each).partition(":")[0] for each in tried if not isinstance(each, Keeper)} <= {
        f"another daemon has taken over {home.path}"
    }
    assert len({each.pid for each in made}) == 1
    answers = await asyncio.gather(*(each.held() for each in made), return_exceptions=True)
    assert answers.count(()) == 1
    assert [each.connected for each in made] == [answer == () for answer in answers]


async def test_a_new_daemon_takes_over_and_the_old_one_is_told(home: Home, keeper: Keeper) -> None:
    child = await home.python(keeper, "web:0", WAIT)
    new = await home.connect()
    async with asyncio.timeout(30):
        await keeper.stay()
    with pytest.raises(MainstayError, match="another daemon has taken over"):
        await home.spawn(keeper, "web:1", "true")
    assert [(kept.name, kept.child, kept.ended) for kept in new.children] == [("web:0", child, None)]


GARBAGE = [
    b"\0",
    b"GET / HTTP/1.1\r\n\r\n",
    b"\xff" * 1000,
    b"\0\0\0\0",
    b"\0\0\0\x05hello",
    b"\0\0\0\x07spawn\x001",
    b"\0\0\0\x09hello\x001\x001\0\0\0\x06stop\x001"[:-3],
    b"\x00\x80\x00\x01" + b"x" * 100_000,
]


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_garbage_on_the_socket_changes_nothing(home: Home, keeper: Keeper, garbage: bytes) -> None:
    child = await home.python(keeper, "web:0", WAIT)
    strangers = [socket.socket(socket.AF_UNIX) for _ in range(20)]
    for each in strangers:
        each.connect(f"/proc/self/fd/{_directory(home)}/keeper.sock")
        each.settimeout(0.2)
        try:
            each.sendall(garbage)
        except OSError:
            continue
    for each in strangers:
        each.close()
    if b"hello\x001\x001" in garbage:  # from then on it was the daemon, until it was gone
        async with asyncio.timeout(30):
            await keeper.stay()
        keeper = await home.connect()
    assert [kept.child for kept in keeper.children] == [child]
    send(child, signal.SIGKILL)
    assert await next_end(keeper) == (child, Ended(signal=signal.SIGKILL))


DAEMON_GARBAGE = [
    b"spawn\x002\0web:1",
    b"spawn\x002\0n\0/\0\0\x0022\x000\x001\0true\0NO-EQUALS",
    b"spawn\x002\0n\0/\0\0\x0099\x000\x001\0true",
    b"spawn\x002\0n\0/\0\0\x0022\x000\x000",
    b"hold\x002\0name\0many",
    b"list\x002\0more\0than\0asked",
    b"acknowledge\x002\0x\0y",
]


@pytest.mark.parametrize("garbage", DAEMON_GARBAGE)
async def test_a_daemon_that_talks_nonsense_is_left_and_its_children_are_not(home: Home, garbage: bytes) -> None:
    first = await home.connect()
    child = await home.python(first, "web:0", WAIT)
    mad = socket.socket(socket.AF_UNIX)
    mad.connect(f"/proc/self/fd/{_directory(home)}/keeper.sock")
    for body in (b"hello\x001\x001", garbage):
        mad.sendall(len(body).to_bytes(4, "big") + body)
    mad.settimeout(30)
    while mad.recv(1000):
        pass
    mad.close()
    keeper = await home.connect()
    assert [kept.child for kept in keeper.children] == [child]
    (home.path / "keeper.log").write_text("")  # what it thought of it


async def test_what_a_later_daemon_may_ask_is_declined(home: Home, keeper: Keeper) -> None:
    with pytest.raises(MainstayError, match="Function not implemented"):
        await keeper._ask(b"dance")
    assert await keeper.held() == ()


async def test_the_socket_is_for_this_user_only(home: Home, keeper: Keeper) -> None:
    path = home.path / "keeper.sock"
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    home.path.chmod(0o755)
    path.chmod(0o777)
    program = """if True:
        import os, socket, sys
        os.fchdir(int(sys.argv[1]))
        os.setresuid(65534, 65534, 65534)
        stranger = socket.socket(socket.AF_UNIX)
        stranger.connect("keeper.sock")
        try:
            stranger.sendall(b"\\0\\0\\0\\x09hello\\x001\\x001")
            print(stranger.recv(100))
        except (BrokenPipeError, ConnectionResetError):
            print(b"")"""
    directory = _directory(home)
    answer = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-I", "-c", program, str(directory)],
        pass_fds=[directory],
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert answer.stdout == b"b''\n"
    assert await keeper.held() == ()


async def test_a_home_with_a_long_path_is_as_good_as_any(tmp_path: Path) -> None:
    path = tmp_path.joinpath(*["long" * 10] * 5)
    path.mkdir(parents=True)
    keeper = await Keeper.connect(path)
    await keeper.stop(30)
    keeper.close()


async def test_a_home_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(MainstayError, match=r"nowhere can not be reached or started: No such file or directory"):
        await Keeper.connect(tmp_path / "nowhere")


def _directory(home: Home) -> int:
    """Never closed: a handful, in a process that ends after the tests."""
    return os.open(home.path, os.O_PATH | os.O_DIRECTORY)


def _open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
