"""What is kept of earlier conversations, and how much of it?"""

from dataclasses import dataclass
from datetime import datetime

from mainstay.settings import duration, setting, size

__all__ = ["MemorySettings", "MemoryUsage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySettings:
    """The section ``[memory]``."""

    history: int = setting(20, help="How many earlier exchanges of a conversation an agent sees.")
    history_bytes: int = size("256KiB", help="How large they may be together; the oldest give way.")
    retention: float = duration("90d", help="How long an exchange is kept.")
    kept_per_lane: int = setting(200, help="How many exchanges of one conversation are kept; at least history.")
    notes: int = setting(50, help="How many notes about one person are kept; the oldest give way.")
    note_chars: int = setting(500, help="How long one note may be; the rest of it is cut off.")
    note_retention: float = duration("365d", help="How long a note is kept.")
    usage_interval: float = duration(
        "60s", help="How often the size of the memory is measured, at most; nothing shows it yet."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUsage:
    """How much is remembered, when it was last measured.

    Attributes:
        exchanges: answered messages, in ``conversations`` lanes.
        notes: what is remembered about ``people`` persons.
        content_bytes: texts, records and notes; the database's own overhead comes on top.
        oldest_at: when the oldest exchange took place; None if there is none.
        measured_at: when these numbers were read.
    """

    exchanges: int
    conversations: int
    notes: int
    people: int
    content_bytes: int
    oldest_at: datetime | None
    measured_at: datetime
