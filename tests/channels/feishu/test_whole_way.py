"""From the bytes of a model's stream to what the platform shows: the text stays the same, however it is cut.

The model is a server that cuts its text between any two halves of a character, writes it with and without JSON's
escapes, and sends its bytes in pieces of any length, also through the middle of a character or an escape. All else
is the product: its client, its agents, turns, database and channel, and the platform's own record over HTTP.
"""

import asyncio
import json
import random
from collections.abc import AsyncGenerator

import pytest
from tests.channels.feishu.conftest import serve
from tests.channels.feishu.house import at_home
from tests.channels.feishu.test_streaming import chunks, follows, whole

from mainstay.agents.model import AgentSettings
from mainstay.agents.responder import build
from mainstay.asgi import Receive, Scope, Send
from mainstay.bus import Bus
from mainstay.clock import SystemClock
from mainstay.messages import AnswerEvent, Message, Turn
from mainstay.models.http import model_client
from mainstay.models.model import ModelSettings
from mainstay.settings import Secret

pytestmark = pytest.mark.anyio


def answer_to(question: str) -> list[str]:
    """The pieces of the one answer that there is to this question."""
    return chunks(random.Random(question))


def stream_of(question: str) -> list[bytes]:
    """The body of that answer, in the pieces in which it is sent."""
    rng = random.Random(f"bytes {question}")
    events = []
    for piece in ["", *answer_to(question)]:
        halves = any("\ud800" <= char <= "\udfff" for char in piece)
        choice = {"index": 0, "delta": {"content": piece}, "finish_reason": None}
        events.append(json.dumps(_chunk(choice), ensure_ascii=halves or rng.random() < 0.5))
    events.append(json.dumps(_chunk({"index": 0, "delta": {}, "finish_reason": "stop"})))
    body = "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]).encode()
    pieces, position = [], 0
    while position < len(body):
        size = rng.choice((1, 2, 3, 50, 333, 2000))
        pieces.append(body[position : position + size])
        position += size
    return pieces


def _chunk(choice: dict[str, object]) -> dict[str, object]:
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


async def model(scope: Scope, receive: Receive, send: Send) -> None:
    body = b""
    while (message := await receive())["more_body"]:
        body += message["body"]
    question = json.loads(body + message["body"])["messages"][-1]["content"]
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for piece in stream_of(question):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body"})


async def wrongly_shown(home, script, questions: list[str]) -> list[str]:
    """The questions whose answer was not shown as the model gave it, at the end or on the way."""
    await home.worker(script)
    said = {}
    for question in questions:
        said[question] = (await home.platform.say(question, sender=f"ou_{question}")).message_id
    for message_id in said.values():
        await home.snapshot(message_id)
    replies = {each.message_id: each.replies for each in (await home.platform.record()).messages}
    wrong = []
    for question, message_id in said.items():
        text = whole(answer_to(question))
        [reply] = replies[message_id]
        on_the_way = all(follows(shown.text, text) or shown.text == "…" for shown in reply.history[:-1])
        if reply.text != text or not on_the_way:
            wrong.append(question)
    return wrong


@pytest.mark.parametrize("count", [50, pytest.param(1000, marks=[pytest.mark.soak, pytest.mark.timeout(600)])])
async def test_what_a_model_streams_is_shown_byte_for_byte(tmp_path, sandbox_process, served, count: int) -> None:
    clock = SystemClock()
    async with (
        at_home(tmp_path, {"feishu": sandbox_process}, served) as home,
        serve([("/v1/chat/completions", model)]) as origin,
        model_client() as http,
    ):
        models = {"m": ModelSettings(base_url=f"{origin}/v1", model="m", api_key=Secret("k"))}
        agents = {"manager": AgentSettings(models=("m",))}
        responder = build(agents, models, bus=Bus(), clock=clock, http=http)

        async def script(message: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
            async for event in responder.respond(message, turn):
                yield event

        assert await wrongly_shown(home, script, [f"way {number}" for number in range(count)]) == []
