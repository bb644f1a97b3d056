"""How many of the month's calls are used, and what may still be spent on more than outcomes?

Counted are the calls that succeeded: the platform's notice on the limit of custom apps says that one that failed
takes nothing, and that the count begins anew on the first of a calendar month. It does not say in which time zone;
UTC+8, the platform's own, is assumed.

From four fifths on, what is left is spread evenly over the rest of the month. Outcomes are always shown and are
counted; what they leave of each day's part goes to the updates of cards, and these come at growing distances, so
that an answer has the few that show most.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from mainstay.channels.feishu.governor.model import Mode

__all__ = ["Quota", "Stretch", "month_of"]

PLATFORM_ZONE: Final = timezone(timedelta(hours=8))
_STRETCHED_FROM: Final = 0.8
_AT_ONCE: Final = 0.01
"""So much of what is left may be used before its time has come, or nothing would be shown in the first hour."""
_LONGEST_GAP_S: Final = 60.0
_MANY_CARDS: Final = 1000


def month_of(at: datetime) -> str:
    """The calendar month on the platform, as ``2026-11``."""
    return f"{at.astimezone(PLATFORM_ZONE):%Y-%m}"


def _end_of_month(at: datetime) -> datetime:
    here = at.astimezone(PLATFORM_ZONE)
    later = here.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)
    return later.replace(day=1).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where the line begins along which the rest is used."""

    since: datetime
    used: int


class Quota:
    """The month's calls of one app.

    Args:
        monthly: how many there are; 0: nobody has said, and nothing is stretched.
    """

    def __init__(self, monthly: int) -> None:
        self.monthly = monthly
        self._month = ""
        self._stored = 0
        self._stretch: Stretch | None = None
        self._unsaved: dict[str, int] = {}
        self._leaving: dict[str, int] = {}
        self._exhausted = False
        self._updates: dict[str, tuple[int, float]] = {}

    @property
    def stretched_from(self) -> float:
        """So many used calls, and they run short."""
        return _STRETCHED_FROM * self.monthly

    def used(self, at: datetime) -> int:
        """The calls of this month, as far as this process knows."""
        self._turn_page(at)
        return self._stored + self._leaving.get(self._month, 0) + self._unsaved.get(self._month, 0)

    def mode(self, at: datetime) -> Mode:
        """What the month's calls allow."""
        used = self.used(at)
        if self._exhausted:
            return Mode.EXHAUSTED
        if not self.monthly or used < self.stretched_from:
            return Mode.NORMAL
        if self._stretch is None:
            self._stretch = Stretch(at, used)
        return Mode.STRETCHED

    def succeeded(self, at: datetime) -> None:
        """One more call."""
        self._turn_page(at)
        self._unsaved[self._month] = self._unsaved.get(self._month, 0) + 1

    def refused(self, at: datetime) -> None:
        """The platform says that there is none left."""
        self._turn_page(at)
        self._exhausted = True

    def has_some(self) -> None:
        """There are calls again: somebody has bought some."""
        self._exhausted = False

    def can_spare(self, at: datetime) -> bool:
        """Whether a call may be made that is not needed."""
        match self.mode(at):
            case Mode.NORMAL:
                return True
            case Mode.EXHAUSTED:
                return False
            case Mode.STRETCHED:
                return self.used(at) < self._allowed(at)

    def until_update_s(self, card_id: str, now_s: float, at: datetime) -> float | None:
        """How long this card's next update has to wait; None while nobody can say."""
        if self.mode(at) is Mode.NORMAL:
            return 0.0
        if not self.can_spare(at):
            return None
        updates, last_s = self._updates.get(card_id, (0, now_s))
        gap_s = min(2.0 ** min(updates, 10), _LONGEST_GAP_S) if updates else 0.0
        return max(0.0, last_s + gap_s - now_s)

    def updated(self, card_id: str, now_s: float) -> None:
        """A card was updated."""
        updates, _ = self._updates.pop(card_id, (0, 0.0))
        self._updates[card_id] = (updates + 1, now_s)
        while len(self._updates) > _MANY_CARDS:
            del self._updates[next(iter(self._updates))]

    def _allowed(self, at: datetime) -> float:
        """How many calls may be used by now."""
        assert self._stretch is not None
        begun, left = self._stretch.since, self.monthly - self._stretch.used
        share = (at - begun) / (_end_of_month(begun) - begun)
        return min(self.monthly, self._stretch.used + left * (share + _AT_ONCE))

    def _turn_page(self, at: datetime) -> None:
        month = month_of(at)
        if month > self._month:
            self._month, self._stored, self._stretch, self._exhausted = month, 0, None, False

    @property
    def unsaved(self) -> bool:
        """Whether there is anything that the storage does not know."""
        return bool(self._unsaved)

    def leave(self) -> dict[str, int]:
        """Calls to be stored, by month; they count until `saved` or `not_saved`."""
        self._leaving, self._unsaved = self._unsaved, {}
        return dict(self._leaving)

    def saved(self) -> None:
        """What left is stored; `learn` follows."""
        self._leaving = {}

    def not_saved(self) -> None:
        """What left has to be stored later."""
        leaving, self._leaving = self._leaving, {}
        for month, calls in leaving.items():
            self._unsaved[month] = self._unsaved.get(month, 0) + calls

    def learn(self, month: str, used: int, stretch: Stretch | None) -> None:
        """What all processes together have used, while nothing is on its way to the storage.

        A line that begins before calls run short was drawn when there were fewer in the month.
        """
        if month == self._month:
            self._stored = used
            if stretch is not None and stretch.used >= self.stretched_from:
                self._stretch = stretch
