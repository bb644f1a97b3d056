"""A keeper becomes one of other code, and nothing that it has is lost."""

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.supervisor.conftest import WITHIN_S, Home, next_end

import mainstay
from mainstay.errors import MainstayError
from mainstay.supervisor.keeping import Keeper
from mainstay.supervisor.model import Ended
from mainstay.supervisor.processes import send

pytestmark = pytest.mark.anyio

WAITING = "import signal; print('up', flush=True); signal.pause()"


def other_code(tmp_path: Path, append: str = "# another release\n") -> str:
    """Another installation, which differs."""
    (tmp_path / "mainstay").mkdir(parents=True)
    package = Path(mainstay.__file__).parent
    for name in ("supervisor", "clock.py"):
        source = package / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / "mainstay" / name)
    keeper = tmp_path / "mainstay" / "supervisor" / "keeper.py"
    keeper.write_text(keeper.read_text() + append)
    return str(tmp_path / "mainstay" / "supervisor" / "boot.py")


@pytest.fixture
async def staying(keeper: Keeper) -> AsyncIterator[Keeper]:
    task = asyncio.create_task(keeper.stay())
    yield keeper
    keeper.close()
    await task


async def test_it_keeps_its_pid_its_children_their_output_and_the_sockets_that_it_holds(
    home: Home, staying: Keeper, tmp_path: Path
) -> None:
    before, pid = staying.code, staying.pid
    child = await home.python(staying, "web:0", WAITING)
    listener = socket.create_server(("127.0.0.1", 0))
    await staying.hold("web", [listener.fileno()])
    await staying.renew(other_code(tmp_path / "other"))
    assert staying.pid == pid
    assert staying.code not in ("", before)
    assert [kept.child for kept in staying.children] == [child]
    assert await home.said("web:0", b"up\n") == b"up\n"
    [given] = await staying.give("web")
    with socket.socket(fileno=given) as again:
        assert again.getsockname() == listener.getsockname()
    listener.close()
    await staying.drop("web")
    send(child, signal.SIGKILL)
    assert await next_end(staying) == (child, Ended(signal=signal.SIGKILL))


async def test_who_ends_in_between_is_reaped_and_what_it_is_told_in_between_is_heard(
    home: Home, staying: Keeper, tmp_path: Path
) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    waiting = f"""
if sys.argv[1] == "again":
    open({str(begun)!r}, "w").close()
    while not os.path.exists({str(go)!r}):
        pass
"""
    pid = staying.pid
    first = await home.python(staying, "web:0", WAITING)
    second = await home.python(staying, "web:1", WAITING)
    await home.said("web:0", b"up\n")
    renewing = asyncio.create_task(staying.renew(other_code(tmp_path / "other", waiting)))
    async with asyncio.timeout(WITHIN_S):
        while not begun.exists():  # noqa: ASYNC110  another process makes it
            await asyncio.sleep(0.01)
    send(first, signal.SIGKILL)
    os.kill(pid, signal.SIGTERM)
    go.touch()
    await renewing
    assert staying.pid == pid
    assert await next_end(staying) == (first, Ended(signal=signal.SIGKILL))
    with pytest.raises(MainstayError, match="the keeper was told to end"):
        await home.python(staying, "web:2", WAITING)
    send(second, signal.SIGKILL)
    assert await next_end(staying) == (second, Ended(signal=signal.SIGKILL))
    staying.acknowledge(first)
    staying.acknowledge(second)


async def test_who_asks_meanwhile_gets_an_answer(home: Home, staying: Keeper, tmp_path: Path) -> None:
    renewing = asyncio.create_task(staying.renew(other_code(tmp_path / "other")))
    asked = [asyncio.create_task(home.python(staying, f"web:{number}", WAITING)) for number in range(5)]
    await renewing
    children = {await each for each in asked}
    assert {kept.child for kept in staying.children} == children
    assert len(children) == 5


async def test_code_that_does_not_start_or_that_does_not_know_the_table_changes_nothing(
    home: Home, staying: Keeper, tmp_path: Path
) -> None:
    child = await home.python(staying, "web:0", WAITING)
    before = staying.code, staying.pid
    with pytest.raises(MainstayError, match=r"goes on as it was, .* does not start: ModuleNotFoundError"):
        await staying.renew(other_code(tmp_path / "one", "import no_such_module"))
    program = other_code(tmp_path / "two")
    table = Path(program).with_name("table.py")
    table.write_text(table.read_text().replace("VERSION = 1", "VERSION = 2"))
    with pytest.raises(MainstayError, match=r"goes on as it was, .* table is of another version"):
        await staying.renew(program)
    assert (staying.code, staying.pid) == before
    send(child, signal.SIGKILL)
    assert await next_end(staying) == (child, Ended(signal=signal.SIGKILL))
