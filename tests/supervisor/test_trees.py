"""Whoever belongs to a child is known, counted and ended, wherever it has gone; nobody else is."""

import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from tests.supervisor.conftest import Home, gone, next_end

from mainstay.alive import is_alive, started_mark
from mainstay.errors import MainstayError
from mainstay.supervisor.keeping import Keeper
from mainstay.supervisor.model import Child, Ended
from mainstay.supervisor.processes import end, send, send_group, strays
from mainstay.supervisor.trees import Trees

pytestmark = pytest.mark.anyio

# Forks as it is told to, says the pids, and waits. "s": in a session of its own; "d": its parent is gone; "c": with
# another environment; "o": with the marker of somebody else.
FAMILY = """if True:
    import os, signal, sys
    def grandchild(how):
        up, done = os.pipe()
        if os.fork() == 0:
            if "s" in how:
                os.setsid()
            if "d" not in how or os.fork() == 0:
                own = {} if "c" in how else dict(os.environ)
                if "o" in how:
                    own["MAINSTAY_INSTANCE"] = "another"
                say = "import os, signal, sys; os.write(int(sys.argv[1]), b'%d' % os.getpid()); signal.pause()"
                os.set_inheritable(done, True)
                os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", say, str(done)], own)
            os._exit(0)
        os.close(done)
        pid = os.read(up, 20).decode()
        if "d" in how:
            os.wait()
        return pid
    print(*[grandchild(how) for how in sys.argv[1:]], "up", flush=True)
    signal.pause()"""


@pytest.fixture
def trees(keeper: Keeper) -> Trees:
    trees = Trees()
    trees.spared.add(keeper.pid)
    return trees


def family(pids: bytes) -> list[Child]:
    return [Child(pid=int(pid), mark=started_mark(int(pid))) for pid in pids.split()[:-1]]


