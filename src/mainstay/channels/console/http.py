"""What is asked of ``/chat``, and what is answered?

``POST /chat`` says something, ``GET /chat/ID`` asks what became of it, ``POST /chat/ID/retry`` has it tried again
when it has failed, ``DELETE /chat/ID`` takes it back. The first three answer in JSON, or as a stream of events to
who accepts ``text/event-stream``. A message that is sent again with its ``message_id`` is the same message, and so
is another try at the same failure; a stream that names the ``Last-Event-ID`` goes on behind it. Every error is one
line of JSON.
"""

import asyncio
import json
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from typing import Final

from mainstay.asgi import Receive, Scope, Send, hang_up, header, respond
from mainstay.channels.console.following import Following
from mainstay.channels.console.model import ConsoleSettings, Ended, Forgotten, Open, Refused, Seen, shown_id
from mainstay.channels.console.parse import ClientLeft, read_body, read_said, wants_stream
from mainstay.channels.seam import Service
from mainstay.errors import StorageUnavailable
from mainstay.messages import Message

__all__ = ["Api"]

_SOON: Final = ((b"retry-after", b"2"),)
_STREAM: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # what nginx would keep back
    (b"x-content-type-options", b"nosniff"),
]
_COME_BACK_MS: Final = 1000
_STILL_HERE: Final = b": still here\n\n"


