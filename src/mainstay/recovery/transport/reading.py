"""What does a response say about how the call went, as its bytes pass by?

Nothing is held back: each piece goes on to the caller, and is looked at on its way. A status of 400 or more is
judged together with its body, up to a bound. A stream of events is judged by an error event, or by the event
that says that the answer is complete: clients leave after that one, without waiting for the end. Any other body
has to be whole, and no error object.

It is no judge of answers. A stream of events that ends in good order, but without its last event, was read to its
end here, and that is all.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, Literal

import orjson

from mainstay.errors import Category
from mainstay.recovery.classify import classify
from mainstay.recovery.model import Failure

__all__ = ["Reading", "Verdict"]

Verdict = Failure | Literal["good"]

_LONGEST_BYTES: Final = 64 * 1024
"""Of an error, be it a body or a line of a stream. What is longer is an answer."""

_INFLATED_BYTES: Final = 1024 * 1024
"""Of one piece. What grows beyond that is not looked at any more."""

_LAST_EVENTS: Final = frozenset({b"message_stop", b"response.completed", b"response.incomplete"})
"""Those of Anthropic, and of OpenAI's Responses; a chat completion ends with ``data: [DONE]``."""

_ERROR_EVENTS: Final = frozenset({b"error", b"response.failed"})


class Reading:
    """The judge of one response.

    Args:
        status: of the response.
        headers: its headers, names in lower case.
    """

    __slots__ = ("_body", "_decode", "_events", "_headers", "_status")

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        self._status = status
        self._headers = headers
        self._decode = _decoder(headers.get("content-encoding", ""))
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        self._events = _Events() if status < 400 and kind == "text/event-stream" else None
        self._body: bytearray | None = bytearray() if status >= 400 or kind.endswith("json") else None

    @property
    def streamed(self) -> bool:
        """Whether the body is a stream of events: its first byte is then the beginning of an answer."""
        return self._events is not None

    def feed(self, piece: bytes) -> Verdict | None:
        """Look at the next piece of the body; gives the verdict as soon as there is one."""
        if self._events is None and self._body is None:
            return None
        try:
            text = self._decode(piece)
        except (zlib.error, _Unreadable):
            self._events = self._body = None
            return None
        if self._events is not None:
            return self._events.feed(text)
        if self._body is not None:
            self._body += text
            if len(self._body) > _LONGEST_BYTES:
                self._body = None
        return None

    def end(self, *, whole: bool) -> Verdict | None:
        """No more of the body will come; None if that says nothing.

        Args:
            whole: whether it was read to its end.
        """
        body = bytes(self._body or b"")
        if self._status >= 400:
            return _failure(self._status, self._headers, _object(body))
        if not whole:
            return None
        return _in_band(body, self._headers) or "good"


class _Events:
    """Looks for the events that decide, in a stream of which any piece may end anywhere."""

    __slots__ = ("_failing", "_line", "_skipping")

    def __init__(self) -> None:
        self._line = bytearray()
        self._skipping = False
        self._failing = False

    def feed(self, text: bytes) -> Verdict | None:
        for line in text.splitlines(keepends=True):
            self._line += line if not self._skipping else b""
            if line[-1:] in b"\r\n":
                verdict = self._read(bytes(self._line).rstrip(b"\r\n"))
                self._line.clear()
                self._skipping = False
                if verdict is not None:
                    return verdict
            elif len(self._line) > _LONGEST_BYTES:
                self._line.clear()
                self._skipping = True
        return None

    def _read(self, line: bytes) -> Verdict | None:
        field, _, value = line.partition(b":")
        value = value.strip()
        if field == b"event":
            self._failing = value in _ERROR_EVENTS
            return "good" if value in _LAST_EVENTS else None
        if field != b"data":
            return None
        if value == b"[DONE]":
            return "good"
        if not self._failing:
            return _in_band(value, {})
        said = _object(value)
        response = said.get("response")
        return _failure(None, {}, response if isinstance(response, Mapping) else said)


class _Unreadable(Exception):
    """The encoding of the body is not one that we know, or it grows without bound."""


def _decoder(encoding: str) -> Callable[[bytes], bytes]:
    match encoding.strip().lower():
        case "" | "identity":
            return bytes
        case "gzip" | "x-gzip" | "deflate":
            inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either header, found by itself

            def inflate(piece: bytes) -> bytes:
                text = inflater.decompress(piece, _INFLATED_BYTES)
                if inflater.unconsumed_tail:
                    raise _Unreadable
                return text

            return inflate
        case _:

            def unknown(_piece: bytes) -> bytes:
                raise _Unreadable

            return unknown


def _object(text: bytes) -> Mapping[str, object]:
    """The JSON object, or an empty one; Google wraps an error in a list."""
    try:
        said = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    if isinstance(said, list) and len(said) == 1:
        said = said[0]
    return said if isinstance(said, dict) else {}


def _in_band(text: bytes, headers: Mapping[str, str]) -> Failure | None:
    """The failure, if this is an error object in the place of an answer."""
    if b'"error"' not in text:
        return None
    said = _object(text)
    error = said.get("error")
    return _failure(None, headers, said) if isinstance(error, Mapping) and error else None


def _failure(status: int | None, headers: Mapping[str, str], body: Mapping[str, object]) -> Failure:
    failure = classify(status=status, headers=headers, body=body)
    if failure.category is Category.INTERNAL:  # it says that it failed, and not why: that is no fault of ours
        return replace(failure, category=Category.SERVER_ERROR)
    return failure
