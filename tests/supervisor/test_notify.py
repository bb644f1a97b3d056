"""What a child says of itself arrives, with the kernel's word about who said it."""

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest

from mainstay.notify import Notifier
from mainstay.supervisor.notify import SOCKET, listening

pytestmark = pytest.mark.anyio


class Heard:
    def __init__(self) -> None:
        self.all: list[tuple[int, dict[str, str]]] = []
        self.more = asyncio.Event()

    def __call__(self, pid: int, said: dict[str, str]) -> None:
        self.all.append((pid, said))
        self.more.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.all) < count:
                self.more.clear()
                await self.more.wait()


async def test_ready_and_status_come_from_the_process_that_says_so(tmp_path: Path) -> None:
    heard = Heard()
    with listening(tmp_path, heard):
        Notifier({"NOTIFY_SOCKET": str(tmp_path / SOCKET)}).say("READY=1", "STATUS=all is well = good")
        await heard.until(1)
        code = "from mainstay.notify import Notifier; Notifier().say('STOPPING=1')"
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, env={"NOTIFY_SOCKET": str(tmp_path / SOCKET)}
        )
        await heard.until(2)
        await child.wait()
    assert heard.all == [
        (os.getpid(), {"READY": "1", "STATUS": "all is well = good"}),
        (child.pid, {"STOPPING": "1"}),
    ]


async def test_what_is_said_once_arrives_however_much_others_have_to_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainstay.notify._ROOM_S", 60.0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as busy:
        busy.bind(str(tmp_path / SOCKET))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / SOCKET)})
        for _ in range(1000):
            notifier.say("WATCHDOG=1")
        saying = asyncio.get_running_loop().run_in_executor(None, notifier.say, "READY=1")
        done, _ = await asyncio.wait([saying], timeout=0.2)
        assert not done, "there was room, or it did not wait for any"
        heard = b""
        async with asyncio.timeout(30):
            while heard != b"READY=1":
                heard = await asyncio.get_running_loop().sock_recv(busy, 100)
        await saying


async def test_the_watchdog_is_fed_from_the_loop_twice_as_often_as_asked(tmp_path: Path) -> None:
    heard = Heard()
    with listening(tmp_path, heard):
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / SOCKET), "WATCHDOG_USEC": "20000"})
        assert notifier.watchdog_s == 0.02
        async with asyncio.TaskGroup() as tasks:
            feeding = tasks.create_task(notifier.keep_alive())
            await heard.until(3)
            feeding.cancel()
    assert {tuple(said.items()) for _, said in heard.all} == {(("WATCHDOG", "1"),)}


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "20000"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "garbage"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"},
    ],
)
async def test_who_is_not_asked_to_feed_a_watchdog_does_not(environ: dict[str, str]) -> None:
    notifier = Notifier(environ)
    assert notifier.watchdog_s is None
    notifier.say("READY=1")


def open_descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


async def test_garbage_and_gifts_are_dropped(tmp_path: Path) -> None:
    heard = Heard()
    with listening(tmp_path, heard), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as way:
        way.connect(str(tmp_path / SOCKET))
        before = open_descriptors()
        way.send(b"\xff\xfe\n=\nREADY")
        gift, _ = pair = socket.socketpair()
        socket.send_fds(way, [b"READY=1"], [gift.fileno()])
        for end in pair:
            end.close()
        await heard.until(2)
        assert open_descriptors() == before
    assert [said for _, said in heard.all] == [{"": ""}, {"READY": "1"}]


async def test_a_time_without_end_is_not_heard(tmp_path: Path) -> None:
    heard = Heard()
    with listening(tmp_path, heard):
        Notifier({"NOTIFY_SOCKET": str(tmp_path / SOCKET)}).say(f"EXTEND_TIMEOUT_USEC={'9' * 400}", "READY=1")
        await heard.until(1)
    assert [said for _, said in heard.all] == [{"READY": "1"}]
