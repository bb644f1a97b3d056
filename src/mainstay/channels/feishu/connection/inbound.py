"""What is done with one message of the connection?

A frame is read, its payload put together, the event in it stored by the `Intake`, and the frame sent back with what
came of that: only then has the platform our acknowledgement. What nobody can make sense of is counted and told, and
is never the end of the connection.

Neither the verification token nor the age of an event is looked at, as they are at a webhook: who speaks here has
given us the address in return for the app's secret, over TLS; and in this mode the console need not show a token.
"""

import base64
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import orjson

from mainstay.bus import Bus
from mainstay.channels.feishu.connection.fragments import BadPart, Fragments
from mainstay.channels.feishu.connection.frame import CONTROL, DATA, Frame, decode
from mainstay.channels.feishu.envelope import Envelope, MalformedEvent, open_envelope, read_object
from mainstay.channels.feishu.intake import Again, Intake, Taken
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.channels.feishu.press import PRESSES
from mainstay.clock import Clock
from mainstay.errors import Category
from mainstay.events import ErrorSeen, FrameRejected

__all__ = ["Came", "Inbound", "Pong"]

_log = logging.getLogger(__name__)
_FRAME_ROOM_BYTES: Final = 16 * 1024
"""What a frame may have around its payload."""
_LONGEST_ID: Final = 128


@dataclass(frozen=True, slots=True)
class Pong:
    """The platform has heard our ping. ``config`` is as it came, None if nothing did."""

    config: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """An event or a callback, whole. ``frame`` is the one that made it whole: it is sent back."""

    frame: Frame
    payload: bytes


class Inbound:
    """What comes over one connection.

    Args:
        name: of the channel.
        settings: of the channel.
        bus: hears of what is left out.
        clock: tells how long storing took, and when parts are too old.
        intake: takes events.
        rejected: counts what was left out, by reason.
    """

    def __init__(
        self,
        name: str,
        settings: FeishuSettings,
        *,
        bus: Bus,
        clock: Clock,
        intake: Intake,
        rejected: Counter[str],
    ) -> None:
        self._name = name
        self._settings = settings
        self._bus = bus
        self._clock = clock
        self._intake = intake
        self._rejected = rejected
        self._fragments = Fragments(settings.body_limit)

    def read(self, data: bytes | str) -> Came | Pong | None:
        """What this message says; None if there is nothing to do."""
        if isinstance(data, str):
            self.reject("a message of text")
            return None
        if len(data) > self._settings.body_limit + _FRAME_ROOM_BYTES:
            self.reject("too large")
            return None
        try:
            frame = decode(data)
        except ValueError as error:
            self.reject(f"no frame: {error}" if type(error) is ValueError else "no frame: text that is not UTF-8")
            return None
        if frame.method == DATA:
            return self._whole(frame)
        kind = frame.header("type")
        if frame.method == CONTROL and kind == "pong":
            return Pong(_config(frame.payload))
        if frame.method != CONTROL or kind != "ping":
            self.reject("a frame of unknown type")
        return None

    def _whole(self, frame: Frame) -> Came | None:
        message_id = frame.header("message_id")[:_LONGEST_ID]
        total, number = _count(frame.header("sum") or "1"), _count(frame.header("seq") or "0")
        try:
            payload = self._fragments.add(message_id, total, number, frame.payload or b"", self._clock.monotonic())
        except BadPart as error:
            self.reject(str(error))
            return None
        finally:
            if self._fragments.given_up:
                self._rejected["a part never came"] += self._fragments.given_up
                self._fragments.given_up = 0
        return None if payload is None else Came(frame=frame, payload=payload)

    async def take(self, came: Came, deadline: float) -> tuple[Frame, Callable[[], object]]:
        """Store it, until this moment of the loop's time.

        Returns:
            What the platform is to hear, and what is to be called once it has.
        """
        began_s = self._clock.monotonic()
        taken = await self._taken(came, deadline)
        said: dict[str, object] = {"code": 200 if isinstance(taken, Taken) else 500}
        if isinstance(taken, Taken) and taken.answer:
            said["data"] = base64.b64encode(orjson.dumps(taken.answer)).decode()
        took_ms = round((self._clock.monotonic() - began_s) * 1000)
        headers = (*came.frame.headers, ("biz_rt", str(took_ms)))
        acknowledgement = replace(came.frame, headers=headers, payload=orjson.dumps(said))
        return acknowledgement, taken.afterwards if isinstance(taken, Taken) else _nothing

    async def _taken(self, came: Came, deadline: float) -> Taken | Again:
        try:
            envelope = self._envelope(came)
            return Taken() if envelope is None else await self._intake.take(envelope, deadline)
        except MalformedEvent as error:
            self.reject(f"no event: {error}")
        except Exception as error:  # noqa: BLE001  the border: one event's bug must not end the connection
            _log.error("an event could not be taken", exc_info=error)
            seen = ErrorSeen(
                category=Category.INTERNAL,
                message=type(error).__name__,
                where=f"{self._name}.connection",
                logged=True,
            )
            self._bus.emit(seen)
        return Again("it can not be read")

    def _envelope(self, came: Came) -> Envelope | None:
        """None: it is of a kind that this version does not know, and that nobody need deliver again."""
        match came.frame.header("type"):
            case "event":
                return open_envelope(read_object(came.payload))
            case "card":
                event = read_object(came.payload)
                if "schema" in event:
                    return open_envelope(event)
                return Envelope(type=PRESSES[1], token="", app_id=self._settings.app_id, event=event)
            case _:
                self.reject("a payload of unknown type")
                return None

    def reject(self, reason: str) -> None:
        """Count what is left out, and tell it. The reasons are our own words, but have numbers in them."""
        self._rejected[reason if reason in self._rejected or len(self._rejected) < 100 else "other"] += 1
        self._bus.emit(FrameRejected(channel=self._name, reason=reason))


def _config(payload: bytes | None) -> object:
    try:
        config: object = orjson.loads(payload or b"null")
    except orjson.JSONDecodeError:
        return None
    return config


def _count(text: str) -> int:
    """A number of the headers; -1, which no part can have, if it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else -1


def _nothing() -> None:
    """Nobody waits for anything."""
