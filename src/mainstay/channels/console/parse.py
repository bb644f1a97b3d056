"""What does a request say?"""

import json
from typing import Final
from uuid import uuid4

from mainstay.asgi import ITEM, Receive, Scope, header
from mainstay.channels.console.model import TRY, ConsoleSettings, Refused, Said
from mainstay.errors import nearest

__all__ = ["ClientLeft", "read_body", "read_said", "wants_stream"]

_KEYS: Final = ("text", "conversation", "sender", "message_id")
_LONGEST_NAME: Final = 128
_OPERATOR: Final = "operator"


class ClientLeft(Exception):
    """Whoever has begun a request is not there any more."""


async def read_body(receive: Receive) -> bytes:
    """The whole body; how large and how slow it may be is the mount's to say. Raises ClientLeft."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


def read_said(scope: Scope, body: bytes, settings: ConsoleSettings) -> Said:
    """The message in a request's body. Raises Refused."""
    media_type = (header(scope, b"content-type") or b"application/json").partition(b";")[0].strip().lower()
    if media_type != b"application/json":
        raise Refused(415, "the body must be JSON: send it with Content-Type: application/json")
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, 'the body is no JSON: send {"text": "..."}') from None
    if not isinstance(data, dict):
        raise Refused(400, 'the body is no object: send {"text": "..."}')
    for key, value in data.items():
        if key not in _KEYS:
            raise Refused(400, f"{key[:_LONGEST_NAME]!r}: unknown key{nearest(key, _KEYS)}")
        if not isinstance(value, str):
            raise Refused(400, f"{key}: must be text")
    sender = _name("sender", data.get("sender", _OPERATOR))
    return Said(
        text=_text(data.get("text", ""), settings.text_limit),
        message_id=_message_id(data["message_id"]) if "message_id" in data else uuid4().hex,
        conversation=_name("conversation", data.get("conversation", sender)),
        sender=sender,
    )


def _text(text: str, limit: int) -> str:
    if not text.strip():
        raise Refused(400, "text: is missing, or empty")
    if len(text) > limit:
        raise Refused(413, f"text: has {len(text)} characters, {limit} are taken: say less, or in several messages")
    return _unicode("text", text)


def _name(key: str, name: str) -> str:
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise Refused(400, f"{key}: must be printable text of 1 to {_LONGEST_NAME} characters")
    return _unicode(key, name)


def _message_id(message_id: str) -> str:
    if not ITEM.fullmatch(message_id):
        raise Refused(
            400, "message_id: write letters, digits, '-', '_', '.' and '~', 128 at most, a letter or digit first"
        )
    if message_id.startswith(TRY):
        raise Refused(400, f"message_id: {TRY} is how the id of another try begins, see POST /chat/ID/retry")
    return message_id


def _unicode(key: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refused(400, f"{key}: holds half of a surrogate pair, which is no Unicode") from None
    return text


def wants_stream(scope: Scope) -> bool:
    """Whether the answer is to be streamed."""
    accepted = (header(scope, b"accept") or b"").lower().split(b",")
    return any(each.partition(b";")[0].strip() == b"text/event-stream" for each in accepted)
