"""What kind of request did the platform send, in which of its two schemas?

Schema 2.0 keeps type, token and app in ``header``; 1.0 keeps token at the top and the rest in ``event``.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from mainstay.channels.characters import well_formed

__all__ = [
    "Envelope",
    "Json",
    "MalformedEvent",
    "mapping_at",
    "open_envelope",
    "read_json",
    "read_object",
    "text_at",
]

Json = Mapping[str, object]
_CHALLENGE_LIMIT = 1000


class MalformedEvent(ValueError):
    """The body is not what the platform documents. The message is for the log, never for the sender."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One request, without what it is about.

    Attributes:
        type: ``"url_verification"``, or the name of the event.
        challenge: what a url_verification wants to hear back.
        created_s: unix seconds at which the platform made the event; None if it does not say.
    """

    type: str
    token: str
    app_id: str = ""
    event_id: str = ""
    challenge: str = ""
    created_s: float | None = None
    event: Json


def read_object(body: bytes) -> Json:
    """The body as a JSON object; `MalformedEvent` if it is anything else."""
    data = read_json(body, "the body")
    if not isinstance(data, dict):
        raise MalformedEvent("the body is not a JSON object")
    return data


def read_json(text: str | bytes, what: str) -> object:
    """What this JSON says; half of a character, as cut texts have it, is read as U+FFFD. Raises MalformedEvent."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return orjson.loads(well_formed(json.dumps(json.loads(text), ensure_ascii=False)))
    except (ValueError, RecursionError):
        raise MalformedEvent(f"{what} is not JSON") from None


def mapping_at(data: object, *path: str) -> Json:
    """The object at this path; empty if there is none."""
    for name in path:
        data = data.get(name) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}


def text_at(data: object, *path: str) -> str:
    """The text at this path; empty if there is none, or something else."""
    value = mapping_at(data, *path[:-1]).get(path[-1])
    return value if isinstance(value, str) else ""


def open_envelope(data: Json) -> Envelope:
    """Tell the schemas apart.

    Raises:
        MalformedEvent: if it is none of them.
    """
    if text_at(data, "type") == "url_verification":
        challenge = text_at(data, "challenge")
        if not 0 < len(challenge) <= _CHALLENGE_LIMIT:
            raise MalformedEvent("url_verification without a usable challenge")
        return Envelope(type="url_verification", token=text_at(data, "token"), challenge=challenge, event={})
    event = data.get("event")
    if not isinstance(event, dict):
        raise MalformedEvent("there is no event in it")
    if text_at(data, "schema") == "2.0":
        return _schema_2(data, event)
    if text_at(data, "type") == "event_callback":
        return Envelope(
            type=text_at(event, "type"),
            token=text_at(data, "token"),
            app_id=text_at(event, "app_id"),
            event_id=text_at(data, "uuid"),
            created_s=_seconds(text_at(data, "ts")),
            event=event,
        )
    raise MalformedEvent("neither schema 1.0 nor 2.0")


def _schema_2(data: Json, event: Json) -> Envelope:
    kind = text_at(data, "header", "event_type")
    if not kind:
        raise MalformedEvent("no event_type in the header")
    return Envelope(
        type=kind,
        token=text_at(data, "header", "token"),
        app_id=text_at(data, "header", "app_id"),
        event_id=text_at(data, "header", "event_id"),
        created_s=_seconds(text_at(data, "header", "create_time")),
        event=event,
    )


def _seconds(text: str) -> float | None:
    """Unix seconds from seconds (schema 1.0), milliseconds (events) or microseconds (card actions)."""
    try:
        value = float(text)
    except ValueError:
        return None
    if not 0 <= value < 1e17:
        return None
    if value >= 1e14:
        return value / 1e6
    return value / 1e3 if value >= 1e11 else value
