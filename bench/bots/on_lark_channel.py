"""A bot on lark-channel-sdk: `FeishuChannel`, with its own streaming of Markdown."""

import asyncio
from typing import Any

from bench.bots.script import ECHO, arguments, is_streamed, pieces
from lark_channel import FeishuChannel, LogLevel


async def main() -> None:
    domain, app_id, app_secret = arguments()
    channel = FeishuChannel(app_id=app_id, app_secret=app_secret, domain=domain, log_level=LogLevel.ERROR)

    async def produce(card: Any) -> None:  # noqa: ANN401  the SDK does not export its type
        async for piece in pieces():
            await card.append(piece)

    async def received(message: Any) -> None:  # noqa: ANN401
        to, how = message.chat_id, {"reply_to": message.message_id}
        if is_streamed(message.content_text):
            await channel.stream(to, {"markdown": produce}, how)
        else:
            await channel.send(to, {"text": ECHO}, how)

    channel.on("message", received)
    await channel.connect()


if __name__ == "__main__":
    asyncio.run(main())