class Api:
    """The application at ``/chat``; the mount lets in operators only.

    Attributes:
        waiting: how many requests wait for an answer, or stream one.
    """

    def __init__(
        self, name: str, settings: ConsoleSettings, service: Service, *, following: Following, path: str
    ) -> None:
        self._name = name
        self._settings = settings
        self._service = service
        self._following = following
        self._path = path
        self.waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        message_id, _, action = scope["path"].removeprefix(self._path).removeprefix("/").partition("/")
        try:
            body = await read_body(receive)
            match scope["method"], bool(message_id), bool(action):
                case "POST", False, _:
                    await self._say(scope, receive, send, body)
                case "POST", True, True:
                    await self._try_again(scope, receive, send, message_id)
                case "GET", True, False:
                    await self._look(scope, receive, send, message_id)
                case "DELETE", True, False:
                    await self._take_back(scope, send, message_id)
                case _:
                    allowed = b"GET, DELETE" if message_id and not action else b"POST"
                    raise Refused(405, "method not allowed", headers=((b"allow", allowed),))  # noqa: TRY301
        except ClientLeft:
            pass
        except Refused as refused:
            await _answer(scope, send, refused.status, {"error": refused.error}, refused.headers)
        except StorageUnavailable:
            error = "it could not be stored or read: try again"
            await _answer(scope, send, 503, {"error": error}, _SOON)

    async def _say(self, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
        said = read_said(scope, body, self._settings)
        message = said.message(self._name, self._service.clock.now())
        with self._place():
            match await self._following.compare(message):
                case "new":
                    await self._accept(message)
                case "other":
                    raise Refused(409, f"message_id: {said.message_id} was another message: send each with its own")
                case "same":
                    pass
            await self._tell(scope, receive, send, said.message_id)

    async def _try_again(self, scope: Scope, receive: Receive, send: Send, message_id: str) -> None:
        with self._place():
            found = await self._found(message_id)
            if isinstance(found, Open):
                raise Refused(409, f"{message_id} has no outcome yet: wait for it", headers=_SOON)
            if found.again is None:
                raise Refused(
                    409, f"{message_id} can not be tried again: it has not failed, or too long ago, or for good"
                )
            again_id = shown_id(found.again)
            if await self._following.standing(again_id) is None:
                await self._accept(found.again)
            await self._tell(scope, receive, send, again_id)

    async def _accept(self, message: Message) -> None:
        """Nothing is lost when somebody else has done so meanwhile: it is the same message."""
        if (await self._service.depth()).queued >= self._settings.backlog:
            raise Refused(429, "too many messages wait for their answers: try again", headers=_SOON)
        await self._service.accept(message)

    async def _look(self, scope: Scope, receive: Receive, send: Send, message_id: str) -> None:
        if wants_stream(scope):
            with self._place():
                await self._tell(scope, receive, send, message_id)
        else:
            await self._answer(scope, send, message_id)

    async def _take_back(self, scope: Scope, send: Send, message_id: str) -> None:
        if isinstance(await self._found(message_id), Open):
            await self._service.cancel(await self._following.asked_turn_id(message_id))
        await self._answer(scope, send, message_id)

    async def _tell(self, scope: Scope, receive: Receive, send: Send, message_id: str) -> None:
        """What becomes of it, until that is known or the client leaves."""
        await self._found(message_id)
        if wants_stream(scope):
            seen = Seen.from_id((header(scope, b"last-event-id") or b"").decode("latin-1"))
            await _while_there(receive, self._stream(scope, receive, send, message_id, seen))
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.wait):
                await _while_there(receive, self._over(message_id))
        await self._answer(scope, send, message_id)

    async def _over(self, message_id: str) -> None:
        async with aclosing(self._following.follow(message_id, Seen())) as events:
            async for _ in events:
                pass

    async def _stream(self, scope: Scope, receive: Receive, send: Send, message_id: str, seen: Seen) -> None:
        async def out(body: bytes, *, more: bool = True) -> None:
            async with asyncio.timeout(self._settings.send_timeout):
                await send({"type": "http.response.body", "body": body, "more_body": more})

        await send(
            {"type": "http.response.start", "status": 200, "headers": [*_STREAM, self._location(message_id)]}
        )
        try:
            await out(f"retry: {_COME_BACK_MS}\n\n".encode() + _event("accepted", {"message_id": message_id}, seen))
            with suppress(StorageUnavailable):  # it comes back for the rest
                async with aclosing(self._following.follow(message_id, seen)) as events:
                    async for told in events:
                        await out(_event(told.name, told.data, told.seen) if told else _STILL_HERE)
            await out(b"", more=False)
        except TimeoutError:  # who takes nothing any more has left
            await hang_up(scope, receive)

    async def _found(self, message_id: str) -> Ended | Open:
        match await self._following.standing(message_id):
            case None:
                raise Refused(404, f"there is no message {message_id}, or it is forgotten")
            case Forgotten():
                raise Refused(410, f"the outcome of {message_id} is not kept any more")
            case standing:
                return standing

    async def _answer(self, scope: Scope, send: Send, message_id: str) -> None:
        """The outcome; or 202 and what there is so far."""
        match await self._found(message_id):
            case Ended(body):
                await _answer(scope, send, 200, body)
            case Open(state):
                so_far = {"message_id": message_id, "state": state, "text": self._following.so_far(message_id)}
                await _answer(scope, send, 202, so_far, (self._location(message_id), *_SOON))

    def _location(self, message_id: str) -> tuple[bytes, bytes]:
        return b"location", f"{self._path}/{message_id}".encode()

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self.waiting >= self._settings.waiting:
            raise Refused(429, f"{self.waiting} requests wait for answers already: try again", headers=_SOON)
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1


async def _answer(
    scope: Scope, send: Send, status: int, body: Mapping[str, object], headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    await respond(scope, send, status, _json(body) + b"\n", headers=headers)


def _event(name: str, data: Mapping[str, object], seen: Seen) -> bytes:
    """As the HTML standard has it (server-sent events); JSON has no line breaks in it."""
    return f"id: {seen.to_id()}\nevent: {name}\ndata: ".encode() + _json(data) + b"\n\n"


def _json(data: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, the other half of which may follow
        return json.dumps(data).encode()


async def _while_there(receive: Receive, work: Coroutine[None, None, None]) -> None:
    """Until it is done, or the client has left."""
    try:
        async with asyncio.TaskGroup() as tasks:
            both = tasks.create_task(work), tasks.create_task(_left(receive))
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for task in both:
                task.cancel()
    except ExceptionGroup as group:  # of one
        raise group.exceptions[0] from None


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
