"""The daemon is asked by its owner alone, by many at once, and whatever is sent."""

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from mainstay.errors import ConfigError, MainstayError
from mainstay.supervisor.address import SOCKET, reachable
from mainstay.supervisor.client import Daemon, NoDaemon
from mainstay.supervisor.control import Request, serving

pytestmark = pytest.mark.anyio


async def handle(request: Request) -> object:
    match request["do"]:
        case "echo":
            return request["text"]
        case "refuse":
            raise ConfigError("there is no app webb; did you mean web?")
        case "wait":
            await asyncio.Event().wait()
    raise MainstayError("there is nothing like that to do")


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Path]:
    async with serving(tmp_path, handle):
        yield tmp_path


async def ask(home: Path, do: str, **details: object) -> object:
    def once() -> object:
        with Daemon(home) as daemon:
            return daemon.ask(do, **details)

    return await asyncio.to_thread(once)


async def test_what_is_asked_is_answered(home: Path) -> None:
    assert await ask(home, "echo", text="你好 \u2028 x" * 1000) == "你好 \u2028 x" * 1000


async def test_an_error_comes_back_as_the_error_that_it_is(home: Path) -> None:
    with pytest.raises(ConfigError, match="no app webb; did you mean web"):
        await ask(home, "refuse")
    with pytest.raises(MainstayError, match="nothing like that"):
        await ask(home, "dance")


async def test_who_ends_leaves_the_socket_of_another(tmp_path: Path) -> None:
    async with serving(tmp_path, handle):
        (tmp_path / SOCKET).unlink()  # with the home, and somebody else begins there
        (tmp_path / SOCKET).write_text("another's")
    assert (tmp_path / SOCKET).read_text() == "another's"


async def test_many_ask_at_once_and_one_who_waits_holds_up_nobody(home: Path) -> None:
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect(str(home / SOCKET))
    waiting.sendall(b'{"v": 1, "do": "wait"}\n')
    answers = await asyncio.gather(*(ask(home, "echo", text=number) for number in range(50)))
    assert answers == list(range(50))
    waiting.close()


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"GET / HTTP/1.1\r\n", b"not a line of JSON"),
        (b"[]\n", b"version 1 only"),
        (b'{"v": 2, "do": "echo"}\n', b"version 1 only"),
        (b"\xff\xfe\n", b"not a line of JSON"),
        (b'{"v": 1}\n', b"write it like"),
        (b'{"v": 1, "do": "echo", "names": 3}\n', b"write it like"),
    ],
)
async def test_what_makes_no_sense_is_refused_in_one_line(home: Path, sent: bytes, said: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(str(home / SOCKET))
    writer.write(sent)
    line = await reader.readline()
    assert said in line
    writer.close()
    assert await ask(home, "echo", text=1) == 1


async def test_a_line_without_an_end_costs_its_sender_the_conversation_and_nobody_else(home: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(home / SOCKET))
    writer.write(b"x" * 5_000_000)
    with suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()
    assert await ask(home, "echo", text=1) == 1


async def test_nobody_else_may_open_the_socket(home: Path) -> None:
    assert stat.S_IMODE((home / SOCKET).stat().st_mode) == 0o600


@pytest.mark.skipif(os.getuid() != 0, reason="only root can try to be somebody else")
async def test_the_kernel_s_word_about_who_calls_is_what_counts(home: Path) -> None:
    os.chmod(home / SOCKET, 0o666)  # noqa: PTH101
    for path in home.parents[:-2]:
        os.chmod(path, 0o755)  # noqa: PTH101
    os.chmod(home, 0o755)  # noqa: PTH101
    code = (
        "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        'try: s.sendall(b\'{"v": 1, "do": "echo", "text": 1}\\n\'); print(s.recv(100) or "refused")\n'
        "except ConnectionError: print('refused')"
    )
    stranger = await asyncio.create_subprocess_exec(
        "/usr/bin/env", "python3", "-c", code, str(home / SOCKET), stdout=asyncio.subprocess.PIPE
    )
    told, _ = await stranger.communicate()
    assert told.strip() == b"refused"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
async def test_a_socket_that_somebody_else_has_put_there_is_not_talked_to(tmp_path: Path) -> None:
    for path in (*tmp_path.parents[:-2], tmp_path):
        os.chmod(path, 0o777)  # noqa: PTH101
    code = (
        "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1])\n"
        "s.listen(); print('there', flush=True); c, _ = s.accept(); print(c.recv(100))"
    )
    stranger = await asyncio.create_subprocess_exec(
        "/usr/bin/env", "python3", "-c", code, str(tmp_path / SOCKET), stdout=asyncio.subprocess.PIPE
    )
    assert stranger.stdout is not None
    assert await stranger.stdout.readline() == b"there\n"
    with pytest.raises(MainstayError, match=r"supervisor\.sock is a socket of another user .*: remove it$"):
        Daemon(tmp_path)
    assert await stranger.stdout.readline() == b"b''\n"
    assert await stranger.wait() == 0


async def test_where_nobody_listens_the_caller_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NoDaemon, match=r"no supervisor runs for .*`mainstay start` starts one"):
        Daemon(tmp_path)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / SOCKET))
    with pytest.raises(NoDaemon):
        Daemon(tmp_path)
    async with serving(tmp_path, handle):
        assert await ask(tmp_path, "echo", text=1) == 1
    assert not (tmp_path / SOCKET).exists()


async def test_a_home_with_a_long_name_can_be_served(tmp_path: Path) -> None:
    home = tmp_path / ("deep" * 40)
    home.mkdir()
    assert len(reachable(home / SOCKET)) < 108
    async with serving(home, handle):
        assert await ask(home, "echo", text=1) == 1
