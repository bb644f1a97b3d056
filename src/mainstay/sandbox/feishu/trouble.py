"""What goes wrong on the long connections?

Three kinds of trouble: a handshake that is refused, a connection that has fallen ill, and an event that is
spoilt on its way. What the next handshake and the next event meet is decided here; the gateway carries it out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Final, Literal

from mainstay.errors import nearest
from mainstay.sandbox.feishu import frames
from mainstay.sandbox.feishu.frames import Frame

__all__ = ["ILLNESSES", "SPOILS", "HandshakeFault", "Illness", "Spoil", "Trouble", "illness", "parts", "spoilt"]

Illness = Literal["none", "half-open", "quiet", "no-pongs"]
ILLNESSES: Final[tuple[Illness, ...]] = ("none", "half-open", "quiet", "no-pongs")
"""``half-open``: nothing is read or written, and the TCP connection stays. ``quiet``: pings are answered, but
events that are routed here are never sent. ``no-pongs``: events are sent, pings are not answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeFault:
    """A handshake that does not succeed.

    Attributes:
        status: of the header ``Handshake-Status``; 0: these headers are missing, as where a gateway answers.
        message: of ``Handshake-Msg``.
        autherrcode: of ``Handshake-Autherrcode``; 0: it is missing.
        http: the status of the answer.
        hang: there is no answer, until the faults are cleared.
    """

    status: int = 514
    message: str = "invalid ticket"
    autherrcode: int = 0
    http: int = 403
    hang: bool = False

    def __post_init__(self) -> None:
        if self.http not in {each.value for each in HTTPStatus if each >= HTTPStatus.MULTIPLE_CHOICES}:
            raise ValueError(f"http {self.http}: a refusal has a known status of 300 or more")

    @property
    def headers(self) -> dict[str, str]:
        """Those that say why."""
        if not self.status:
            return {}
        said = {"Handshake-Status": str(self.status), "Handshake-Msg": self.message}
        return said | ({"Handshake-Autherrcode": str(self.autherrcode)} if self.autherrcode else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoil:
    """What becomes of an event on its way.

    Attributes:
        how: one of `SPOILS`.
        size_bytes: of ``oversized``: what the payload is filled up to, with blanks.
    """

    how: str
    size_bytes: int = 2 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.how not in SPOILS:
            raise ValueError(f"an event can not be spoilt by {self.how!r}{nearest(self.how, SPOILS)}")
        if not 0 <= self.size_bytes <= 64 * 1024 * 1024:
            raise ValueError("size_bytes must be from 0 to 64 MiB")


@dataclass(slots=True)
class Trouble:
    """What the next handshakes and events meet, in the order in which it was asked for."""

    handshakes: list[HandshakeFault] = field(default_factory=list)
    spoils: list[Spoil] = field(default_factory=list)

    def handshake(self) -> HandshakeFault | None:
        """What the handshake that begins now meets."""
        return self.handshakes.pop(0) if self.handshakes else None

    def spoil(self) -> Spoil | None:
        """What the event that is sent now meets."""
        return self.spoils.pop(0) if self.spoils else None

    def clear(self) -> None:
        """Nothing, from now on."""
        self.handshakes.clear()
        self.spoils.clear()


def illness(name: str) -> Illness:
    """The illness of that name. Raises ValueError when there is none."""
    for each in ILLNESSES:
        if each == name:
            return each
    raise ValueError(f"a connection can not be {name!r}{nearest(name, ILLNESSES)}")


def parts(event: Frame, count: int) -> list[Frame]:
    """The event in so many frames, each of which says which it is."""
    whole = event.payload or b""
    count = max(1, min(count, len(whole)))
    size = -(-len(whole) // count)
    return [
        _with(
            replace(event, seq_id=seq, payload=whole[seq * size : (seq + 1) * size]), sum=str(count), seq=str(seq)
        )
        for seq in range(count)
    ]


def spoilt(event: Frame, spoil: Spoil) -> list[bytes | str]:
    """The messages that are sent in the place of this event."""
    made = _WAYS[spoil.how](event, spoil.size_bytes)
    return [each if isinstance(each, str | bytes) else frames.encode(each) for each in made]


def _truncated(event: Frame, _: int) -> list[bytes]:
    whole = frames.encode(event)
    return [whole[: len(whole) // 2]]


def _part_twice(event: Frame, _: int) -> list[Frame]:
    first, second, third = parts(event, 3)
    return [first, second, second, third]


def _with(frame: Frame, **headers: str) -> Frame:
    return replace(frame, headers=tuple((key, headers.get(key, value)) for key, value in frame.headers))


def _payload(event: Frame) -> bytes:
    return event.payload or b""


_WAYS: Final[Mapping[str, Callable[[Frame, int], list[Frame] | list[bytes] | list[str]]]] = {
    "truncated": _truncated,
    "oversized": lambda event, size: [replace(event, payload=_payload(event).ljust(size))],
    "text": lambda event, _: [_payload(event).decode()],
    "unknown-type": lambda event, _: [_with(event, type="mystery")],
    "unknown-method": lambda event, _: [replace(event, method=7)],
    "no-headers": lambda event, _: [replace(event, headers=())],
    "not-json": lambda event, _: [replace(event, payload=_payload(event)[:-1])],
    "bad-parts": lambda event, _: [_with(event, sum="3", seq="7"), _with(event, sum="x", seq="-1")],
    "parts-reversed": lambda event, _: parts(event, 3)[::-1],
    "part-missing": lambda event, _: parts(event, 3)[::2],
    "part-twice": _part_twice,
    "twice": lambda event, _: [event, event],
    "acknowledgement-lost": lambda event, _: [event],
}
SPOILS: Final = tuple(_WAYS)
"""Ways to spoil an event. With ``twice``, ``part-twice`` and ``parts-reversed`` it still arrives; with
``acknowledgement-lost`` too, but the platform does not hear of it, and sends it again."""
