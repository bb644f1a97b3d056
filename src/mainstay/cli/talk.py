"""What does the running service answer to a message?

A client of ``POST /chat``. Every message has an id, so that it can be sent again: when the connection breaks, or
the service is started anew, it comes back with that id and with what it has read last, and gets the rest.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

import httpx2

from mainstay.certificates import trusted
from mainstay.cli.running import NotRunning
from mainstay.errors import ConfigError, MainstayError

__all__ = ["Event", "Talk"]

_CONNECT_S: Final = 5.0
_AGAIN_S: Final = 0.5
_BUSY: Final = (429, 502, 503)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of an answer, as the service names them: ``accepted``, ``text``, ``finished``.

    Besides those of the service there is ``away``: the connection is lost, and will be made again.
    """

    name: str
    data: Mapping[str, Any]
    read: str = ""
    """What is told to the service to go on behind it."""


class Talk:
    """A client of one service.

    Args:
        url: of its ``/chat``.
        token: an operator's.
        silent_s: a service from which nothing is heard for so long is gone.
    """

    def __init__(self, url: str, token: str, *, silent_s: float) -> None:
        self._url = url
        timeout = httpx2.Timeout(silent_s, connect=_CONNECT_S)
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx2.AsyncClient(verify=trusted(), trust_env=False, timeout=timeout, headers=headers)
        self._asking = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def say(self, text: str, *, conversation: str, sender: str) -> AsyncGenerator[Event, None]:
        """Say it, and follow the answer to its end, which is ``finished``.

        Raises:
            NotRunning: if there is no service.
            MainstayError: if it refuses the message.
        """
        self._asking = uuid4().hex
        said = {"text": text, "message_id": self._asking, "sender": sender}
        if conversation:
            said["conversation"] = conversation
        async with aclosing(self._followed(self._url, said)) as events:
            async for event in events:
                yield event

    async def try_again(self, message_id: str) -> AsyncGenerator[Event, None]:
        """Have a message tried again that has failed; else as `say`."""
        async with aclosing(self._followed(f"{self._url}/{message_id}/retry", None)) as events:
            async for event in events:
                yield event

    async def _followed(self, url: str, said: Mapping[str, str] | None) -> AsyncGenerator[Event, None]:
        read, reached = "", False
        while True:
            why = "the connection is lost"
            try:
                async with aclosing(self._once(url, said, read)) as events:
                    async for event in events:
                        read, reached = event.read, True
                        if event.name == "accepted":
                            self._asking = event.data["message_id"]
                        yield event
                        if event.name == "finished":
                            return
            except _Busy as busy:
                why, reached = str(busy), True
            except httpx2.ConnectError:
                if not reached:
                    raise NotRunning(f"no service runs at {self._url}: start it with `mainstay serve`") from None
            except httpx2.TransportError:  # it was there, and may have the message
                reached = True
            yield Event(name="away", data={"text": f"{why}: tries again"})
            await asyncio.sleep(_AGAIN_S)

    async def take_back(self) -> None:
        """Cancel the answer that is followed; its end will say so, if it can still be cancelled."""
        try:
            await self._http.delete(f"{self._url}/{self._asking}")
        except httpx2.TransportError:
            return

    async def _once(self, url: str, said: Mapping[str, str] | None, read: str) -> AsyncGenerator[Event, None]:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": read} if read else {})
        async with self._http.stream("POST", url, json=said, headers=headers) as response:
            if response.status_code != httpx2.codes.OK:
                await response.aread()
                raise self._refusal(response)
            async for event in _events(response.aiter_lines()):
                yield event

    def _refusal(self, response: httpx2.Response) -> Exception:
        try:
            error = str(response.json()["error"])
        except (ValueError, KeyError, TypeError):
            error = f"HTTP {response.status_code}"
        if response.status_code in _BUSY:
            return _Busy(error)
        if response.status_code in (401, 403):
            return ConfigError(f"{self._url}: {error}; does the service there belong to another directory?")
        return MainstayError(f"{self._url}: {error}")


class _Busy(Exception):
    """The service does not take the message now."""


async def _events(lines: AsyncIterator[str]) -> AsyncIterator[Event]:
    """Those of a stream as the HTML standard has it (server-sent events)."""
    fields: dict[str, str] = {}
    async for line in lines:
        if not line:
            if "data" in fields:
                yield Event(name=fields["event"], data=json.loads(fields["data"]), read=fields["id"])
            fields = {}
        else:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
