"""A child lives, and nothing of it is lost, whoever is killed: the daemon, the keeper, or both."""

import asyncio
import os
import signal
import socket
import subprocess
import sys

import pytest
from tests.supervisor.conftest import Home, gone, next_end

from mainstay.alive import is_alive
from mainstay.errors import MainstayError
from mainstay.supervisor.keeping import Keeper
from mainstay.supervisor.model import Child, Ended
from mainstay.supervisor.processes import send

pytestmark = pytest.mark.anyio

WAIT = "import signal; print('up', flush=True); signal.pause()"

# Writes a numbered line whenever it is told to go on, and ends with status 7 after the last.
LINES = """if True:
    import os, sys
    steps, each = int(sys.argv[2]), int(sys.argv[3])
    go = os.fdopen(os.open(sys.argv[1], os.O_RDWR))
    for step in range(steps):
        go.readline()
        for line in range(each):
            print(step * each + line, flush=True)
    sys.exit(7)"""

# A daemon of its own: starts one child, says which it is, and waits for its own end.
DAEMON = """if True:
    import asyncio, sys
    from pathlib import Path
    from mainstay.supervisor.keeping import Keeper
    async def main():
        home, name, output, *argv = sys.argv[1:]
        keeper = await Keeper.connect(Path(home))
        child = await keeper.spawn(name, argv, env={"MAINSTAY_INSTANCE": f"{name}@{home}"}, cwd=Path(home),
                                   stdout=Path(output), stderr=Path(output))
        print(keeper.pid, child.pid, child.mark, flush=True)
        await keeper.stay()
        print("taken over", flush=True)
    asyncio.run(main())"""


class Daemon:
    """A process that has started a child, and can be killed."""

    def __init__(self, home: Home, name: str, *argv: str) -> None:
        output = str(home.output(name))
        command = [sys.executable, "-c", DAEMON, str(home.path), name, output, *argv]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        keeper, pid, mark = self._process.stdout.readline().split()
        self.keeper = int(keeper)
        self.child = Child(pid=int(pid), mark=mark)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def last_words(self) -> str:
        return self._process.communicate(timeout=30)[0]


def go_on(home: Home) -> None:
    """Waits until somebody listens."""
    (home.path / "go").write_text("go\n")


async def test_children_outlive_a_daemon_that_is_killed_and_their_output_is_complete(home: Home) -> None:
    os.mkfifo(home.path / "go")
    lines = [sys.executable, "-I", "-S", "-c", LINES, str(home.path / "go"), "5", "10000"]
    daemon = Daemon(home, "web:0", *lines)
    await asyncio.to_thread(go_on, home)
    got = await home.said("web:0", b"9999\n")
    await asyncio.to_thread(go_on, home)
    daemon.kill()
    for _ in range(3):
        await asyncio.to_thread(go_on, home)
    await gone(daemon.child.pid)
    keeper = await home.connect()
    assert keeper.pid == daemon.keeper
    assert [(kept.name, kept.child) for kept in keeper.children] == [("web:0", daemon.child)]
    assert await next_end(keeper) == (daemon.child, Ended(code=7))
    got += home.read("web:0")
    assert got == b"".join(b"%d\n" % number for number in range(50_000))


async def test_last_words_and_exit_code_of_a_child_that_ended_while_no_daemon_was_there(home: Home) -> None:
    os.mkfifo(home.path / "go")
    daemon = Daemon(home, "web:0", "/bin/sh", "-c", "read x < go; echo last words; exit 3")
    daemon.kill()
    await asyncio.to_thread(go_on, home)
    await gone(daemon.child.pid)
    keeper = await home.connect()
    assert await next_end(keeper) == (daemon.child, Ended(code=3))
    assert home.read("web:0") == b"last words\n"


async def test_an_end_is_told_again_until_it_was_acknowledged(home: Home, keeper: Keeper) -> None:
    child = await home.spawn(keeper, "web:0", "sh", "-c", "exit 4")
    for _ in range(3):
        assert await next_end(keeper) == (child, Ended(code=4))
        keeper = await home.connect()
    assert [(kept.name, kept.ended) for kept in keeper.children] == [("web:0", Ended(code=4))]
    assert await next_end(keeper) == (child, Ended(code=4))
    keeper.acknowledge(child)
    keeper = await home.connect()
    assert keeper.children == ()


