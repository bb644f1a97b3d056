"""A bot on lark-oapi: its long connection, its asynchronous calls, and a card that is updated 4 times a second."""

import asyncio
import json
import time
from collections.abc import Awaitable
from typing import Any

import lark_oapi as lark
from bench.bots.script import ECHO, arguments, is_streamed, pieces
from lark_oapi.api.cardkit.v1 import (
    ContentCardElementRequest,
    ContentCardElementRequestBody,
    CreateCardRequest,
    CreateCardRequestBody,
    SettingsCardRequest,
    SettingsCardRequestBody,
)
from lark_oapi.api.im.v1 import P2ImMessageReceiveV1, ReplyMessageRequest, ReplyMessageRequestBody

_UPDATE_EVERY_S = 0.25
_CARD = {
    "schema": "2.0",
    "config": {"streaming_mode": True, "update_multi": True, "summary": {"content": "..."}},
    "body": {"elements": [{"tag": "markdown", "element_id": "answer", "content": "Thinking..."}]},
}


class Bot:
    def __init__(self, client: lark.Client) -> None:
        self._client = client
        self._answers: set[asyncio.Task[None]] = set()

    def received(self, data: P2ImMessageReceiveV1) -> None:
        """Called on the loop of the connection, which waits for it before it acknowledges."""
        message = data.event.message
        text = json.loads(message.content)["text"]
        work = self._stream(message.message_id) if is_streamed(text) else self._echo(message.message_id)
        task = asyncio.get_running_loop().create_task(work)
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _echo(self, message_id: str) -> None:
        await self._reply(message_id, "text", {"text": ECHO})

    async def _stream(self, message_id: str) -> None:
        kit = self._client.cardkit.v1
        made = await done(
            kit.card.acreate(
                CreateCardRequest.builder()
                .request_body(CreateCardRequestBody.builder().type("card_json").data(json.dumps(_CARD)).build())
                .build()
            )
        )
        card_id = made.data.card_id
        await self._reply(message_id, "interactive", {"type": "card", "data": {"card_id": card_id}})
        text, sequence, shown_s = "", 0, 0.0
        async for piece in pieces():
            text += piece
            if time.monotonic() - shown_s >= _UPDATE_EVERY_S:
                shown_s, sequence = time.monotonic(), sequence + 1
                await self._show(card_id, text, sequence)
        await self._show(card_id, text, sequence + 1)
        settings = json.dumps({"config": {"streaming_mode": False, "summary": {"content": text[:100]}}})
        body = SettingsCardRequestBody.builder().settings(settings).sequence(sequence + 2).build()
        await done(kit.card.asettings(SettingsCardRequest.builder().card_id(card_id).request_body(body).build()))

    async def _show(self, card_id: str, text: str, sequence: int) -> None:
        body = ContentCardElementRequestBody.builder().content(text).sequence(sequence).build()
        request = (
            ContentCardElementRequest.builder().card_id(card_id).element_id("answer").request_body(body).build()
        )
        await done(self._client.cardkit.v1.card_element.acontent(request))

    async def _reply(self, message_id: str, kind: str, content: dict[str, object]) -> None:
        body = ReplyMessageRequestBody.builder().msg_type(kind).content(json.dumps(content)).build()
        await done(
            self._client.im.v1.message.areply(
                ReplyMessageRequest.builder().message_id(message_id).request_body(body).build()
            )
        )


async def done(call: Awaitable[Any]) -> Any:  # noqa: ANN401  one of the SDK's many answers
    """Its answer. Raises RuntimeError if it was refused."""
    answer = await call
    if not answer.success():
        raise RuntimeError(f"{answer.code} {answer.msg}")
    return answer


def main() -> None:
    domain, app_id, app_secret = arguments()
    client = lark.Client.builder().app_id(app_id).app_secret(app_secret).domain(domain).build()
    bot = Bot(client)
    handler = lark.EventDispatcherHandler.builder("", "").register_p2_im_message_receive_v1(bot.received).build()
    connection = lark.ws.Client(
        app_id, app_secret, event_handler=handler, domain=domain, log_level=lark.LogLevel.ERROR
    )
    connection.start()


if __name__ == "__main__":
    main()
