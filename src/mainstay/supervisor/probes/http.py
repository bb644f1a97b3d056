"""What is answered there?

A client for probes: one GET, a connection of its own, whatever certificate; nothing is kept. Who calls has the
deadline.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

from mainstay.supervisor.probes.model import UNIX

__all__ = ["Answer", "get"]

_LONGEST_BYTES: Final = 64 * 1024
"""Of a line of the head, of the whole head, and of the content; of longer content this is the beginning."""
_REDIRECTS: Final = 10
_ELSEWHERE: Final = frozenset({301, 302, 303, 307, 308})
_EMPTY: Final = frozenset({204, 304})

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer. The names of ``headers`` are lowercase."""

    status: int
    headers: Mapping[str, str]
    content: bytes


async def get(url: str) -> Answer:
    """The answer, after redirects within the host; one to another host is an answer itself, as for Kubernetes.

    Raises:
        OSError: there is none.
        EOFError: it breaks off.
        ValueError: it is none of HTTP, or only sends on and on.
    """
    for _ in range(_REDIRECTS + 1):
        answer = await _get(url)
        further = urljoin(url, answer.headers.get("location", ""))
        if answer.status not in _ELSEWHERE or not answer.headers.get("location") or not _is_near(url, further):
            return answer
        url = further
    raise ValueError(f"redirected more than {_REDIRECTS} times")


def _is_near(url: str, further: str) -> bool:
    before, after = urlsplit(url), urlsplit(further)
    if before.netloc == UNIX or after.scheme not in {"http", "https"} or not further.isascii():
        return False
    return before.hostname == after.hostname and further.isprintable()


async def _get(url: str) -> Answer:
    place = urlsplit(url)
    host, target = place.netloc, place.path
    if host == UNIX:
        path, _, target = place.path.partition(":")
        reader, writer = await asyncio.open_unix_connection(path, limit=_LONGEST_BYTES)
        host = "localhost"
    else:
        reader, writer = await _dial(place)
    target = (target or "/") + (f"?{place.query}" if place.query else "")
    try:
        writer.write(
            f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: mainstay-probe\r\n"
            "Accept: */*\r\nConnection: close\r\n\r\n".encode("ascii")
        )
        await writer.drain()
        return await _read(reader)
    finally:
        writer.transport.abort()  # nothing is said any more, and nobody is waited for


async def _dial(place: SplitResult) -> Streams:
    if place.scheme != "https":
        return await asyncio.open_connection(place.hostname, place.port or 80, limit=_LONGEST_BYTES)
    import ssl
    from asyncio import sslproto

    if sslproto.ssl is None:  # type: ignore[attr-defined]  # asyncio was imported without it
        raise ValueError("the supervisor was started when nothing was asked over https: `mainstay update`")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return await asyncio.open_connection(place.hostname, place.port or 443, ssl=context, limit=_LONGEST_BYTES)


async def _read(reader: asyncio.StreamReader) -> Answer:
    status = 100
    headers: dict[str, str] = {}
    while 100 <= status < 200 and status != 101:  # "continue" is followed by the answer
        status, headers = await _head(reader)
    if status in _EMPTY:
        content = b""
    elif "chunked" in headers.get("transfer-encoding", "").lower():
        content = await _chunks(reader)
    elif "content-length" in headers:
        length = _number(headers["content-length"], 10)
        content = await reader.readexactly(min(length, _LONGEST_BYTES))
    else:
        content = await _rest(reader)
    return Answer(status=status, headers=headers, content=content)


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    version, _, rest = (await _line(reader)).partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError("the answer is not HTTP")
    status = _number(rest.partition(" ")[0], 10)
    headers: dict[str, str] = {}
    taken = 0
    while line := await _line(reader):
        taken += len(line)
        if taken > _LONGEST_BYTES:
            raise ValueError("the answer's head has no end")
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return status, headers


async def _line(reader: asyncio.StreamReader) -> str:
    try:
        line = await reader.readline()
    except ValueError:
        raise ValueError("the answer is not HTTP: a line of it has no end") from None
    if not line.endswith(b"\n"):
        raise EOFError
    return line.decode("latin-1").rstrip("\r\n")


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    content = b""
    while len(content) < _LONGEST_BYTES:
        length = _number((await _line(reader)).partition(";")[0].strip(), 16)
        if not length:
            break
        content += await reader.readexactly(min(length, _LONGEST_BYTES - len(content)))
        if len(content) < _LONGEST_BYTES:
            await _line(reader)
    return content


async def _rest(reader: asyncio.StreamReader) -> bytes:
    content = b""
    while len(content) < _LONGEST_BYTES and (part := await reader.read(_LONGEST_BYTES)):
        content += part
    return content[:_LONGEST_BYTES]


def _number(text: str, base: int) -> int:
    digits = "0123456789abcdefABCDEF" if base == 16 else "0123456789"
    if not text or len(text) > 16 or any(each not in digits for each in text):
        raise ValueError("the answer is not HTTP")
    return int(text, base)