async def test_a_daemon_that_lives_learns_that_another_one_is_there(home: Home) -> None:
    daemon = Daemon(home, "web:0", sys.executable, "-c", WAIT)
    await home.connect()
    assert await asyncio.to_thread(daemon.last_words) == "taken over\n"


async def test_children_outlive_a_keeper_that_is_killed_and_are_watched_on(home: Home, keeper: Keeper) -> None:
    os.mkfifo(home.path / "go")
    lines = await home.python(keeper, "lines:0", LINES, str(home.path / "go"), "2", "1000")
    waits = await home.python(keeper, "waits:0", WAIT)
    await home.said("waits:0", b"up\n")
    async with asyncio.TaskGroup() as group:
        staying = group.create_task(keeper.stay())
        first = keeper.pid
        os.kill(first, signal.SIGKILL)
        await gone(first)
        await asyncio.to_thread(go_on, home)
        assert is_alive(lines.pid, lines.mark)
        assert is_alive(waits.pid, waits.mark)
        after = await home.spawn(keeper, "after:0", "sh", "-c", "exit 5")
        assert await next_end(keeper) == (after, Ended(code=5))
        assert keeper.pid != first
        await asyncio.to_thread(go_on, home)
        child, how = await next_end(keeper)
        assert child == lines
        assert how in (Ended(), Ended(code=7))  # that is for its new parent to know
        send(waits, signal.SIGKILL)
        child, how = await next_end(keeper)
        assert child == waits
        assert how in (Ended(), Ended(signal=signal.SIGKILL))
        # The new keeper has the output of the old one's children, too.
        keeper.close()
        await staying
    await home.connect()
    assert home.read("lines:0") == b"".join(b"%d\n" % number for number in range(2000))


async def test_a_child_may_write_although_there_is_nobody_left_to_read(home: Home, keeper: Keeper) -> None:
    os.mkfifo(home.path / "go")
    os.mkfifo(home.path / "done")
    script = "read x < go; echo one; echo two >&2; echo here > done"
    child = await home.spawn(keeper, "web:0", "sh", "-c", script)
    keeper.close()
    os.kill(keeper.pid, signal.SIGKILL)
    await gone(keeper.pid)
    await asyncio.to_thread(go_on, home)
    async with asyncio.timeout(30):
        assert await asyncio.to_thread((home.path / "done").read_text) == "here\n"
    await gone(child.pid)


async def test_what_both_have_left_behind_is_adopted(home: Home) -> None:
    daemon = Daemon(home, "web:0", sys.executable, "-c", WAIT)
    await home.said("web:0", b"up\n")
    os.kill(daemon.keeper, signal.SIGSTOP)  # so that nobody starts another one in between
    daemon.kill()
    os.kill(daemon.keeper, signal.SIGKILL)
    await gone(daemon.keeper)
    keeper = await home.connect()
    assert keeper.children == ()
    dead = Child(pid=daemon.child.pid, mark="of another run")
    await keeper.adopt("old:0", dead)
    assert await next_end(keeper) == (dead, Ended())
    await keeper.adopt("web:0", daemon.child, [home.output("web:0")])
    await keeper.adopt("web:0", daemon.child)
    assert [kept.child for kept in keeper.children if kept.ended is None] == [daemon.child]
    send(daemon.child, signal.SIGTERM)
    child, how = await next_end(keeper)
    assert child == daemon.child
    assert how in (Ended(), Ended(signal=signal.SIGTERM))
    keeper.acknowledge(child)
    keeper.acknowledge(dead)
    assert keeper.children == ()


