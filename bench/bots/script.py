"""What do the measured bots answer, and how fast does it come?

The same for each of them: to what begins with "stream", ``TEXT`` in pieces of four characters, one each 10 ms, as a
model would say it; to anything else one short line at once.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Final

__all__ = ["ECHO", "STREAM", "TEXT", "arguments", "is_streamed", "pieces"]

STREAM: Final = "stream"
ECHO: Final = "seen"
TEXT: Final = "".join(
    f"{number}. 好好学习，天天向上。The quick brown fox jumps over the lazy dog — `x = [{number}]` 👍🏽\n"
    for number in range(20)
)
_PIECE: Final = 4
_EVERY_S: Final = 0.01


def is_streamed(text: str) -> bool:
    """Whether this asks for the long answer."""
    return text.startswith(STREAM)


async def pieces() -> AsyncIterator[str]:
    """The long answer, as it comes."""
    for start in range(0, len(TEXT), _PIECE):
        await asyncio.sleep(_EVERY_S)
        yield TEXT[start : start + _PIECE]


def arguments() -> tuple[str, str, str]:
    """The platform's domain, the app's id and its secret, as they are given to a bot."""
    _, domain, app_id, app_secret = sys.argv
    return domain, app_id, app_secret
