"""How much of a conversation is shown to an agent, and what is worth a note?"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mainstay.memory.model import MemorySettings
from mainstay.messages import Exchange

__all__ = ["admit", "note_of", "recall", "size_of", "surplus"]


def size_of(exchange: Exchange) -> int:
    """Bytes of its texts and its record."""
    return _text_size(exchange) + len(exchange.record)


def _text_size(exchange: Exchange) -> int:
    return len(exchange.user_text.encode()) + len(exchange.answer_text.encode())


def admit(exchange: Exchange, settings: MemorySettings) -> Exchange:
    """What is stored of an exchange: a record that no history could hold is left out, the texts stay."""
    return exchange if size_of(exchange) <= settings.history_bytes else replace(exchange, record=b"")


def recall(newest_first: Iterable[Exchange], settings: MemorySettings) -> tuple[Exchange, ...]:
    """The history, oldest first: as many of the newest exchanges as the limits allow, without a gap.

    The one that is too large with its record is shown by its texts, if these fit, and ends the history.
    """
    kept: list[Exchange] = []
    room = settings.history_bytes
    for exchange in newest_first:
        if len(kept) == settings.history or _text_size(exchange) > room:
            break
        if size_of(exchange) > room:
            kept.append(replace(exchange, record=b""))
            break
        kept.append(exchange)
        room -= size_of(exchange)
    return tuple(reversed(kept))


def note_of(text: str, notes: Sequence[str], settings: MemorySettings) -> str | None:
    """The note as it is stored; None if it says nothing, or nothing new."""
    note = " ".join(text.split())[: settings.note_chars].rstrip()
    return None if not note or note in notes else note


def surplus(count: int, settings: MemorySettings) -> int:
    """How many of a person's notes, the oldest first, have to give way."""
    return max(0, count - settings.notes)