async def test_a_connection_that_breaks_is_made_again_and_no_end_is_told_twice(home: Home, keeper: Keeper) -> None:
    told = await home.spawn(keeper, "web:0", "sh", "-c", "exit 1")
    assert await next_end(keeper) == (told, Ended(code=1))
    child = await home.python(keeper, "web:1", WAIT)
    same = keeper.pid
    assert keeper._wire is not None
    async with asyncio.TaskGroup() as group:
        staying = group.create_task(keeper.stay())
        keeper._wire.sock.shutdown(socket.SHUT_RDWR)
        send(child, signal.SIGKILL)
        # The code is known, because it was the same keeper: what was seen from here meanwhile does not count.
        assert await next_end(keeper) == (child, Ended(signal=signal.SIGKILL))
        assert keeper.pid == same
        last = await home.spawn(keeper, "web:2", "sh", "-c", "exit 2")
        assert await next_end(keeper) == (last, Ended(code=2))
        staying.cancel()


async def test_a_start_that_was_given_up_half_way_is_among_the_children(home: Home, keeper: Keeper) -> None:
    async with asyncio.TaskGroup() as group:
        starting = group.create_task(home.spawn(keeper, "web:0", "sh", "-c", "exit 6"))
        await asyncio.sleep(0)
        starting.cancel()
    child, how = await next_end(keeper)
    assert how == Ended(code=6)
    assert [(kept.name, kept.child) for kept in keeper.children] == [("web:0", child)]


async def test_what_a_keeper_that_hung_starts_after_all_is_ended(
    home: Home, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as impatient:
        impatient.setattr("mainstay.supervisor.keeping._ANSWER_S", 0.2)
        os.kill(keeper.pid, signal.SIGSTOP)
        with pytest.raises(MainstayError, match="has not answered within"):
            await home.python(keeper, "web:0", WAIT)
    os.kill(keeper.pid, signal.SIGCONT)
    second = await home.python(keeper, "web:0", "import sys; sys.exit(3)")
    assert await next_end(keeper) == (second, Ended(code=3)), "of the first nothing is told"
    async with asyncio.timeout(30):
        while {kept.child for kept in keeper.children} != {second} or home.everybody():  # noqa: ASYNC110  the world tells nobody
            await asyncio.sleep(0.01)
    assert {kept.child for kept in (await home.connect()).children} == {second}


async def test_after_the_end_nothing_can_be_started(home: Home, keeper: Keeper) -> None:
    await keeper.stop(30)
    async with asyncio.timeout(30):
        await keeper.stay()
    with pytest.raises(MainstayError, match=r"the keeper of .* is gone"):
        await home.spawn(keeper, "web:0", "true")


async def test_a_child_that_floods_its_output_waits_and_loses_nothing(home: Home, keeper: Keeper) -> None:
    program = """if True:
        import os
        data = b"".join(b"%07d\\n" % number for number in range(500_000))
        written = 0
        while written < len(data):
            written += os.write(1, data[written:written + 65536])"""
    child = await home.python(keeper, "flood", program)
    keeper = await home.connect()
    got = await home.said("flood", b"0499999\n")
    assert got == b"".join(b"%07d\n" % number for number in range(500_000))
    assert await next_end(keeper) == (child, Ended(code=0))


async def test_a_child_that_closes_its_output_runs_on(home: Home, keeper: Keeper) -> None:
    program = "import os, sys; os.close(1); os.close(2); open(sys.argv[1], 'w').close(); sys.exit(8)"
    os.mkfifo(home.path / "go")
    child = await home.python(keeper, "shut", program, str(home.path / "go"))
    await asyncio.to_thread((home.path / "go").read_text)
    assert await next_end(keeper) == (child, Ended(code=8))


async def test_a_pipe_that_was_replaced_is_held_anew_and_a_released_one_is_not_held(
    home: Home, keeper: Keeper
) -> None:
    first = await home.spawn(keeper, "web:0", "echo", "first")
    await next_end(keeper)
    keeper.acknowledge(first)
    home.output("web:0").unlink()
    await home.spawn(keeper, "web:0", "echo", "second")
    await next_end(keeper)
    assert home.read("web:0") == b"second\n"
    await home.spawn(keeper, "web:0", "echo", "third")
    await next_end(keeper)
    await keeper.release(home.output("web:0"))
    assert home.read("web:0") == b""
