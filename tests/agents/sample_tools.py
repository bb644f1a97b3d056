"""Tools for the tests, as a user would write them."""

import asyncio
import time
from typing import Literal

from mainstay.agents.tools import read_only

RAN: list[str] = []


def send_mail(to: str, subject: str = "hi") -> str:
    """Send a mail.

    Args:
        to: Whom.
        subject: What about.
    """
    RAN.append(f"mail {to}")
    return f"sent to {to}: {subject}"


@read_only
async def weather(city: str) -> dict[str, object]:
    """The weather in a city now."""
    RAN.append(f"weather {city}")
    return {"city": city, "degrees": 21}


def broken(why: str) -> str:
    """Always fails."""
    raise ConnectionError(f"{why}: password=hunter22")


async def endless(what: Literal["a", "b"]) -> str:
    """Never returns."""
    RAN.append(f"endless {what}")
    try:
        await asyncio.Event().wait()
    finally:
        RAN.append("ended")
    return what


def slow() -> str:
    """Takes longer than it may."""
    time.sleep(0.2)
    return "done"


def first_of_none() -> str:
    """Has a bug that asyncio takes for something else."""
    return next(iter(()))


def leaves() -> str:
    """Means to end a program of its own."""
    raise SystemExit(3)


async def leaves_at_once() -> str:
    """Means to end a program of its own, and is async."""
    raise SystemExit(3)


async def gives_up() -> str:
    """Has cancelled what it had begun, and waits for it."""
    task = asyncio.ensure_future(asyncio.Event().wait())
    task.cancel()
    await task
    return "never"


def half_a_character() -> str:
    """Says what is no Unicode."""
    return "made \ud83d"


def huge_number() -> dict[str, int]:
    """Says what is no JSON of ours."""
    return {"made": 2**70}


NOT_A_FUNCTION = 5
