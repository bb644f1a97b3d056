"""What does this acknowledgement say, and is it one?

A bot sends the frame of the event back: its headers, and perhaps more of them, with a JSON payload of its own,
which has a code of HTTP and, after a callback, the answer in base64.
"""

import base64
import json

from mainstay.sandbox.feishu.frames import Frame
from mainstay.sandbox.feishu.model import Json

__all__ = ["answer", "changed", "code"]

_OF_A_PART = {"sum", "seq"}


def code(frame: Frame) -> Json:
    """Its payload. Raises ValueError when that is no JSON with a code."""
    given = json.loads(frame.payload or b"")
    if not isinstance(given, dict) or not isinstance(given.get("code"), int):
        raise ValueError("no code")  # noqa: TRY004  what was given is a value
    return given


def answer(given: Json) -> object:
    """The answer to a callback; an empty one where there is none, None where it can not be read."""
    data = given.get("data")
    if data is None:
        return {}
    try:
        return json.loads(base64.b64decode(str(data), validate=True))
    except ValueError:
        return None


def changed(frame: Frame, event: Frame) -> list[str]:
    """The headers of the event that the acknowledgement does not have, or has with another value."""
    given = dict(frame.headers)
    return [
        key for key, value in event.headers if key not in given or (key not in _OF_A_PART and given[key] != value)
    ]
