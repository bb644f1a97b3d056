"""A keeper becomes one of other code, and nothing that it has is lost."""

import asyncio
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.supervisor.conftest import Home, next_end

import mainstay
from mainstay.supervisor.keeping import Keeper
from mainstay.supervisor.model import Ended
from mainstay.supervisor.processes import send

pytestmark = pytest.mark.anyio

WAITING = "import signal; print('up', flush=True); signal.pause()"


def other_code(tmp_path: Path, append: str = "# another release\n") -> str:
    """Another installation, which differs."""
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
    (tmp_path / "other" / "mainstay").mkdir(parents=True)
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