def zombies(parent: int) -> list[str]:
    """Children of this process that it has not reaped."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            state, its_parent, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
            if state == "Z" and its_parent == str(parent):
                found.append(entry.name)
    return found


async def test_all_of_a_family_are_found_and_killed_and_reaped(home: Home, keeper: Keeper, trees: Trees) -> None:
    child = await home.python(keeper, "web:0", FAMILY, "", "s", "d", "sd", "c", "sc", "dc")
    trees.watch(child, home.marker("web:0"))
    others = family(await home.said("web:0", b"up\n"))
    assert len(others) == 7
    assert set(trees.members(child)) == {child, *others}
    assert await trees.kill(child, 30) == ()
    assert await next_end(keeper) == (child, Ended(signal=signal.SIGKILL))
    assert not any(started_mark(each.pid) for each in (child, *others))
    assert home.everybody() == ()
    # The keeper answers after it has reaped what has ended before.
    await keeper.held()
    assert zombies(keeper.pid) == []


async def test_those_whose_parents_are_gone_are_found_too(home: Home, keeper: Keeper, trees: Trees) -> None:
    child = await home.python(keeper, "web:0", FAMILY, "", "s", "sd", "d", "c")
    others = family(await home.said("web:0", b"up\n"))
    trees.watch(child, home.marker("web:0"))
    trees.sample()
    send(child, signal.SIGKILL)
    await next_end(keeper)
    assert set(trees.members(child)) == set(others)
    assert await trees.kill(child, 30) == ()
    assert not any(started_mark(each.pid) for each in others)


async def test_who_was_found_once_stays_found(home: Home, keeper: Keeper, trees: Trees) -> None:
    child = await home.python(keeper, "web:0", FAMILY, "sc")
    (other,) = family(await home.said("web:0", b"up\n"))
    trees.watch(child, home.marker("web:0"))
    assert trees.sample()[child].processes == 2
    send(child, signal.SIGKILL)
    await next_end(keeper)
    # It has left the session and the environment, and its parent is gone: nothing says whose it is but memory.
    assert Trees().members(child) == ()
    assert trees.members(child) == (other,)
    assert await trees.kill(child, 30) == ()


async def test_a_stray_of_which_nothing_is_known_is_still_the_keepers(
    home: Home, keeper: Keeper, trees: Trees
) -> None:
    child = await home.python(keeper, "web:0", FAMILY, "sdc")
    (other,) = family(await home.said("web:0", b"up\n"))
    trees.watch(child, home.marker("web:0"))
    assert trees.members(child) == (child,)
    assert strays(keeper.pid, {child.pid}) == (other,)
    assert await trees.kill(child, 30) == ()
    with pytest.raises(MainstayError, match="children left"):
        await keeper.stop(0.0)
    assert await keeper.held() == ()
    assert await end(lambda: strays(keeper.pid, ()), 30) == ()
    assert started_mark(other.pid) == ""
    await gone(keeper.pid)


async def test_a_daemon_that_comes_back_knows_them_by_the_marker(home: Home, keeper: Keeper) -> None:
    child = await home.python(keeper, "web:0", FAMILY, "", "sd")
    others = family(await home.said("web:0", b"up\n"))
    send(child, signal.SIGKILL)
    await next_end(keeper)
    later = Trees()
    later.watch(child, home.marker("web:0"))
    assert set(later.members(child)) == set(others)
    assert await later.kill(child, 30) == ()


async def test_neighbours_are_left_alone(home: Home, keeper: Keeper, trees: Trees) -> None:
    one = await home.python(keeper, "web:0", FAMILY, "s", "d")
    two = await home.python(keeper, "web:1", FAMILY, "s", "d")
    for name, child in (("web:0", one), ("web:1", two)):
        trees.watch(child, home.marker(name))
    await home.said("web:0", b"up\n")
    others = family(await home.said("web:1", b"up\n"))
    assert await trees.kill(one, 30) == ()
    assert set(trees.members(two)) == {two, *others}
    assert all(is_alive(each.pid, each.mark) for each in (two, *others))
    trees.forget(two)
    assert trees.members(two) == ()
    assert await trees.kill(one, 30) == ()


async def test_who_carries_the_marker_of_somebody_else_outlives_the_child(
    home: Home, keeper: Keeper, trees: Trees
) -> None:
    child = await home.python(keeper, "web:0", FAMILY, "so", "sod", "x")
    others = family(await home.said("web:0", b"up\n"))
    trees.watch(child, home.marker("web:0"))
    ours = others.pop()
    trees.sample()
    assert set(trees.members(child)) == {child, ours}
    assert await trees.kill(child, 30) == ()
    assert started_mark(ours.pid) == ""
    assert [is_alive(each.pid, each.mark) for each in others] == [True, True]
    assert await end(lambda: [each for each in others if is_alive(each.pid, each.mark)], 30) == ()


async def test_who_is_spared_belongs_to_nobody(home: Home, keeper: Keeper, trees: Trees) -> None:
    child = await home.python(keeper, "web:0", FAMILY, "", "s")
    others = family(await home.said("web:0", b"up\n"))
    trees.spared.add(others[0].pid)
    trees.watch(child, home.marker("web:0"))
    assert set(trees.members(child)) == {child, others[1]}


async def test_a_signal_is_not_sent_to_a_pid_that_is_used_again(home: Home, keeper: Keeper) -> None:
    child = await home.python(keeper, "web:0", FAMILY)
    await home.said("web:0", b"up\n")
    boot, _, ticks = child.mark.rpartition(":")
    earlier = Child(pid=child.pid, mark=f"{boot}:{int(ticks) - 1}")
    assert not send(earlier, signal.SIGKILL)
    assert not send_group(earlier, signal.SIGKILL)
    trees = Trees()
    trees.watch(earlier, "")
    assert await trees.kill(earlier, 30) == ()
    assert started_mark(child.pid) == child.mark
    assert send(child, signal.SIGKILL)
    assert await next_end(keeper) == (child, Ended(signal=signal.SIGKILL))
    assert not send(child, signal.SIGKILL)
    assert not send_group(child, signal.SIGKILL)


async def test_a_group_gets_the_signal_and_who_has_left_it_does_not(
    home: Home, keeper: Keeper, trees: Trees
) -> None:
    child = await home.python(keeper, "web:0", FAMILY, "", "s")
    trees.watch(child, home.marker("web:0"))
    near, far = family(await home.said("web:0", b"up\n"))
    trees.sample()
    assert send_group(child, signal.SIGTERM)
    assert await next_end(keeper) == (child, Ended(signal=signal.SIGTERM))
    await gone(near.pid)
    assert trees.members(child) == (far,)


async def test_a_child_that_does_not_want_to_end_is_ended(home: Home, keeper: Keeper, trees: Trees) -> None:
    program = """if True:
        import signal
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        print("up", flush=True)
        while signal.sigwait([signal.SIGTERM]):
            print("no", flush=True)"""
    child = await home.python(keeper, "web:0", program)
    trees.watch(child, home.marker("web:0"))
    await home.said("web:0", b"up\n")
    assert send_group(child, signal.SIGTERM)
    await home.said("web:0", b"no\n")
    assert await trees.kill(child, 30) == ()
    assert await next_end(keeper) == (child, Ended(signal=signal.SIGKILL))


async def test_a_child_that_is_stopped_is_ended(home: Home, keeper: Keeper, trees: Trees) -> None:
    child = await home.python(keeper, "web:0", FAMILY, "s")
    await home.said("web:0", b"up\n")
    trees.watch(child, home.marker("web:0"))
    for each in trees.members(child):
        send(each, signal.SIGSTOP)
    assert await trees.kill(child, 30) == ()
    assert await next_end(keeper) == (child, Ended(signal=signal.SIGKILL))


async def test_one_that_runs_away_all_the_time_is_caught(home: Home, keeper: Keeper, trees: Trees) -> None:
    program = """if True:
        import os
        print("up", flush=True)
        while True:
            if os.fork():
                os._exit(0)
            os.setsid()"""
    child = await home.python(keeper, "web:0", program)
    trees.watch(child, home.marker("web:0"))
    await home.said("web:0", b"up\n")
    assert await next_end(keeper) == (child, Ended(code=0))
    assert await trees.kill(child, 30) == ()
    assert home.everybody() == ()


async def test_the_memory_of_a_tree_is_that_of_all_its_processes(home: Home, keeper: Keeper, trees: Trees) -> None:
    program = """if True:
        import os, signal
        if os.fork() == 0:
            os.setsid()
            data = bytearray(os.urandom(1 << 20)) * 64
            print("up", flush=True)
        signal.pause()"""
    child = await home.python(keeper, "web:0", program)
    other = await home.python(keeper, "web:1", FAMILY)
    trees.watch(child, home.marker("web:0"))
    trees.watch(other, home.marker("web:1"))
    await home.said("web:0", b"up\n")
    await home.said("web:1", b"up\n")
    usage = trees.sample()
    assert usage[child].processes == 2
    assert usage[child].memory_bytes > 64 << 20
    assert usage[other].processes == 1
    assert 1 << 20 < usage[other].memory_bytes < 64 << 20


async def test_the_cpu_time_of_a_tree_grows_with_what_it_does(home: Home, keeper: Keeper, trees: Trees) -> None:
    program = """if True:
        import os, signal, time
        if os.fork() == 0:
            while time.process_time() < 0.3:
                pass
            os._exit(0)
        os.wait()
        print("up", flush=True)
        signal.pause()"""
    child = await home.python(keeper, "web:0", program)
    trees.watch(child, home.marker("web:0"))
    await home.said("web:0", b"up\n")
    assert trees.sample()[child].cpu_s >= 0.29


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start something as somebody else")
def test_one_that_has_become_another_user_is_left_over_and_no_error() -> None:
    program = """if True:
        import asyncio, os, sys
        from mainstay.alive import started_mark
        from mainstay.supervisor.model import Child
        from mainstay.supervisor.trees import Trees
        child = Child(pid=int(sys.argv[1]), mark=started_mark(int(sys.argv[1])))
        os.setgid(65534); os.setuid(65534)
        trees = Trees()
        trees.watch(child, "")
        print(asyncio.run(trees.kill(child, 0.1)) == (child,))"""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as root:
        asked = [sys.executable, "-c", program, str(root.pid)]
        told = subprocess.run(asked, capture_output=True, text=True, check=False)
        root.kill()
    assert told.stdout == "True\n", told.stderr


async def test_without_free_file_descriptors_nothing_is_seen_and_nothing_is_thrown(
    home: Home, keeper: Keeper, trees: Trees
) -> None:
    child = await home.python(keeper, "web:0", FAMILY)
    trees.watch(child, home.marker("web:0"))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(free := os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        assert trees.sample() == {}
        assert await trees.kill(child, 0.1) == (child,)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert list(trees.sample()) == [child]
    assert await trees.kill(child, 30.0) == ()
