"""Which reloads go on, and how is done what is decided about them?"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol, assert_never

from mainstay.errors import MainstayError
from mainstay.supervisor import events
from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.events import Event
from mainstay.supervisor.model import Instance, Reason
from mainstay.supervisor.naming import Role, app_of, beside
from mainstay.supervisor.rolling import Action, Begin, Drop, Forget, Restart, Roll, Swap, decide, resumed

__all__ = ["Reloads", "Runs"]

_REMEMBERED: Final = 100  # who has not asked by then does not wait
_ASKED: Final = events.RestartAsked(reason=Reason.USER, detail="reloaded")


class Runs(Protocol):
    """What the daemon does with runs."""

    @property
    def instances(self) -> Mapping[str, Instance]:
        """All runs, by name."""
        ...

    def settings(self, name: str) -> AppSettings:
        """Of the app of this run."""
        ...

    def feed(self, name: str, event: Event) -> None:
        """Something has happened to this run."""
        ...

    def begin(self, name: str) -> None:
        """Let there be a run of this name, and start it."""
        ...

    def swap(self, slot: str) -> None:
        """Let the successor have the slot, and what had it be the old one."""
        ...

    def forget(self, name: str) -> None:
        """This run has ended, and nobody asks for it any more."""
        ...


class Reloads:
    """All of one daemon.

    Args:
        runs: of the daemon.
        rolls: those that the last daemon had not ended.
        now: seconds of ``CLOCK_BOOTTIME``.
        over: told of each that has ended.
    """

    def __init__(
        self, runs: Runs, rolls: Iterable[Roll], *, now: Callable[[], float], over: Callable[[Roll], object]
    ) -> None:
        self._runs = runs
        self._now = now
        self._tell = over
        self._rolls: dict[int, Roll] = dict(enumerate(rolls))
        self._over: dict[int, Roll] = {}
        self._number = len(self._rolls)

    @property
    def rolls(self) -> tuple[Roll, ...]:
        """Those that go on."""
        return tuple(self._rolls.values())

    def concern(self, slot: str) -> bool:
        """Whether the reload of this instance goes on."""
        return any(slot in roll.left for roll in self._rolls.values())

    def begin(self, slots: Sequence[str]) -> int:
        """Reload these, one after the other; returns by which number `ended` knows it.

        Raises:
            MainstayError: if one is being reloaded already.
        """
        busy = sorted({app_of(slot) for slot in slots if self.concern(slot)})
        if busy:
            raise MainstayError(
                f"{', '.join(busy)} is being reloaded already: wait, or end that by `mainstay stop`"
            )
        self._number += 1
        self._rolls[self._number] = Roll(left=tuple(slots))
        return self._number

    def ended(self, number: int) -> Roll | None:
        """How it was when it ended; None while it goes on. Asked for once."""
        return self._over.pop(number, None)

    def cancel(self, slots: Iterable[str], why: str) -> None:
        """Whatever reload has still to do with one of these is given up: something else was asked for."""
        asked = set(slots)
        for number, roll in self._rolls.items():
            if not roll.failed and not asked.isdisjoint(roll.left):
                self._rolls[number] = replace(roll, failed=f"{roll.left[0]}: {why}")

    def resume(self) -> None:
        """For a while nobody was looking; to be called before the runs are told so."""
        for number, roll in self._rolls.items():
            self._rolls[number] = resumed(roll, self._runs.instances, self._apps(roll))

    def look(self) -> float:
        """Do what is to be done now; when to look again at the latest."""
        return min((self._go_on(number) for number in tuple(self._rolls)), default=float("inf"))

    def _apps(self, roll: Roll) -> dict[str, AppSettings]:
        return {slot: self._runs.settings(slot) for slot in roll.left}

    def _go_on(self, number: int) -> float:
        while True:
            roll = self._rolls[number]
            after, action, due_s = decide(roll, self._runs.instances, self._apps(roll), self._now())
            if after is None:
                self._over[number] = self._rolls.pop(number)
                self._over.pop(number - _REMEMBERED, None)
                self._tell(roll)
                return float("inf")
            self._rolls[number] = after
            if action is not None:
                self._perform(action)
            elif after == roll:
                return due_s

    def _perform(self, action: Action) -> None:
        match action:
            case Begin(slot):
                self._runs.begin(beside(slot, Role.NEXT))
            case Restart(slot):
                self._runs.feed(slot, _ASKED)
            case Swap(slot):
                self._runs.swap(slot)
                self._runs.feed(beside(slot, Role.OLD), events.Unwanted())
            case Drop(slot):
                self._runs.feed(beside(slot, Role.NEXT), events.Unwanted())
            case Forget(name):
                self._runs.forget(name)
            case _:
                assert_never(action)
