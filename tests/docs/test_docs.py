"""What the documentation says can be typed, works when it is typed."""

import asyncio
import hmac
import json
import os
import re
import shlex
import socket
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.recovery.transport.conftest import Peer, wire

from mainstay.asgi import Receive, Scope, Send, respond
from mainstay.cli.doctor.command import CHECKS
from mainstay.config.load import load
from mainstay.sandbox.model import SandboxSettings
from mainstay.testing.project import project
from mainstay.testing.provider import served_provider
from mainstay.web.server import listen, serving

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
WITH_TOML = [page for page in PAGES if "```toml" in page.read_text()]
WITH_SERVERS = ROOT / "docs/how-to/guard-any-sdk.md"
WITH_PYTHON = [page for page in PAGES if "```python" in page.read_text() and page != WITH_SERVERS]
FENCE = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(page.read_text()) if kind == language]


def commands(page: Path) -> list[list[str]]:
    lines = [line.strip() for block in blocks(page, "sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line]


async def typed(words: list[str], directory: Path, url: str = "") -> str:
    """Run one command line of a page and return what it says; ``url`` stands in for the default address."""
    if words[0].endswith("mainstay"):
        words = [sys.executable, "-m", "mainstay", *words[1:]]
    words = [word.replace("http://127.0.0.1:3000", url) if url else word for word in words]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAINSTAY_")}
    ran = await asyncio.create_subprocess_exec(
        *words, cwd=directory, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        output, _ = await ran.communicate()
    assert ran.returncode == 0, f"{shlex.join(words)}\n{output.decode()}"
    return output.decode()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert not broken


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_python_examples_run(page: Path) -> None:
    namespace: dict[str, object] = {"__name__": "example"}
    for body in blocks(page, "python"):
        exec(compile(body, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", WITH_TOML, ids=lambda page: page.name)
def test_configuration_examples_are_taken(page: Path, tmp_path: Path) -> None:
    for body in blocks(page, "toml"):
        (tmp_path / "mainstay.toml").write_text(body)
        named = dict.fromkeys(re.findall(r"env:(\w+)", body), "x")
        assert load(directory=tmp_path, environ=named).origins


@pytest.mark.anyio
async def test_python_examples_that_call_providers_run_against_such_as_them() -> None:
    async def claude(peer: Peer) -> None:
        message = {"id": "1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
        await peer.json({**message, "content": [{"type": "text", "text": "hello"}], "usage": {}})

    async def now(peer: Peer) -> None:
        await peer.json("sunny")

    async with served_provider() as provider, wire({"/v1/messages": claude, "/now": now}) as others:
        page = WITH_SERVERS.read_text()
        for address, stand_in in (
            ("https://api.openai.com/v1", provider.url),
            ("https://api.anthropic.com", others.url),
            ("https://weather.example", others.url),
            ("YOUR_KEY", provider.token),
        ):
            assert address in page
            page = page.replace(address, stand_in)
        code = "".join(body for kind, body in FENCE.findall(page) if kind == "python")
        await asyncio.to_thread(exec, compile(code, str(WITH_SERVERS), "exec"), {"__name__": "example"})
    assert (provider.record.total, others.targets) == (1, ["/v1/messages", "/now"])


def test_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for page in PAGES for word in re.findall(r"`?make ([a-z]+)", page.read_text())}
    assert {"run", "test"} <= named & targets
    for words in commands(ROOT / "README.md"):
        assert words[0] != "make" or words[1] in targets


@pytest.mark.anyio
@pytest.mark.parametrize(
    "name", ["README.md", "docs/how-to/break-it-on-purpose.md", "docs/how-to/talk-over-http.md"]
)
async def test_commands_for_a_running_service_work(name: str, tmp_path: Path) -> None:
    to_type = [words for words in commands(ROOT / name) if words[0] != "make"]
    assert to_type
    async with project(tmp_path, sandbox=SandboxSettings(tokens_per_second=400)) as made:
        await made.start()
        for words in to_type:
            await typed(words, tmp_path, made.url)
        namespace: dict[str, Any] = {}
        for body in blocks(ROOT / name, "python"):
            exec(body, namespace)
            ask = partial(namespace["ask"], url=f"{made.url}/chat", home=str(tmp_path / ".mainstay"))
            first = await asyncio.to_thread(ask, "what is a lease?", "nightly-1")
            assert first == await asyncio.to_thread(ask, "what is a lease?", "nightly-1")


class StandIn:
    """As much of Slack as the page's channel speaks to: it is busy at first, and has no channel C404."""

    def __init__(self) -> None:
        self.said: list[dict[str, str]] = []
        self.busy = 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = json.loads((await receive())["body"])
        if self.busy:
            self.busy -= 1
            await respond(scope, send, 429, b"", headers=[(b"retry-after", b"0")])
        elif body["channel"] == "C404":
            await respond(scope, send, 200, b'{"ok": false, "error": "channel_not_found"}')
        else:
            assert (b"authorization", b"Bearer xoxb-1") in scope["headers"]
            self.said.append(body)
            await respond(scope, send, 200, b'{"ok": true}')


@pytest.mark.anyio
async def test_the_way_to_a_channel_of_ones_own_works(tmp_path: Path) -> None:
    page = ROOT / "docs/how-to/add-a-channel.md"
    slack = StandIn()
    with listen("127.0.0.1", 0) as listener:
        api = f'"http://127.0.0.1:{listener.getsockname()[1]}"'
        configuration = blocks(page, "toml")[0].replace("options = {", f"options = {{ api = {api},")
        (tmp_path / "slack_channel.py").write_text(blocks(page, "python")[0])
        (tmp_path / ".env").write_text("SLACK_SIGNING_SECRET=s3cret\nSLACK_BOT_TOKEN=xoxb-1\n")
        async with (
            serving(slack, listener, drain_s=1.0),
            project(tmp_path, configuration, sandbox=SandboxSettings(tokens_per_second=0)) as made,
            httpx2.AsyncClient(base_url=made.url, trust_env=False) as http,
        ):

            async def event(key: str = "s3cret", age_s: int = 0, **said: object) -> httpx2.Response:
                body, sent_at = json.dumps(said).encode(), str(int(time.time()) - age_s)
                digest = hmac.new(key.encode(), f"v0:{sent_at}:".encode() + body, "sha256").hexdigest()
                headers = {"X-Slack-Request-Timestamp": sent_at, "X-Slack-Signature": f"v0={digest}"}
                return await http.post("/slack/events", content=body, headers=headers)

            async def message(text: str, ts: str = "1.5", **more: str) -> int:
                about = {"type": "message", "channel": "C1", "user": "U1", "ts": ts, "text": text}
                return (await event(type="event_callback", event=about | more)).status_code

            await typed(["mainstay", "migrate"], tmp_path)
            await made.start(str(Path(sys.executable).with_name("mainstay")), "serve")
            assert (await event(type="url_verification", challenge="c-1")).json() == {"challenge": "c-1"}
            assert (await event(key="forged", type="url_verification", challenge="c")).status_code == 401
            assert (await event(age_s=600, type="url_verification", challenge="c")).status_code == 401
            assert await message("lost", channel="C404") == 200
            assert await message("of a bot", bot_id="B1") == 200
            for _ in range(2):  # delivered again
                assert await message("hello", ts="2.5", thread_ts="1.0") == 200
            async with asyncio.timeout(60):
                while not slack.said or "message.dead_lettered" not in made.log():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            assert await message("and?", ts="3.5", thread_ts="1.0") == 200
            async with asyncio.timeout(60):
                while len(slack.said) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            first, second = slack.said
            assert (first["channel"], first["thread_ts"], "“hello”" in first["text"]) == ("C1", "1.0", True)
            assert "“and?”. Before that you wrote: “hello”" in second["text"]
            assert (await made.health())["dependencies"]["slack"]["status"] == "ok"  # type: ignore[index]
            assert "xoxb-1" not in made.log()


@pytest.mark.anyio
async def test_commands_of_the_way_to_a_real_bot_work(tmp_path: Path) -> None:
    to_type = commands(ROOT / "docs/how-to/connect-a-feishu-bot.md")
    assert len(to_type) == 4
    for words in to_type:
        await typed(words, tmp_path)


@pytest.mark.anyio
async def test_the_way_to_supervised_programs_works(tmp_path: Path) -> None:
    page = ROOT / "docs/how-to/keep-programs-running.md"
    configuration, *others = blocks(page, "toml")
    for each in others:
        (tmp_path / "mainstay.toml").write_text(each)
        [(name, app)] = load(directory=tmp_path, environ={}).apps.items()
        assert app.listen or app.user or app.ready == "probe", f"the page shows nothing with {name}"
    *to_type, kill = commands(page)
    (tmp_path / "mainstay.toml").write_text(f"{configuration}\n[service]\nport = 0\n")
    try:
        said = [await typed(words, tmp_path) for words in to_type]
    finally:
        said.append(await typed(kill, tmp_path))
    assert all(re.search(rf"^{name} +ready", said[0], re.MULTILINE) for name in ("feishu-agent:0", "worker:1"))
    assert "worker:0 out | at work" in said[3]
    assert "have ended" in said[-1]


@pytest.mark.anyio
@pytest.mark.timeout(300)  # some thirty commands, four of which wait for the service
async def test_the_way_into_production_works_and_back(tmp_path: Path) -> None:
    page = ROOT / "docs/how-to/deploy.md"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAINSTAY_")}
    environ |= {"PORT": port, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    said = []
    try:
        for body in blocks(page, "sh"):
            ran = await asyncio.create_subprocess_exec(
                "sh", "-eu", "-c", body, cwd=tmp_path, env=environ, stdout=asyncio.subprocess.PIPE, stderr=2
            )
            async with asyncio.timeout(100):
                output, _ = await ran.communicate()
            said.append(output.decode())
            assert ran.returncode == 0, f"{body}\n{said[-1]}"
    finally:
        await typed(["mainstay", "kill"], tmp_path)
    assert sum("restored: " in each for each in said) == 3
    assert not (tmp_path / "drill").exists()


def test_the_checklist_names_every_check_of_the_doctor() -> None:
    page = (ROOT / "docs/how-to/deploy.md").read_text().partition("## The checklist")[2]
    assert set(re.findall(r"`([a-z-]+)`", page)) == set(CHECKS)


@pytest.mark.anyio
async def test_the_way_from_pm2_works(tmp_path: Path) -> None:
    page = ROOT / "docs/how-to/move-from-pm2.md"
    (tmp_path / "ecosystem.config.json").write_text(blocks(page, "json")[0])
    (tmp_path / "server.py").write_text("import time\ntime.sleep(600)\n")
    try:
        said = [await typed(words, tmp_path) for words in commands(page)]
    finally:
        await typed(["mainstay", "kill"], tmp_path)
    shown, written, checked, _, listed, saved, unit = said
    assert re.search(r"^bot +max_memory_restart +changed", shown, re.MULTILINE)
    assert re.search(r"^- +deploy +not supported", written, re.MULTILINE)
    assert "mainstay.toml: right" in checked
    assert re.search(r"^bot:0 +ready", listed, re.MULTILINE)
    assert "1 of 1 instances are to run" in saved
    assert "ExecStart=" in unit


@pytest.mark.anyio
async def test_the_way_to_an_mcp_server_works(tmp_path: Path) -> None:
    page = ROOT / "docs/how-to/use-mcp-servers.md"
    ours, theirs = blocks(page, "toml")
    (tmp_path / "shop.py").write_text(blocks(page, "python")[0])
    check, serve, *to_type = commands(page)
    assert (check[1:], serve[1:]) == (["config", "check"], ["serve"])
    async with project(tmp_path, ours.replace('"python"', f'"{sys.executable}"')) as made:
        await typed(check, tmp_path)
        await made.start()
        async with asyncio.timeout(60):
            while '"mcp:shop":{"status":"ok"' not in json.dumps(await made.health(), separators=(",", ":")):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        said = [await typed(words, tmp_path, made.url) for words in to_type]
        assert "tea costs 3" in said[0]
        assert "mcp:shop" in said[1]
    (tmp_path / "mainstay.toml").write_text(theirs)
    (tmp_path / ".env").write_text("TICKETS_TOKEN=abc\n")
    await typed(check, tmp_path)
