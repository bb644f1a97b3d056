"""A responder with every kind of fault: it does to the service what it is told, and says that it did."""

import asyncio
import ctypes
import gc
import threading
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import uvicorn.server
from starlette.responses import Response

from mainstay.channels.feishu.envelope import Envelope
from mainstay.channels.feishu.sqlite import Outbox
from mainstay.channels.feishu.webhook import Webhook
from mainstay.channels.outbox.model import Backlog
from mainstay.messages import AnswerEvent, Finished, Message, Outcome, TextAppended, Turn

SECRET = "correct-horse-battery-staple"
BOOM = f"boom {SECRET} token=abc123abc"

_kept: set[asyncio.Task[None]] = set()
_sound = Outbox.backlog


async def fail(error: Exception) -> None:
    raise error


def spawn(error: Exception) -> None:
    task = asyncio.create_task(fail(error), name="forgotten")
    _kept.add(task)
    task.add_done_callback(_kept.discard)


def in_a_task() -> None:
    spawn(RuntimeError(BOOM))


def in_a_group_of_tasks() -> None:
    spawn(ExceptionGroup("several", [RuntimeError(BOOM)]))


def in_two_tasks_that_wait_for_one() -> None:
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    failed.set_exception(RuntimeError(BOOM))

    async def wait() -> None:
        await failed

    for _ in range(2):
        task = asyncio.create_task(wait())
        _kept.add(task)
        task.add_done_callback(_kept.discard)


def in_a_callback() -> None:
    def raising(what: str) -> None:
        raise RuntimeError(what)

    asyncio.get_running_loop().call_soon(raising, BOOM)


class Finalized:
    def __del__(self) -> None:
        raise RuntimeError(BOOM)

    def __repr__(self) -> str:
        return f"<Finalized {SECRET}>"


def in_a_finalizer() -> None:
    Finalized()
    gc.collect()


def in_an_unprintable_error() -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError(BOOM)

    spawn(Unprintable())


async def in_a_generator() -> None:
    async def generator() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            raise RuntimeError(BOOM)

    async for _ in generator():
        break
    gc.collect()


def in_a_thread() -> None:
    def raising() -> None:
        raise RuntimeError(BOOM)

    threading.Thread(target=raising, name="poller").start()


def out_of_memory() -> None:
    error = RuntimeError(BOOM)
    error.__cause__ = MemoryError()
    spawn(ExceptionGroup("several", [error]))


def many_times() -> None:
    for _ in range(4):
        in_a_task()


def in_the_channel_once() -> None:
    async def backlog(self: Outbox) -> Backlog:
        Outbox.backlog = _sound  # type: ignore[method-assign]
        raise RuntimeError(BOOM)

    Outbox.backlog = backlog  # type: ignore[method-assign]


def in_the_channel_always() -> None:
    async def backlog(self: Outbox) -> Backlog:
        raise RuntimeError(BOOM)

    Outbox.backlog = backlog  # type: ignore[method-assign]


def in_the_webhook_once() -> None:
    taken = Webhook._taken

    async def raising(self: Webhook, envelope: Envelope, deadline: float) -> Response:
        Webhook._taken = taken  # type: ignore[method-assign]
        raise RuntimeError(BOOM)

    Webhook._taken = raising  # type: ignore[method-assign]


def everything_is_cancelled() -> None:
    mine = asyncio.current_task()
    for task in asyncio.all_tasks():
        if task is not mine and task.get_name() == "channel feishu":
            task.cancel()


def in_a_thread_while_another_goes_on_for_ever() -> None:
    threading.Thread(target=threading.Event().wait, name="endless").start()
    in_a_thread()


def in_a_thread_while_the_loop_is_held_up() -> None:
    in_a_thread()
    while True:
        time.sleep(1)


def holding_up_the_loop() -> None:
    while True:
        time.sleep(1)


def below_python() -> None:
    ctypes.string_at(0)


def in_the_http_server() -> None:
    def date(*_: object, **__: object) -> str:
        raise RuntimeError(BOOM)

    uvicorn.server.formatdate = date


def stopping_the_loop() -> None:
    asyncio.get_running_loop().stop()


async def slowly() -> AsyncGenerator[str, None]:
    """Until somebody puts a file there."""
    yield "begun "
    while not await asyncio.to_thread(Path("go").exists):  # noqa: ASYNC110  the test is another process
        await asyncio.sleep(0.02)
    yield "and done"


class Faulty:
    name = "faulty"

    async def respond(self, message: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        if message.text == "slowly":
            text = ""
            async for piece in slowly():
                text += piece
                yield TextAppended(piece)
            yield Finished(outcome=Outcome.ANSWERED, text=text)
            return
        if message.text == "in the responder":
            raise RuntimeError(BOOM)
        if message.text == "in a tool":
            yield TextAppended("let me see: ")
            await asyncio.to_thread(look_up)
        fault: Callable[[], object] | None = globals().get(message.text.replace(" ", "_"))
        if fault is not None and turn.attempt == 1:
            done = fault()
            if asyncio.iscoroutine(done):
                await done
        yield Finished(outcome=Outcome.ANSWERED, text="well done")


def look_up() -> None:
    try:
        {}["nothing there"]
    except KeyError as error:
        raise LookupError(BOOM) from error


def factory() -> Faulty:
    return Faulty()
