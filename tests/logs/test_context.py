"""A line says which turn it is about."""

import asyncio
import logging

import pytest

from mainstay.logs.context import current_turn, turn

log = logging.getLogger("mainstay.x")


@pytest.mark.anyio
async def test_concurrent_turns_keep_their_lines_apart(start) -> None:
    written = start()
    together = asyncio.Barrier(2)

    async def work(turn_id: str) -> None:
        with turn(turn_id):
            await together.wait()
            await asyncio.to_thread(log.info, turn_id)

    async with asyncio.TaskGroup() as group:
        group.create_task(work("a"))
        group.create_task(work("b"))
    log.info("outside")
    assert {line["message"]: line.get("turn_id") for line in written.json} == {"a": "a", "b": "b", "outside": None}


def test_the_outer_turn_is_back_after_the_inner_one() -> None:
    with turn("outer"):
        with turn("inner"):
            assert current_turn() == "inner"
        assert current_turn() == "outer"
    assert current_turn() == ""


def test_a_text_line_shows_the_beginning_of_the_turn(start) -> None:
    written = start("text")
    with turn("0123456789abcdef"):
        log.info("x")
    assert "[turn 01234567]" in written.text
