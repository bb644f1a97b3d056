"""A home has one sandbox; it is found, adopted, ended, and never left behind for ever."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from tests.sandbox.conftest import FAST

from mainstay.alive import is_alive
from mainstay.sandbox.client import SandboxClient
from mainstay.sandbox.model import ADDRESS_FILE, SandboxAddress, SandboxSettings, to_json
from mainstay.sandbox.process import SandboxFailed, find, start, stop

pytestmark = pytest.mark.anyio


async def gone(address: SandboxAddress) -> None:
    async with asyncio.timeout(20):
        while is_alive(address.pid, address.started):  # noqa: ASYNC110  no event comes from a process
            await asyncio.sleep(0.02)


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def owner_process() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


async def test_its_address_is_written_for_its_user_only_and_everything_in_it_answers(
    address: SandboxAddress, tmp_path: Path
) -> None:
    assert stat.S_IMODE((tmp_path / ADDRESS_FILE).stat().st_mode) == 0o600
    assert json.loads((tmp_path / ADDRESS_FILE).read_text())["pid"] == address.pid
    assert find(tmp_path) == address
    async with httpx2.AsyncClient(trust_env=False) as http:
        for url in address.models.values():
            listed = await http.get(f"{url}/models", headers={"Authorization": f"Bearer {address.model_token}"})
            assert listed.status_code == 200
        body = {"app_id": address.app_id, "app_secret": address.app_secret}
        path = "/open-apis/auth/v3/tenant_access_token/internal"
        token = (await http.post(address.feishu_url + path, json=body)).json()
        assert token["code"] == 0
        refused = await http.get(f"{address.control_url}/state")
        assert refused.status_code == 401


async def test_secrets_do_not_show_in_its_printed_form(address: SandboxAddress) -> None:
    for secret in (address.control_token, address.app_secret, address.encrypt_key, address.model_token):
        assert secret not in repr(address)


async def test_starting_again_gives_the_living_one(address: SandboxAddress, tmp_path: Path) -> None:
    assert await start(tmp_path, FAST, owner=os.getpid()) == address


async def asked(address: SandboxAddress, name: str) -> int:
    """Ask this model something; returns the HTTP status."""
    headers = {"Authorization": f"Bearer {address.model_token}"}
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=20) as http:
        return (await http.post(f"{address.models[name]}/chat/completions", json=body)).status_code


async def test_it_has_the_models_that_were_asked_for_each_with_faults_and_a_record_of_its_own(
    tmp_path: Path,
) -> None:
    address = await start(tmp_path, FAST, models=["a", "b", "feishu"])
    try:
        assert list(address.models) == ["a", "b", "feishu"]
        assert find(tmp_path) == address
        async with SandboxClient(address) as client:
            await client.fault("overloaded", model="b")
            assert [await asked(address, name) for name in address.models] == [200, 503, 200]
            models = await client.models()
            assert {name: model["faults"] for name, model in models.items()} == {
                "a": {},
                "b": {"overloaded": 1},
                "feishu": {},
            }
    finally:
        await stop(address)


async def test_a_living_one_adds_the_models_that_it_lacks_and_keeps_what_it_has(
    address: SandboxAddress, client: SandboxClient, tmp_path: Path
) -> None:
    assert await asked(address, "primary") == 200
    more = await start(tmp_path, FAST, owner=os.getpid(), models=["cheap", "primary"])
    assert more.models == address.models | {"cheap": more.models["cheap"]}
    assert more == replace(address, models=more.models) == find(tmp_path)
    assert await asked(more, "cheap") == 200
    models = await client.models()
    assert {name: model["total"] for name, model in models.items()} == {"primary": 1, "fallback": 0, "cheap": 1}


async def test_of_services_that_ask_for_the_same_models_at_once_each_gets_them(
    address: SandboxAddress, tmp_path: Path
) -> None:
    async with asyncio.TaskGroup() as group:
        starting = [group.create_task(start(tmp_path, FAST, models=["x", "y", f"z{n}"])) for n in range(4)]
    assert len({each.result().models["x"] for each in starting}) == 1
    found = find(tmp_path)
    assert found is not None
    assert found.models.keys() == {"primary", "fallback", "x", "y", "z0", "z1", "z2", "z3"}
    assert [await asked(found, name) for name in found.models] == [200] * 8


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a b"], "'a b' is no name of a model"),
        ([""], "is no name"),
        ([f"m{n}" for n in range(60)], "more than 50"),
    ],
)
async def test_what_can_be_no_model_is_refused_and_changes_nothing(
    address: SandboxAddress, tmp_path: Path, names: list[str], reason: str
) -> None:
    with pytest.raises(SandboxFailed, match=f"takes no more models: .*{reason}"):
        await start(tmp_path, FAST, owner=os.getpid(), models=names)
    assert find(tmp_path) == address


async def test_a_new_one_with_a_name_that_is_none_says_so_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(SandboxFailed, match=r"sandbox\.log"):
        await start(tmp_path, SandboxSettings(start_timeout=20), models=["a b"])
    assert "can not start: 'a b' is no name of a model" in (tmp_path / "sandbox.log").read_text()


async def test_a_port_that_is_taken_is_said_in_one_line(address: SandboxAddress, tmp_path: Path) -> None:
    port = urlsplit(address.models["primary"]).port
    home = tmp_path / "another"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mainstay.sandbox", "--home", str(home), "--port-primary", str(port)),
        stderr=subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 1
    assert said.decode().startswith("the sandbox can not start: ")
    assert said.count(b"\n") == 1


async def test_of_many_that_start_at_once_one_remains(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group:
        starting = [group.create_task(start(tmp_path, FAST, owner=os.getpid())) for _ in range(4)]
    addresses = {each.result().pid for each in starting}
    found = find(tmp_path)
    assert found is not None
    await stop(found)
    assert addresses == {found.pid}


async def test_a_second_one_in_the_foreground_says_where_the_first_is(
    address: SandboxAddress, tmp_path: Path
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mainstay.sandbox", "--home", str(tmp_path), stdout=subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    assert address.feishu_url in said.decode()
    assert find(tmp_path) == address


async def test_stopping_it_removes_its_address(tmp_path: Path) -> None:
    address = await start(tmp_path, FAST)
    await stop(address)
    assert not is_alive(address.pid, address.started)
    assert not (tmp_path / ADDRESS_FILE).exists()
    assert find(tmp_path) is None
    await stop(address)


async def test_it_ends_in_time_though_an_answer_is_held_and_somebody_watches(tmp_path: Path) -> None:
    address = await start(tmp_path, FAST)
    async with SandboxClient(address) as client, asyncio.TaskGroup() as group:
        await client.platform_fault("GET /bot", hold=True)
        async with httpx2.AsyncClient(trust_env=False, base_url=address.feishu_url) as http:
            body = {"app_id": address.app_id, "app_secret": address.app_secret}
            answer = await http.post("/open-apis/auth/v3/tenant_access_token/internal", json=body)
            headers = {"Authorization": f"Bearer {answer.json()['tenant_access_token']}"}
            held = group.create_task(http.get("/open-apis/bot/v3/info", headers=headers, timeout=20))
            while (await client.state())["held"] == 0:
                pass
            await stop(address, within_s=20)
            assert (await held).json()["code"] == 0
    assert not (tmp_path / ADDRESS_FILE).exists()


async def test_after_a_kill_the_next_one_has_the_same_address_and_credentials(tmp_path: Path) -> None:
    await start(tmp_path, FAST)
    first = await start(tmp_path, FAST, models=["cheap"])
    os.kill(first.pid, signal.SIGKILL)
    await gone(first)
    assert find(tmp_path) is None
    second = await start(tmp_path, FAST, models=["primary", "fallback", "cheap"])
    await stop(second)
    assert replace(second, pid=first.pid, started=first.started) == first


async def test_a_stale_address_of_a_pid_that_is_used_again_is_not_believed(
    address: SandboxAddress, tmp_path: Path
) -> None:
    stale = replace(address, pid=os.getpid())
    (tmp_path / ADDRESS_FILE).write_text(to_json(stale))
    assert find(tmp_path) is None
    (tmp_path / ADDRESS_FILE).write_text("{")
    assert find(tmp_path) is None


async def test_it_ends_itself_when_its_owner_is_gone_for_the_grace(tmp_path: Path) -> None:
    owner = owner_process()
    address = await start(tmp_path, FAST, owner=owner.pid)
    owner.kill()
    owner.wait()
    await gone(address)
    assert not (tmp_path / ADDRESS_FILE).exists()


async def test_a_new_owner_finds_the_same_sandbox_and_keeps_it(tmp_path: Path) -> None:
    owner = owner_process()
    settings = replace(FAST, owner_grace=600)
    address = await start(tmp_path, settings, owner=owner.pid)
    owner.kill()
    owner.wait()
    assert await start(tmp_path, settings, owner=os.getpid()) == address
    async with SandboxClient(address) as client:
        assert (await client.state())["owner"] == os.getpid()
    await stop(address)


async def test_it_can_not_be_given_to_a_process_that_is_not_there(client: SandboxClient) -> None:
    owner = owner_process()
    owner.kill()
    owner.wait()
    with pytest.raises(Exception, match="there is no process"):
        await client.adopt(owner.pid)
    assert (await client.state())["owner"] == os.getpid()


async def test_a_home_that_can_not_be_written_is_an_error_that_says_where_to_look(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "sandbox.lock").mkdir()
    with pytest.raises(SandboxFailed, match=r"sandbox\.log"):
        await start(home, SandboxSettings(start_timeout=20))
    assert "can not start" in (home / "sandbox.log").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows the environment of a process")
async def test_it_inherits_none_of_the_services_secrets_and_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEISHU_APP_SECRET", "a-secret")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/a-socket")
    address = await start(tmp_path, FAST)
    environment = await asyncio.to_thread(environment_of, address.pid)
    await stop(address)
    assert b"PATH=" in environment
    assert b"a-secret" not in environment
    assert b"NOTIFY_SOCKET" not in environment


async def test_it_is_in_a_session_of_its_own(address: SandboxAddress) -> None:
    assert os.getsid(address.pid) == address.pid
