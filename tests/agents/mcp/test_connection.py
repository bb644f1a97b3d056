"""A server is kept connected, its state is told truthfully, and nothing of it is left behind."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCRequest, JSONRPCResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from tests.agents.conftest import CLOCK
from tests.agents.mcp.conftest import DEADLINE_S, Journal, Street, eventually, listening, serving

from mainstay.agents.mcp import leash
from mainstay.agents.mcp.link import answering
from mainstay.agents.mcp.servers import McpServers, in_use
from mainstay.agents.model import AgentSettings
from mainstay.checks import Condition
from mainstay.events import McpServerChanged
from mainstay.messages import Outcome
from mainstay.settings import Secret
from mainstay.testing.provider import served_provider
from mainstay.testing.turns import StepsInMemory

pytestmark = pytest.mark.anyio

PRICE = 'call price {"item": "tea"}'


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def without_end() -> AsyncIterator[bytes]:
    while True:
        yield b"x"
        await asyncio.sleep(0.1)


@asynccontextmanager
async def forgetful(*, chatty: bool = False) -> AsyncIterator[tuple[str, list[str]]]:
    """A server of before 2026 at a URL, which forgets its sessions when asked to, and never answers a goodbye.

    A chatty one begins to, and finds no end.
    """
    seen: list[str] = []
    sessions: list[str] = []

    async def answer(request: Request) -> Response:
        if request.method == "DELETE":
            seen.append("DELETE")
            if chatty:
                return StreamingResponse(without_end(), media_type="text/plain")
            await asyncio.Event().wait()
        message = await request.json() if request.method == "POST" else {}
        method = message.get("method", "")
        seen.append(method)
        headers = {}
        if method == "initialize":
            sessions.append(f"session-{len(sessions)}")
            headers = {"Mcp-Session-Id": sessions[-1]}
            result: dict[str, object] = {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "forgetful", "version": "1"},
            }
        elif method == "tools/list":
            result = {"tools": [{"name": "forget", "inputSchema": {"type": "object"}}]}
        else:
            if method == "tools/call":
                sessions.clear()
            return Response(status_code=404 if "id" in message else 405 if not message else 202)
        if method == "tools/list" and request.headers.get("Mcp-Session-Id") not in sessions:
            return Response(status_code=404)
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "result": result}, headers=headers)

    app = Starlette(routes=[Route("/mcp", answer, methods=["POST", "GET", "DELETE"])])
    async with serving(app) as port:
        yield f"http://127.0.0.1:{port}/mcp", seen


async def condition_that_says(street: Street, words: str) -> Condition:
    await eventually(lambda: words in street.server().check().reason)
    condition = street.server().check()
    assert (condition.name, condition.status) == ("mcp:shop", "degraded")
    assert (condition.required, condition.affects_status) == (False, False)
    return condition


async def answers_without(street: Street) -> None:
    _, final = await street.bench.ask(street.responder(), "hello")
    assert final.outcome is Outcome.ANSWERED


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"command": ("no-such-command",)}, "127: no-such-command: No such file or directory"),
        ({"cwd": "/no/such/directory"}, "No such file or directory: '/no/such/directory'"),
        (
            {"command": (sys.executable, "-c", "import sys; sys.exit('no tea; token=abcdefgh')")},
            "it ended with status 1: no tea; token=***",
        ),
        (
            {"command": (sys.executable, "-c", "import sys; sys.exit('token=' + 'abcd' * 510 + ' no tea')")},
            "it ended with status 1: token=*** no tea",
        ),
        ({"command": ("sleep", "60"), "connect_timeout": 0.3}, "no answer within 300ms"),
        ({"command": ("cat",)}, "not connected: Method not found"),
    ],
)
async def test_a_server_that_does_not_start_has_a_reason_and_the_agents_answer_without_it(
    street: Street, settings: dict[str, object], reason: str
) -> None:
    street.stdio("shop", **settings)
    async with street.open(wait=False):
        await condition_that_says(street, reason)
        await answers_without(street)


async def test_a_url_that_refuses_has_a_reason(street: Street) -> None:
    async with served_provider() as provider:
        street.at("shop", provider.url.replace("/v1", "/mcp"))
        async with street.open(wait=False):
            await condition_that_says(street, "MCP server shop is not connected: it answered with HTTP 404")
            await answers_without(street)


async def test_a_server_that_was_away_is_found_when_it_is_there(street: Street, journal: Journal) -> None:
    async with listening(journal) as served:
        street.at("shop", served.url)
    async with street.open(wait=False):
        await condition_that_says(street, "All connection attempts failed")
        async with listening(journal, port=served.port):
            await eventually(lambda: street.server().session)
            _, final = await street.bench.ask(street.responder(), PRICE)
            assert "tea costs 3" in final.text
    told = [(event.connected, event.reason) for event in street.bench.heard_of(McpServerChanged)]
    assert told == [(False, "All connection attempts failed"), (True, "")]


async def test_a_server_that_goes_away_under_a_call_is_connected_again(street: Street, journal: Journal) -> None:
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(listening(journal))
        street.at("shop", served.url)
        async with street.open():
            async with asyncio.TaskGroup() as tasks:
                asking = tasks.create_task(street.bench.ask(street.responder(), "call wait"))
                await journal.has("wait")
                await stack.aclose()
            _, final = asking.result()
            assert final.outcome is Outcome.ANSWERED
            assert "It may have taken effect: do not call it again." in final.text
            await eventually(lambda: street.server().session is None)
            steps = StepsInMemory()
            _, final = await street.bench.ask(street.responder(), PRICE, steps=steps)
            assert "The tool price is not available now." in final.text
            assert steps.written == {}
            async with listening(journal, port=served.port):
                await eventually(lambda: street.server().session)
                _, final = await street.bench.ask(street.responder(), PRICE)
                assert "tea costs 3" in final.text


async def test_headers_are_sent_with_every_request_and_shown_nowhere(street: Street, journal: Journal) -> None:
    async with listening(journal) as served:
        street.at("shop", served.url, headers={"Authorization": Secret("Bearer hush-hush")})
        async with street.open():
            await street.bench.ask(street.responder(), PRICE)
    assert len(served.seen) >= 3
    assert {seen["authorization"] for seen in served.seen} == {"Bearer hush-hush"}
    assert "hush" not in repr(street.settings)


async def test_a_command_gets_its_own_variables_and_few_others(
    street: Street, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEISHU_APP_SECRET", "hush")
    program = "import json, os; json.dump([dict(os.environ), os.getcwd()], open('seen', 'w'))"
    street.stdio(
        "shop",
        command=(sys.executable, "-c", program),
        env={"TOKEN": Secret("t"), "COLOUR": "red"},
        cwd=str(tmp_path),
    )
    async with street.open(wait=False):
        await condition_that_says(street, "it ended with status 0")
    environ, directory = json.loads((tmp_path / "seen").read_text())
    assert (environ["TOKEN"], environ["COLOUR"], directory) == ("t", "red", str(tmp_path))
    assert environ.keys() - {"TOKEN", "COLOUR", "LC_CTYPE"} <= {"HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"}


@pytest.mark.parametrize("kind", ["stdio", "http", "old"])
async def test_a_change_of_the_tools_is_heard(street: Street, journal: Journal, kind: str) -> None:
    async with AsyncExitStack() as stack:
        if kind == "http":
            street.at("shop", (await stack.enter_async_context(listening(journal))).url)
        else:
            street.stdio("shop", "old_shop.py" if kind == "old" else "shop.py")
        await stack.enter_async_context(street.open())
        assert "novelty" not in street.offered()
        await street.bench.ask(street.responder(), "call rename")
        await eventually(lambda: "novelty" in street.offered())
        _, final = await street.bench.ask(street.responder(), "call novelty")
        assert "The tool novelty returned: " in final.text


async def test_five_hundred_tools_are_not_all_offered(street: Street) -> None:
    street.stdio("shop", "shop.py", "500")
    async with street.open():
        assert len(street.offered()) == 100
        await condition_that_says(street, "tools, and 100 are offered: name those you need in tools")
        _, final = await street.bench.ask(street.responder(), PRICE)
        assert "tea costs 3" in final.text


async def test_a_schema_that_is_none_is_left_out_and_told(street: Street) -> None:
    street.stdio("shop", "old_shop.py")
    async with street.open():
        assert "price" in street.offered()
        assert "bent" not in street.offered()
        await condition_that_says(street, "the tool 'bent' is left out: the schema of its arguments is wrong")


async def test_what_is_too_large_in_a_list_is_left_out_and_holds_up_nothing(street: Street) -> None:
    street.stdio("shop", "old_shop.py", "large", connect_timeout=DEADLINE_S)
    async with street.open():
        assert street.offered() == [f"t{page}" for page in range(21)]
        await condition_that_says(street, "the tool 'tome-0' is left out: the description of its arguments is too")


async def test_a_server_that_dies_while_nobody_calls_it_comes_back(street: Street) -> None:
    street.stdio("shop", "old_shop.py")
    async with street.open():
        os.kill(street.journal.pids[0], signal.SIGKILL)
        await eventually(lambda: len(street.journal.pids) == 2 and street.server().session)
    lost = [event.reason for event in street.bench.heard_of(McpServerChanged) if not event.connected]
    assert lost == ["it ended with status 137"]


async def test_a_server_that_is_busy_with_a_call_is_not_taken_for_dead(street: Street) -> None:
    street.stdio("shop", "old_shop.py", timeout=2.0, connect_timeout=0.7)
    async with street.open(wait=False):
        await eventually(lambda: street.server().session)
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(street.bench.ask(street.responder(), "call block"))
            await street.journal.has("block")
            street.server().woken.set()
        _, final = asking.result()
        assert "did not finish within 2 seconds" in final.text


async def test_a_session_that_the_server_has_forgotten_is_begun_anew(street: Street) -> None:
    async with forgetful() as (url, seen):
        street.at("shop", url)
        async with street.open():
            _, final = await street.bench.ask(street.responder(), "call forget")
            assert "The tool failed: Session terminated" in final.text
            await eventually(lambda: seen.count("initialize") == 2 and street.server().session)
    assert seen.count("DELETE") == 2, "and each was told goodbye, though none answered to that"


async def test_a_goodbye_without_end_does_not_hold_up_the_end_of_the_service(street: Street) -> None:
    async with forgetful(chatty=True) as (url, seen):
        street.at("shop", url)
        async with asyncio.timeout(DEADLINE_S), street.open():
            pass
    assert seen.count("DELETE") == 1


async def test_a_server_that_answers_nothing_any_more_is_started_anew(street: Street) -> None:
    street.stdio("shop", "old_shop.py", "stubborn", timeout=0.3, connect_timeout=2.0)
    async with street.open():
        _, final = await street.bench.ask(street.responder(), "call block")
        assert "did not finish within 0.3 seconds" in final.text
        await eventually(lambda: street.server().session is None)
        assert alive(street.journal.pids[0]), "nobody has to wait for its end to hear that it is not available"
        await eventually(lambda: len(street.journal.pids) == 2)
        assert not alive(street.journal.pids[0])
        await eventually(lambda: street.server().session)
        _, final = await street.bench.ask(street.responder(), "call price")
        assert "price done" in final.text
        lost = [event.reason for event in street.bench.heard_of(McpServerChanged) if not event.connected]
        assert lost == ["it does not answer any more"]


async def test_a_server_that_asks_and_takes_no_answer_is_not_listened_to() -> None:
    sent, heard = anyio.create_memory_object_stream[SessionMessage](100)
    said, taken = anyio.create_memory_object_stream[SessionMessage](100)
    questions = [JSONRPCRequest(jsonrpc="2.0", id=number, method="ping") for number in range(17)]

    @asynccontextmanager
    async def transport() -> AsyncIterator[tuple[object, object]]:
        with sent, heard, said, taken:
            yield heard, said

    async with answering(transport()) as (listening_to, answering_with), asyncio.TaskGroup() as tasks:
        for question in questions:
            await sent.send(SessionMessage(question))
        assert [(await listening_to.receive()).message for _ in questions[1:]] == questions[:-1]
        last = tasks.create_task(listening_to.receive())
        await anyio.wait_all_tasks_blocked()
        assert not last.done()
        await answering_with.send(SessionMessage(JSONRPCResponse(jsonrpc="2.0", id=3, result={})))
        assert (await last).message == questions[-1]
        assert (await taken.receive()).message.id == 3


@pytest.mark.parametrize("arguments", [(), ("stubborn",)])
async def test_no_process_is_left_when_the_service_stops(street: Street, arguments: tuple[str, ...]) -> None:
    street.stdio("shop", "old_shop.py", *arguments)
    async with street.open():
        assert [alive(pid) for pid in street.journal.pids] == [True]
    assert [alive(pid) for pid in street.journal.pids] == [False]


@pytest.mark.parametrize("arguments", [(), ("stubborn",)])
async def test_no_process_is_left_when_the_service_is_killed(journal: Journal, arguments: tuple[str, ...]) -> None:
    """The leash alone: nobody is there any more to end what it holds."""
    lifeline, held = os.pipe()
    old_shop = str(Path(__file__).with_name("old_shop.py"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", leash.__file__, str(lifeline)),
        *(sys.executable, old_shop, str(journal.path), *arguments),
        stdin=asyncio.subprocess.PIPE,
        pass_fds=(lifeline,),
        start_new_session=True,
    )
    os.close(lifeline)
    await eventually(lambda: journal.pids)
    os.close(held)
    process.stdin.close()
    async with asyncio.timeout(30):
        assert await process.wait() == (137 if arguments else 0)
    assert not alive(journal.pids[0])


async def test_an_agent_is_told_which_tools_it_can_not_use(told, street: Street) -> None:
    street.stdio("shop", command=("no-such-command",))
    async with street.open(wait=False) as servers:
        told.model.says("hello")
        await told.ask("hi", servers=servers.by_name, mcp=("shop",), instructions="Be kind.")
    system = told.model.asked[0]["messages"][0]["content"]
    assert system == "Be kind.\n\nNot available now, and not your fault: the tools of shop."


async def test_only_the_servers_that_a_working_agent_names_are_started(street: Street) -> None:
    for name in ("a", "b", "idle"):
        street.stdio(name, command=("no-such-command",), prefix=f"{name}_")
    agents = {
        "manager": AgentSettings(mcp=("a",), specialists=("okr",)),
        "okr": AgentSettings(mcp=("b",)),
        "idle": AgentSettings(mcp=("idle",)),
    }
    bench, used = street.bench, in_use(agents, "manager")
    assert used == {"a", "b"}
    assert in_use({}, "manager") == set()
    servers = McpServers(street.settings, used, breakers=bench.breakers, bus=bench.bus, clock=CLOCK)
    assert [check().name for check in servers.checks()] == ["mcp:a", "mcp:b"]
    bench.servers = servers.by_name
    assert bench.responder(**agents), "what nobody uses has to be right, and no more"
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(part()) for part in servers.parts().values()]
        await eventually(lambda: all(servers.by_name[name].tried.is_set() for name in used))
        for each in running:
            each.cancel()
    assert not servers.by_name["idle"].tried.is_set()


def test_the_client_is_not_imported_without_a_server() -> None:
    imported = "import sys, mainstay.service, mainstay.agents.responder; sys.exit('mcp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", imported], timeout=60).returncode == 0
