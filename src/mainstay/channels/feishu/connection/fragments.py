"""How does a payload that came in several frames become one?

Parts are kept in memory until the last is there. Who sends them is not trusted with that memory: their number,
bytes and age are bounded, over all payloads, and what is given up makes room.
"""

from dataclasses import dataclass, field
from typing import Final

__all__ = ["BadPart", "Fragments"]

_MOST_PARTS: Final = 1024
_MOST_PAYLOADS: Final = 32
_LONGEST_S: Final = 10.0


class BadPart(ValueError):
    """This part belongs to nothing that could be put together; the message is in our own words."""


@dataclass(slots=True)
class _Incomplete:
    begun_s: float
    total: int
    parts: dict[int, bytes] = field(default_factory=dict)
    held_bytes: int = 0


class Fragments:
    """Those of one connection.

    Args:
        limit_bytes: of one payload; all that are incomplete together may have four times as much.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._incomplete: dict[str, _Incomplete] = {}
        self.held_bytes = 0
        self.given_up = 0
        """Payloads of which a part never came, or came too late."""

    def add(self, message_id: str, total: int, number: int, part: bytes, now_s: float) -> bytes | None:
        """One part (``number`` from 0); returns the payload when it is whole.

        Raises:
            BadPart: if the numbers contradict one another, or it is too large; what there was of it is forgotten.
        """
        if total == 1 and number == 0:
            return part
        self._forget_old(now_s)
        if not (message_id and 1 < total <= _MOST_PARTS and 0 <= number < total):
            self._forget(message_id)
            raise BadPart(f"part {number} of {total} can not be")
        known = self._incomplete.setdefault(message_id, _Incomplete(now_s, total))
        if known.total != total:
            self._forget(message_id)
            raise BadPart("parts of one payload disagree about their number")
        added_bytes = len(part) - len(known.parts.get(number, b""))
        known.parts[number] = part
        known.held_bytes += added_bytes
        self.held_bytes += added_bytes
        if known.held_bytes > self._limit_bytes:
            self._forget(message_id)
            raise BadPart("too large")
        if len(known.parts) == total:
            self._forget(message_id)
            return b"".join(known.parts[each] for each in range(total))
        self._make_room()
        return None

    def _forget_old(self, now_s: float) -> None:
        for message_id, each in list(self._incomplete.items()):
            if now_s - each.begun_s <= _LONGEST_S:
                return
            self._forget(message_id)
            self.given_up += 1

    def _make_room(self) -> None:
        """The oldest go first: they are the least likely to be completed still."""
        while len(self._incomplete) > _MOST_PAYLOADS or self.held_bytes > 4 * self._limit_bytes:
            self._forget(next(iter(self._incomplete)))
            self.given_up += 1

    def _forget(self, message_id: str) -> None:
        known = self._incomplete.pop(message_id, None)
        if known is not None:
            self.held_bytes -= known.held_bytes
