"""What the daemon opens for the apps is held by the keeper as well, whatever happens at the same time."""

import asyncio

import pytest
from tests.supervisor.conftest import Home

from mainstay.errors import MainstayError
from mainstay.supervisor.channels import Channels
from mainstay.supervisor.keeping import Keeper
from mainstay.supervisor.sockets import Sockets

pytestmark = pytest.mark.anyio


async def test_another_keeper_gets_all_sockets_also_those_that_are_opened_meanwhile(
    home: Home, keeper: Keeper
) -> None:
    sockets = Sockets(keeper, home.path)
    for app in ("a", "b"):
        await sockets.of(app, (f"unix:{app}.sock",))
        await keeper.drop(f"{app} unix:{app}.sock")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sockets.hold_again())
        tasks.create_task(sockets.of("c", ("unix:c.sock",)))
    assert sorted(await keeper.held()) == ["a unix:a.sock", "b unix:b.sock", "c unix:c.sock"]


async def test_of_a_start_that_fails_no_channel_is_left(home: Home, keeper: Keeper) -> None:
    channels = Channels(keeper, print)
    with pytest.raises(MainstayError):
        async with channels.opened("web:0.1"):
            raise MainstayError("there is no such program")
    assert await keeper.held() == ()


async def test_channels_are_heard_again_although_runs_come_and_go_meanwhile(home: Home, keeper: Keeper) -> None:
    before = Channels(keeper, print)
    runs = {"web:0.1": 1, "web:1.2": 2}
    for run in runs:
        async with before.opened(run):
            pass
    before.close()
    after = Channels(keeper, print)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(after.resume(name for name in runs))
        for _ in range(3):
            await keeper.held()
            runs[f"web:2.{len(runs)}"] = 0
    after.close()
