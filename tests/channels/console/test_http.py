"""The agents over HTTP: one outcome a message, for whoever asks, however often and however late."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
from tests.channels.conftest import Running, eventually, visiting

from mainstay.channels.console.model import ConsoleSettings, chat_path
from mainstay.errors import Category
from mainstay.events import DeadLettered, TurnFinished
from mainstay.messages import (
    AnswerEvent,
    Finished,
    HandedOver,
    Message,
    Outcome,
    Status,
    Suggestions,
    TextAppended,
    TextReplaced,
    ToolFinished,
    ToolStarted,
    Turn,
    turn_id_of,
)

pytestmark = pytest.mark.anyio

STREAM = {"Accept": "text/event-stream"}
NEVER_S = 3600.0
QUICK = ConsoleSettings(look_interval=0.02, heartbeat=NEVER_S)


def running(home: Path, script=None, settings: ConsoleSettings = QUICK) -> Running:
    return Running(home, {"console": settings}, *([script] if script else []))


class Held:
    """A responder that says one part after another, as the test lets it."""

    def __init__(self) -> None:
        self.parts: asyncio.Queue[AnswerEvent] = asyncio.Queue()
        self.begun = asyncio.Event()

    async def __call__(self, message: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        self.begun.set()
        text = ""
        while True:
            event = await self.parts.get()
            if isinstance(event, TextAppended):
                text += event.text
            if isinstance(event, TextReplaced):
                text = event.text
            if isinstance(event, Finished):
                yield replace(event, text=text)
                return
            yield event

    def say(self, *events: AnswerEvent) -> None:
        for event in events:
            self.parts.put_nowait(event)

    def end(self) -> None:
        self.say(Finished(outcome=Outcome.ANSWERED, agent="manager", model="primary"))


@asynccontextmanager
async def stream(
    http: httpx2.AsyncClient,
    said: dict[str, str] | None = None,
    *,
    item: str = "",
    again: str = "",
    last: str = "",
) -> AsyncIterator[AsyncIterator[tuple[str, str, dict]]]:
    """The events of a stream: id, name, data."""
    headers = STREAM | ({"Last-Event-ID": last} if last else {})
    method, path = ("POST", "/chat") if said is not None else ("GET", f"/chat/{item}")
    if again:
        method, path = "POST", f"/chat/{again}/retry"
    async with http.stream(method, path, json=said, headers=headers) as response:
        if response.status_code != 200:
            await response.aread()
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/event-stream")
        async with aclosing(events(response)) as found:
            yield found


async def events(response: httpx2.Response) -> AsyncGenerator[tuple[str, str, dict], None]:
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        if "data" in fields:
            yield fields["id"], fields["event"], json.loads(fields["data"])
        fields = {}


async def named(found: AsyncIterator[tuple[str, str, dict]], name: str) -> tuple[str, dict]:
    """The next event of this name."""
    async for identity, each, data in found:
        if each == name:
            return identity, data
    raise AssertionError(f"the stream ended without {name}")


async def test_a_message_is_answered_in_json(tmp_path: Path) -> None:
    async with running(tmp_path) as here, visiting(here) as http:
        response = await http.post("/chat", json={"text": "hello", "message_id": "m-1", "conversation": "c"})
        assert response.status_code == 200
        outcome = response.json()
        assert (outcome["outcome"], outcome["text"]) == ("answered", "re: hello")
        assert (outcome["message_id"], outcome["conversation"]) == ("m-1", "c")
        assert (outcome["agent"], outcome["model"], outcome["hops"]) == ("manager", "primary", [])
        assert (await http.get("/chat/m-1")).json() == outcome


async def test_a_stream_tells_everything_and_ends_with_the_outcome(tmp_path: Path) -> None:
    async def script(message: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        yield Status("looks it up")
        yield HandedOver(from_agent="manager", to_agent="okr", strategy="rule", reason="OKR")
        yield ToolStarted(call_id="1", tool="clock")
        yield ToolFinished(call_id="1", tool="clock", ok=False)
        yield Suggestions(("and then?",))
        for part in ("你", "好\n\n", "😀 data: x\n\nevent: finished"):
            yield TextAppended(part)
        yield Finished(outcome=Outcome.ANSWERED, text="你好\n\n😀 data: x\n\nevent: finished", agent="okr")

    async with (
        running(tmp_path, script) as here,
        visiting(here) as http,
        stream(http, {"text": "hello"}) as found,
    ):
        told = [(name, data) async for _, name, data in found]
    assert told[0][0] == "accepted"
    assert [name for name, _ in told].count("finished") == 1
    assert told[-1][0] == "finished"
    about = {name: data for name, data in told if name != "text"}
    assert about["status"] == {"text": "looks it up"}
    assert about["hand-over"] == {"from": "manager", "to": "okr", "strategy": "rule", "reason": "OKR"}
    tools = [data["state"] for name, data in told if name == "tool"]
    assert tools == ["started", "failed"]
    assert about["suggestions"] == {"texts": ["and then?"]}
    streamed = "".join(data["append"] for name, data in told if name == "text")
    assert streamed == about["finished"]["text"] == "你好\n\n😀 data: x\n\nevent: finished"
    assert about["finished"]["suggestions"] == ["and then?"]


async def test_the_same_message_is_answered_once_for_all_who_ask(tmp_path: Path) -> None:
    held = Held()
    said = {"text": "hello", "message_id": "m-1"}
    async with running(tmp_path, held) as here, visiting(here) as http, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(http.post("/chat", json=said))
        await held.begun.wait()
        second = tasks.create_task(http.post("/chat", json=said))
        async with stream(http, said) as found:
            held.say(TextAppended("once"))
            await named(found, "text")
            held.end()
            _, outcome = await named(found, "finished")
        assert (await first).json() == (await second).json() == outcome
        assert (await http.post("/chat", json=said)).json() == outcome
        assert len(here.responder.turns) == 1


async def test_another_text_with_a_known_id_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as here, visiting(here) as http:
        await http.post("/chat", json={"text": "one", "message_id": "m-1"})
        for other in ({"text": "two"}, {"text": "one", "conversation": "c"}, {"text": "one", "sender": "s"}):
            response = await http.post("/chat", json=other | {"message_id": "m-1"})
            assert response.status_code == 409
            assert "m-1 was another message" in response.json()["error"]
        assert len(here.responder.turns) == 1


async def test_another_text_with_the_id_of_what_waits_is_refused_too(tmp_path: Path) -> None:
    idle = Running(tmp_path, {"console": replace(QUICK, wait=0.01)}, answering=False)
    async with idle as here, visiting(here) as http:
        for text, status in (("one", 202), ("two", 409), ("one", 202)):
            assert (await http.post("/chat", json={"text": text, "message_id": "m-1"})).status_code == status


async def test_who_comes_back_gets_the_rest_and_nothing_twice(tmp_path: Path) -> None:
    held = Held()
    said = {"text": "hello", "message_id": "m-1"}
    async with running(tmp_path, held) as here, visiting(here) as http:
        async with stream(http, said) as found:
            held.say(TextAppended("the beginning"))
            last, data = await named(found, "text")
            assert data == {"append": "the beginning"}
        held.say(TextAppended(", the middle"))
        for again in ({"said": said}, {"item": "m-1"}):
            async with stream(http, last=last, **again) as found:
                last, data = await named(found, "text")
                held.say(TextAppended(", the end"))
            assert data["append"] in (", the middle", ", the end")
        async with stream(http, item="m-1", last=last) as found:
            held.end()
            rest = [(name, data) async for _, name, data in found]
        seen = [data for name, data in rest if name == "text"]
        assert seen in ([], [{"append": ", the end"}])
        assert rest[-1][1]["text"] == "the beginning, the middle, the end, the end"


async def test_a_text_that_is_replaced_is_replaced_for_all(tmp_path: Path) -> None:
    held = Held()
    async with (
        running(tmp_path, held) as here,
        visiting(here) as http,
        stream(http, {"text": "hello"}) as found,
    ):
        held.say(TextAppended("half an answ"))
        await named(found, "text")
        held.say(TextReplaced("another"))
        assert (await named(found, "text"))[1] == {"replace": "another"}
        held.say(TextAppended(" one"))
        assert (await named(found, "text"))[1] == {"append": " one"}
        held.end()
        assert (await named(found, "finished"))[1]["text"] == "another one"


async def test_what_is_taken_back_ends_as_cancelled(tmp_path: Path) -> None:
    held = Held()
    async with running(tmp_path, held) as here, visiting(here) as http:
        async with stream(http, {"text": "hello", "message_id": "m-1"}) as found:
            held.say(TextAppended("a beginning"))
            await named(found, "text")
            response = await http.delete("/chat/m-1")
            assert response.status_code in (200, 202)
            _, outcome = await named(found, "finished")
        assert outcome["outcome"] == "cancelled"
        assert (await http.delete("/chat/m-1")).json() == outcome, "what has ended is only told"
        assert (await http.delete("/chat/m-2")).status_code == 404


async def test_what_waits_behind_another_can_be_taken_back(tmp_path: Path) -> None:
    held = Held()
    async with running(tmp_path, held) as here, visiting(here) as http, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(http.post("/chat", json={"text": "one"}))
        await held.begun.wait()
        second = tasks.create_task(http.post("/chat", json={"text": "two", "message_id": "m-2"}))

        async def accepted() -> bool:
            return (await http.get("/chat/m-2")).status_code == 202

        await eventually(accepted)
        waiting = (await http.get("/chat/m-2")).json()
        assert waiting == {"message_id": "m-2", "state": "queued", "text": ""}
        assert (await http.delete("/chat/m-2")).status_code == 202
        held.end()
        assert (await first).json()["outcome"] == "answered"
        assert (await second).json()["outcome"] == "cancelled"
        assert len(here.responder.turns) == 1


FAILED = Finished(outcome=Outcome.FAILED, notice="no model answers", category=Category.OVERLOADED, retryable=True)


class Failing(Held):
    """Fails as often as it is told to, then answers."""

    def __init__(self, times: int = 1) -> None:
        super().__init__()
        self.times = times
        self.turns: list[Turn] = []

    async def __call__(self, message: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        self.turns.append(turn)
        if len(self.turns) <= self.times:
            yield FAILED
            return
        async for event in super().__call__(message, turn):
            yield event


async def test_what_has_failed_is_tried_again_once_however_often_that_is_asked_for(tmp_path: Path) -> None:
    script = Failing()
    script.say(TextAppended("done after all"))
    script.end()
    async with running(tmp_path, script) as here, visiting(here) as http:
        failed = (await http.post("/chat", json={"text": "hello", "message_id": "m-1", "sender": "anna"})).json()
        assert (failed["outcome"], failed["retryable"], failed["text"]) == ("failed", True, "")
        asked = await asyncio.gather(*(http.post("/chat/m-1/retry") for _ in range(3)))
        [answer] = {response.text for response in asked}
        outcome = json.loads(answer)
        assert (outcome["outcome"], outcome["text"], outcome["conversation"]) == (
            "answered",
            "done after all",
            "anna",
        )
        assert (await http.get(f"/chat/{outcome['message_id']}")).text == answer, "it has an id of its own"
        assert (await http.get("/chat/m-1")).json() == failed, "and an outcome of its own"
        assert (await http.post("/chat/m-1/retry")).text == answer
        assert [each.turn_id for each in script.turns] == [
            turn_id_of("console", "console", "message", "m-1"),
            turn_id_of("console", "console", "callback", f"retry:{script.turns[0].turn_id}"),
        ]
        assert len([each for each in here.events if isinstance(each, TurnFinished)]) == 2


async def test_another_try_is_streamed_and_taken_back_and_tried_again_like_any_message(tmp_path: Path) -> None:
    script = Failing(times=2)
    async with running(tmp_path, script) as here, visiting(here) as http:
        await http.post("/chat", json={"text": "hello", "message_id": "m-1"})
        again = (await http.post("/chat/m-1/retry")).json()
        assert (again["outcome"], again["retryable"]) == ("failed", True)
        async with stream(http, again=again["message_id"]) as found:
            _, accepted = await named(found, "accepted")
            script.say(TextAppended("half"))
            await named(found, "text")
            third = accepted["message_id"]
            refused = await http.post(f"/chat/{third}/retry")
            assert (refused.status_code, refused.headers["retry-after"]) == (409, "2"), "it is not over yet"
            assert (await http.get(f"/chat/{third}")).json()["text"] == "half"
            taken_back = await http.delete(f"/chat/{third}")
            assert taken_back.status_code in (200, 202)
            _, outcome = await named(found, "finished")
        assert (outcome["outcome"], outcome["message_id"]) == ("cancelled", third)
        assert len({"m-1", again["message_id"], third}) == 3


async def test_only_a_failure_that_is_worth_it_is_tried_again(tmp_path: Path) -> None:
    async with running(tmp_path) as here, visiting(here) as http:
        assert (await http.post("/chat/m-1/retry")).status_code == 404
        await http.post("/chat", json={"text": "hello", "message_id": "m-1"})
        refused = await http.post("/chat/m-1/retry")
        assert (refused.status_code, "can not be tried again" in refused.json()["error"]) == (409, True)
        assert (await http.get("/chat/m-1/retry")).headers["allow"] == "POST"
        assert (await http.post("/chat/m-1/other")).status_code == 404
        taken = await http.post("/chat", json={"text": "x", "message_id": f"retry~{'0' * 8}"})
        assert (taken.status_code, "another try" in taken.json()["error"]) == (400, True)
        assert len(here.responder.turns) == 1


async def test_a_failure_can_not_be_tried_again_when_its_steps_may_be_forgotten(tmp_path: Path) -> None:
    script = Failing()
    async with (
        Running(tmp_path, {"console": QUICK}, script, retry_window_s=0.0) as here,
        visiting(here) as http,
    ):
        await http.post("/chat", json={"text": "hello", "message_id": "m-1"})
        assert (await http.post("/chat/m-1/retry")).status_code == 409
        assert len(script.turns) == 1


async def test_a_body_that_does_not_come_is_refused_before_anything_is_streamed(tmp_path: Path) -> None:
    async with running(tmp_path, settings=replace(QUICK, body_timeout=0.05)) as here, visiting(here) as http:
        await http.post("/chat", json={"text": "hello", "message_id": "m-1"})
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(
            f"GET /chat/m-1 HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {here.token}\r\n"
            "Accept: text/event-stream\r\nContent-Length: 5\r\n\r\n".encode()
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_what_is_there_so_far_can_be_asked_for(tmp_path: Path) -> None:
    held = Held()
    async with (
        running(tmp_path, held) as here,
        visiting(here) as http,
        stream(http, {"text": "hello", "message_id": "m-1"}) as found,
    ):
        held.say(TextAppended("so far"))
        await named(found, "text")
        response = await http.get("/chat/m-1")
        assert response.status_code == 202
        assert response.json() == {"message_id": "m-1", "state": "running", "text": "so far"}
        assert response.headers["location"] == "/chat/m-1"
        held.end()


async def test_conversations_are_apart_and_remembered(tmp_path: Path) -> None:
    async def script(message: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        text = " ".join([*(each.user_text for each in turn.history), message.text, message.person])
        yield Finished(outcome=Outcome.ANSWERED, text=text)

    async def ask(http: httpx2.AsyncClient, **said: str) -> str:
        return (await http.post("/chat", json=said)).json()["text"]

    async with running(tmp_path, script) as here, visiting(here) as http:
        assert await ask(http, text="1") == "1 console:console:operator"
        assert await ask(http, text="2") == "1 2 console:console:operator"
        assert await ask(http, text="3", conversation="x") == "3 console:console:operator"
        assert await ask(http, text="4", sender="anna@example.com") == "4 console:console:anna@example.com"


BAD = [
    (b"", 400, "no JSON"),
    (b"[" * 4000, 400, "no JSON"),
    (b'["text"]', 400, "no object"),
    (b'{"text": 1}', 400, "text: must be text"),
    (b"{}", 400, "text: is missing"),
    (b'{"text": " \\n"}', 400, "text: is missing"),
    (b'{"text": "x", "txt": "y"}', 400, "'txt': unknown key; did you mean text?"),
    (b'{"text": "\\ud83d"}', 400, "half of a surrogate pair"),
    (b'{"text": "x", "message_id": "../../etc"}', 400, "message_id: write letters"),
    (b'{"text": "x", "message_id": ""}', 400, "message_id: write letters"),
    (b'{"text": "x", "sender": "a\\u0000b"}', 400, "sender: must be printable"),
    (b'{"text": "x", "conversation": " "}', 400, "conversation: must be printable"),
    (json.dumps({"text": "x" * 101}).encode(), 413, "has 101 characters, 100 are taken"),
    (json.dumps({"text": "x" * 5000}).encode(), 413, "too large"),
]


async def test_bad_requests_get_one_line_and_store_nothing(tmp_path: Path) -> None:
    limits = replace(QUICK, text_limit=100, body_limit=4096)
    async with running(tmp_path, settings=limits) as here, visiting(here) as http:
        for body, status, said in BAD:
            response = await http.post("/chat", content=body, headers={"Content-Type": "application/json"})
            assert (response.status_code, said in response.json()["error"]) == (status, True), response.text
            assert "\n" not in response.text.strip()
        assert (await here.inbox.depth()).queued == 0
        assert here.responder.turns == []


async def test_only_what_there_is_can_be_asked_for(tmp_path: Path) -> None:
    async with running(tmp_path) as here, visiting(here) as http:
        form = await http.post("/chat", data={"text": "x"})
        assert (form.status_code, "must be JSON" in form.text) == (415, True)
        assert (await http.get("/chat/unknown")).status_code == 404
        assert (await http.get("/chat/unknown", headers=STREAM)).status_code == 404
        for method, path, allowed in (("GET", "/chat", "POST"), ("POST", "/chat/m", "GET, DELETE")):
            response = await http.request(method, path)
            assert (response.status_code, response.headers["allow"]) == (405, allowed)
        for path in ("/chat/", "/chat/a/b", "/chat/%61", "/chat/.hidden", "/chats"):
            assert (await http.get(path)).json() == {"error": "not found"}


async def test_nobody_but_an_operator_is_let_in(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        viewer = json.loads((tmp_path / "tokens.json").read_text())["viewer"]
        for token, status in (("none", 401), ("wrong", 401), (viewer, 403)):
            async with visiting(here, token) as http:
                for method, path in (("POST", "/chat"), ("GET", "/chat/m"), ("DELETE", "/chat/m")):
                    assert (await http.request(method, path, json={"text": "x"})).status_code == status
        assert here.responder.turns == []


async def test_when_too_many_wait_another_one_is_told_to_come_back(tmp_path: Path) -> None:
    held = Held()
    async with running(tmp_path, held, replace(QUICK, waiting=1)) as here, visiting(here) as http:
        async with stream(http, {"text": "one", "message_id": "m-1"}) as found:
            await named(found, "accepted")
            for refused in (
                await http.post("/chat", json={"text": "two", "message_id": "m-2"}),
                await http.get("/chat/m-1", headers=STREAM),
            ):
                assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
            assert (await http.get("/chat/m-2")).status_code == 404, "what is refused is not stored"
            [condition] = [check() for check in here.channel("console").checks()]
            assert (condition.status, condition.detail["waiting"]) == ("degraded", 1)

        async def free() -> bool:
            return here.channel("console").checks()[0]().status == "ok"

        await eventually(free)  # who has left makes room
        held.end()
        assert (await http.post("/chat", json={"text": "one", "message_id": "m-1"})).status_code == 200


async def test_when_too_many_messages_wait_for_answers_no_more_are_taken(tmp_path: Path) -> None:
    held = Held()
    limits = replace(QUICK, backlog=1)
    async with running(tmp_path, held, limits) as here, visiting(here) as http, asyncio.TaskGroup() as tasks:
        tasks.create_task(http.post("/chat", json={"text": "one"}))
        await held.begun.wait()
        tasks.create_task(http.post("/chat", json={"text": "two", "message_id": "m-2"}))

        async def queued() -> bool:
            return (await here.inbox.depth()).queued == 1

        await eventually(queued)
        refused = await http.post("/chat", json={"text": "three"})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
        held.end()
        held.end()


async def test_who_does_not_read_costs_a_piece_and_gets_the_latest_text(tmp_path: Path) -> None:
    """The whole of what is streamed would be 40 MB; what lies about for this client is bounded."""
    held = Held()
    async with running(tmp_path, held) as here, visiting(here) as http:
        with socket.socket() as plain:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            plain.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(plain, ("127.0.0.1", here.port))
            body = b'{"text": "hello", "message_id": "m-1"}'
            head = (
                f"POST /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {here.token}\r\n"
                f"Accept: text/event-stream\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            await loop.sock_sendall(plain, head.encode() + body)
            async with stream(http, {"text": "hello", "message_id": "m-1"}) as found:
                for number in range(1000):
                    held.say(TextReplaced(f"{number} " + "x" * 40_000))
                held.say(TextReplaced("the last"))
                held.end()
                _, outcome = await named(found, "finished")
            assert outcome["text"] == "the last"
            received = bytearray()
            async with asyncio.timeout(30):
                while more := await loop.sock_recv(plain, 65536):
                    received += more
    assert b'"the last"' in received
    assert b"event: finished" in received
    assert len(received) < 10_000_000


async def test_a_client_that_takes_nothing_any_more_is_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held = Held()
    async with running(tmp_path, held, replace(QUICK, send_timeout=0.05)) as here:
        with socket.socket() as plain:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            plain.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(plain, ("127.0.0.1", here.port))
            body = b'{"text": "hello", "message_id": "m-1"}'
            head = (
                f"POST /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {here.token}\r\n"
                f"Accept: text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            await loop.sock_sendall(plain, head.encode() + body)
            await held.begun.wait()
            waiting = here.channel("console").checks()[0]
            assert waiting().detail["waiting"] == 1

            async def left() -> bool:
                held.say(TextReplaced("x" * 3_000_000))
                return waiting().detail["waiting"] == 0

            await eventually(left)
            held.end()
            await here.until(TurnFinished)
            assert here.connections() == 0, "nothing is kept for it, and it is not waited for until it reads"
            assert caplog.text == ""


async def test_a_stream_says_that_it_is_still_there(tmp_path: Path) -> None:
    held = Held()
    settings = replace(QUICK, heartbeat=0.05)
    async with running(tmp_path, held, settings) as here, visiting(here) as http:
        async with http.stream("POST", "/chat", json={"text": "x"}, headers=STREAM) as response:
            async for line in response.aiter_lines():
                if line == ": still here":
                    break
        held.end()


async def test_who_waits_when_the_service_stops_is_told_where_the_outcome_will_be(tmp_path: Path) -> None:
    held = Held()
    async with running(tmp_path, held) as here, visiting(here) as http, asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(http.post("/chat", json={"text": "hello", "message_id": "m-1"}))
        await held.begun.wait()
        async with stream(http, item="m-1") as found:
            await named(found, "accepted")
            await here.leave()
            assert [name async for _, name, _ in found] == []
        response = await waiting
        assert (response.status_code, response.json()["state"]) == (202, "running")
        assert response.headers["location"] == "/chat/m-1"


async def test_who_waits_too_long_is_told_to_come_back(tmp_path: Path) -> None:
    held = Held()
    async with running(tmp_path, held, replace(QUICK, wait=0.05)) as here, visiting(here) as http:
        response = await http.post("/chat", json={"text": "hello", "message_id": "m-1"})
        assert (response.status_code, response.json()["message_id"]) == (202, "m-1")
        held.end()
        await here.until(TurnFinished)
        assert (await http.get("/chat/m-1")).json()["outcome"] == "answered"


async def test_the_next_process_answers_what_was_cut_off_and_tells_what_had_ended(tmp_path: Path) -> None:
    held = Held()
    async with running(tmp_path, held) as here, visiting(here) as http:
        held.say(TextAppended("done"))
        held.end()
        done = (await http.post("/chat", json={"text": "one", "message_id": "m-1"})).json()
        async with stream(http, {"text": "two", "message_id": "m-2"}) as found:
            held.say(TextAppended("only half of"))
            last, _ = await named(found, "text")
    async with running(tmp_path) as here, visiting(here) as http:
        assert (await http.get("/chat/m-1")).json() == done
        async with stream(http, {"text": "two", "message_id": "m-2"}, last=last) as found:
            told = [(name, data) async for _, name, data in found]
        assert [data for name, data in told if name == "text"] in ([{"replace": "re: two"}], [])
        assert told[-1][1]["text"] == "re: two"


async def test_an_outcome_that_another_process_has_made_is_found(tmp_path: Path) -> None:
    """As in a reload, when two workers share the inbox."""
    idle = Running(tmp_path, {"console": QUICK}, answering=False)
    async with idle as one, visiting(one) as http, asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(http.post("/chat", json={"text": "hello"}))

        async def stored() -> bool:
            return (await one.inbox.depth()).queued == 1

        await eventually(stored)
        async with running(tmp_path) as other:
            await other.until(TurnFinished)
            assert (await waiting).json()["text"] == "re: hello"


async def test_a_dead_letter_is_told_as_a_failure(tmp_path: Path) -> None:
    slow = {"console": replace(QUICK, look_interval=NEVER_S)}
    async with Running(tmp_path, slow, answering=False) as here, visiting(here) as http:
        message = Message(
            channel="console",
            bot_id="console",
            external_id="m-1",
            chat_id="c",
            sender_id="s",
            text="hello",
            sent_at=datetime.now(UTC),
        )
        await here.inbox.put(message)
        async with stream(http, item="m-1") as found:
            await named(found, "accepted")
            [claim] = await here.inbox.claim(1)
            await here.inbox.bury(claim, "nobody can read it")
            here.bus.emit(DeadLettered(turn_id=message.turn_id, reason="nobody can read it"))
            _, outcome = await named(found, "finished")
        assert outcome["outcome"] == "failed"
        assert "nobody can read it" in outcome["notice"]


async def test_an_outcome_is_kept_for_a_while_and_then_said_to_be_forgotten(tmp_path: Path) -> None:
    said = {"text": "hello", "message_id": "m-1"}
    async with running(tmp_path) as here, visiting(here) as http:
        assert (await http.post("/chat", json=said)).status_code == 200
    async with running(tmp_path, settings=replace(QUICK, keep=0.001)) as here, visiting(here) as http:

        async def forgotten() -> bool:
            return (await http.get("/chat/m-1")).status_code == 410

        await eventually(forgotten)
        assert (await http.post("/chat", json=said)).status_code == 410
        assert here.responder.turns == [], "it is not answered again"


def test_a_further_console_has_a_path_of_its_own() -> None:
    assert (chat_path("console"), chat_path("desk")) == ("/chat", "/desk/chat")


async def test_two_consoles_know_nothing_of_one_another(tmp_path: Path) -> None:
    async with Running(tmp_path, {"console": QUICK, "desk": QUICK}) as here, visiting(here) as http:
        assert (await http.post("/desk/chat", json={"text": "a", "message_id": "m-1"})).status_code == 200
        assert (await http.get("/desk/chat/m-1")).status_code == 200
        assert (await http.get("/chat/m-1")).status_code == 404
        assert turn_id_of("desk", "desk", "message", "m-1") == here.responder.turns[0].turn_id
