"""A platform that counts as the real one does, and a governor that has to live with it."""

import heapq
import itertools
import types
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.mutants import mutant

from mainstay.channels.feishu.governor import machine
from mainstay.channels.feishu.governor.calls import call_of
from mainstay.channels.feishu.governor.model import Busy, Call, Key, Scope, limits
from mainstay.sandbox.feishu.limits import Limits
from mainstay.sandbox.feishu.model import Moment, Options, Refusal

AT = datetime(2026, 1, 1, tzinfo=UTC)
PATIENCE_S = 20.0
LONGEST_S = 10.0
PER_SECOND = 15.0
BURST = 30


def update(card: int) -> Call:
    return call_of("PUT", f"/open-apis/cardkit/v1/cards/{card}/elements/answer/content")


def final(card: int) -> Call:
    return call_of("PUT", f"/open-apis/cardkit/v1/cards/{card}")


def reply(chat: int) -> Call:
    return call_of("POST", "/open-apis/im/v1/messages/om_1/reply", chat_id=str(chat))


def patch(message: int) -> Call:
    return call_of("PATCH", f"/open-apis/im/v1/messages/{message}", chat_id="")


AT_ONCE = [
    ([reply(100 + chat) for chat in range(BURST + 1)], BURST),
    ([reply(0)] * 6, 5),
    ([update(0)] * 11, 10),
    ([patch(0)] * 6, 5),
]
"""Of these so many go at once, when all is quiet."""
CALLS = [*map(update, range(3)), *map(final, range(3)), *map(reply, range(2)), patch(0)]


@dataclass(frozen=True)
class Wish:
    """Somebody wants to make a call, so long after the one before.

    Attributes:
        there_s, back_s: how long it is on its way.
        tires_s: it is given up after so long, whether or not it has its place by then, if it was not made.
        holds_s: it is made so long after it has its place.
        is_lost: nobody says when it is over.
    """

    after_s: float
    call: Call
    there_s: float = 0.0
    back_s: float = 0.0
    tires_s: float = PATIENCE_S
    holds_s: float = 0.0
    is_lost: bool = False


class World:
    """Time, the platform, the governor, and those who want something of them."""

    def __init__(self, module: types.ModuleType) -> None:
        self.governor = module.Governor(limits(PER_SECOND), longest_s=LONGEST_S, most_waiting=1000)
        self.now_s = 1000.0
        self.platform = Limits()
        self.asked: list[machine.Ticket] = []
        self.waiting: set[machine.Ticket] = set()
        self.made: set[machine.Ticket] = set()
        self.refused: list[tuple[float, machine.Ticket, bool, float]] = []
        self.busy: list[Busy] = []
        self.given_up: set[machine.Ticket] = set()
        self._happening: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._wishes: dict[machine.Ticket, Wish] = {}
        self._timer = 0

    def at(self, when_s: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._happening, (when_s, next(self._order), what))

    def want(self, wishes: Sequence[Wish]) -> None:
        when_s = self.now_s
        for wish in wishes:
            when_s += wish.after_s
            self.at(when_s, lambda wish=wish: self.ask(wish))  # type: ignore[misc]

    def ask(self, wish: Wish) -> None:
        answer = self.governor.ask(wish.call, self.now_s, patience_s=PATIENCE_S)
        if isinstance(answer, Busy):
            assert answer.wait_s > PATIENCE_S
            self.busy.append(answer)
            return
        self._wishes[answer] = wish
        self.asked.append(answer)
        self.waiting.add(answer)
        self.at(self.now_s + wish.tires_s, lambda: self.tire(answer))
        self.go()

    def tire(self, ticket: machine.Ticket) -> None:
        if ticket not in self.made:
            self.given_up.add(ticket)
            self.waiting.discard(ticket)
            self.governor.give_up(ticket, self.now_s)
            self.go()

    def go(self) -> None:
        going, next_s = self.governor.go(self.now_s)
        self.waiting -= set(going)
        for ticket in going:
            assert ticket.went_s == self.now_s
            for other in self.waiting:
                assert not (other.call.urgency < ticket.call.urgency and self.was_overtaken(other, ticket))
            holds_s = self._wishes[ticket].holds_s
            self.at(self.now_s + holds_s, lambda ticket=ticket: self.make(ticket))  # type: ignore[misc]
        if next_s < float("inf"):
            assert next_s > self.now_s
            self._timer += 1
            self.at(next_s, lambda timer=self._timer: self.wake(timer))  # type: ignore[misc]

    def was_overtaken(self, other: machine.Ticket, ticket: machine.Ticket) -> bool:
        """Whether the one lacks nothing but what the other has taken."""
        shared = set(other.call.buckets) & set(ticket.call.buckets)
        return bool(shared) and self.free_s(set(other.call.buckets) - shared) <= self.now_s

    def free_s(self, keys: Iterable[Key]) -> float:
        return max((self.governor._bucket(key).free_s(self.now_s) for key in keys), default=self.now_s)

    def wake(self, timer: int) -> None:
        if timer == self._timer:
            self.go()

    def make(self, ticket: machine.Ticket) -> None:
        if ticket not in self.given_up:
            self.made.add(ticket)
            self.at(self.now_s + self._wishes[ticket].there_s, lambda: self.arrive(ticket))

    def arrive(self, ticket: machine.Ticket) -> None:
        now, options = Moment(self.now_s, self.now_s, AT), Options()
        refusal = None
        try:
            self.platform.count(ticket.call.api, options, now)
            for scope, name in ticket.call.buckets:
                match scope:
                    case Scope.CARD:
                        self.platform.card(name, options, now)
                    case Scope.CHAT:
                        self.platform.chat(name, options, now)
                    case Scope.MESSAGE:
                        self.platform.message(name, options, now)
        except Refusal as why:
            refusal = why
        self.at(self.now_s + self._wishes[ticket].back_s, lambda: self.answered(ticket, refusal))

    def answered(self, ticket: machine.Ticket, refusal: Refusal | None) -> None:
        if self._wishes[ticket].is_lost:
            return
        if refusal is not None:
            narrow = refusal.code == 230020
            wait_s = float(refusal.headers.get("x-ogw-ratelimit-reset", "0"))
            self.refused.append((self.now_s, ticket, narrow, wait_s))
            self.governor.refused(ticket, self.now_s, wait_s=wait_s, narrow=narrow)
        self.governor.answered(ticket, self.now_s)
        self.go()

    def live(self) -> None:
        happened = 0
        while self._happening:
            happened += 1
            assert happened < 50_000, "it does not come to rest"
            kinds = {each.call.buckets for each in self.waiting}
            due_s = min(map(self.free_s, kinds), default=float("inf"))
            self.now_s, _, what = heapq.heappop(self._happening)
            if not self.refused:  # else places appear while what was halved grows back
                assert self.now_s <= due_s + 0.001, "somebody waits although there is a place"
            what()
        assert self.governor.waiting == 0


def alone(module: types.ModuleType, wishes: Sequence[Wish]) -> World:
    """Nobody else is there: the platform never has to refuse."""
    world = World(module)
    world.want(wishes)
    world.live()
    assert world.refused == []
    for ticket in world.asked:
        assert ticket.went_s is not None or ticket in world.given_up
    by_api: dict[str, list[float]] = {}
    for ticket in world.asked:
        if ticket.went_s is not None and ticket not in world.given_up:
            by_api.setdefault(ticket.call.api, []).append(ticket.went_s)
    for times in by_api.values():
        times.sort()
        for first, last in itertools.combinations(range(len(times)), 2):
            assert last - first < BURST + (times[last] - times[first]) * PER_SECOND + 1
    for calls, at_once in AT_ONCE:  # no place is held for ever, and none was given back twice
        world.now_s += 100.0
        tickets = [world.governor.ask(call, world.now_s, patience_s=100.0) for call in calls]
        going, _ = world.governor.go(world.now_s)
        assert going == tickets[:at_once]
        for ticket in tickets:
            world.governor.give_up(ticket, world.now_s)
    return world


def in_time(module: types.ModuleType, gaps_s: Sequence[float], call: Call) -> None:
    """Whoever has a ticket goes in time, if nobody more urgent and no slow answer comes between."""
    world = World(module)
    world.want([Wish(gap_s, call, tires_s=PATIENCE_S + 0.01) for gap_s in gaps_s])
    world.live()
    assert world.given_up == set()
    assert len(world.made) + len(world.busy) == len(gaps_s)


delays = st.sampled_from([0.0, 0.02, 0.2, 0.9, 4.0])


def wish(call: st.SearchStrategy[Call]) -> st.SearchStrategy[Wish]:
    return st.builds(
        Wish,
        after_s=st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.1, 0.9]),
        call=call,
        there_s=delays,
        back_s=st.sampled_from([0.0, 0.02, 0.2, 0.9, 7.0]),
        tires_s=st.sampled_from([0.0, 0.1, 1.0, *[PATIENCE_S] * 7]),
        holds_s=st.sampled_from([0.0, 0.0, 0.0, 0.5]),
        is_lost=st.sampled_from([False] * 9 + [True]),
    )


HONEST = settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
few = st.lists(st.sampled_from(CALLS), min_size=1, max_size=3) | st.just([update(0), final(0)])
wishes = few.flatmap(lambda calls: st.lists(wish(st.sampled_from(calls)), min_size=10, max_size=60))
gaps = st.lists(st.sampled_from([0.0] * 12 + [0.1, 1.0]), min_size=1, max_size=130)
crowds = st.lists(st.sampled_from([0.0] * 30 + [0.1, 1.0]), min_size=120, max_size=130)


@HONEST
@given(wishes)
def test_whatever_is_wanted_the_platform_never_refuses_and_nobody_is_forgotten(wanted: list[Wish]) -> None:
    alone(machine, wanted)


@HONEST
@given(gaps | crowds, st.sampled_from([reply(0), update(0), final(0), patch(0)]))
def test_who_can_not_go_in_time_is_told_so_before_it_waits(gaps_s: list[float], call: Call) -> None:
    in_time(machine, gaps_s, call)


MUTANTS = {
    "a window is shorter": ("self._answered[-left] + window.seconds", "self._answered[-left] + window.seconds / 2"),
    "a window holds one more": ("len(self._answered) >= left:", "len(self._answered) > left:"),
    "what is under way is not counted": ("most - self._under_way - rest", "most - rest"),
    "counted from when it goes": (
        "        self._answered.append(now_s)",
        "        self._answered.append(now_s - 0.9)",
    ),
    "several take the last place": ("                del free[key]", "                pass"),
    "the burst never ends": ("(ahead + 1 - self.limit.burst) * interval_s", "(ahead - 99 * self.limit.burst)"),
    "the less urgent goes first": ("return self.call.urgency, self.turn", "return -self.call.urgency, self.turn"),
    "given up is not given back": (
        """        \"\"\"It was not made after all.\"\"\"
        self._under_way -= 1""",
        """        \"\"\"It was not made after all.\"\"\"
        self._under_way -= 0""",
    ),
    "given up still waits": ("            self._waiting.remove(ticket)", "            pass"),
    "what is lost holds its place": ("oldest.went_s + self._longest_s > now_s", "oldest.went_s > 0"),
    "it counts after it has expired, too": (
        """however it ended.\"\"\"
        if ticket in self._going:
            del self._going[ticket]
""",
        """however it ended.\"\"\"
        if self._going.pop(ticket, None) or True:
""",
    ),
    "who waits before is not counted": ("divmod(ahead, most)", "0, ahead % most"),
    "nobody is turned away": ("if wait_s > patience_s or", "if"),
    "everybody is turned away": ("if wait_s > patience_s or", "if wait_s > 0.0 or"),
    "nobody is woken": ("next_s = min(next_s, free_s)", "pass"),
    "a place is found too early": ("            if free_s > now_s:", "            if free_s > now_s + 0.5:"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_world_notices_a_governor_that_is_wrong(name: str) -> None:
    wrong = mutant(machine, *MUTANTS[name])

    @settings(
        max_examples=200,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(wishes, crowds)
    def property_of_the_mutant(wanted: list[Wish], gaps_s: list[float]) -> None:
        alone(wrong, wanted)
        in_time(wrong, gaps_s, reply(0))

    with pytest.raises(AssertionError):
        property_of_the_mutant()


class Desk:
    """Somebody who asks, by hand."""

    def __init__(self, module: types.ModuleType = machine) -> None:
        self.governor = module.Governor(limits(PER_SECOND), longest_s=LONGEST_S, most_waiting=20)
        self.now_s = 1000.0

    def ask(self, call: Call, patience_s: float = PATIENCE_S) -> machine.Ticket:
        ticket = self.governor.ask(call, self.now_s, patience_s=patience_s)
        assert not isinstance(ticket, Busy), ticket
        return ticket

    def go(self) -> list[machine.Ticket]:
        return self.governor.go(self.now_s)[0]

    def make(self, call: Call, count: int = 1) -> list[machine.Ticket]:
        """Make calls that are answered at once."""
        tickets = [self.ask(call) for _ in range(count)]
        assert self.go() == tickets
        for ticket in tickets:
            self.governor.answered(ticket, self.now_s)
        return tickets

    def refused(self, call: Call, wait_s: float, *, narrow: bool) -> None:
        [ticket] = self.make(call)
        self.governor.refused(ticket, self.now_s, wait_s=wait_s, narrow=narrow)

    def goes(self, call: Call) -> bool:
        ticket = self.ask(call, 1e9)
        going = ticket in self.go()
        self.governor.give_up(ticket, self.now_s)
        return going


def test_an_api_that_is_closed_is_closed_for_everybody_until_the_platform_opens_it() -> None:
    desk = Desk()
    desk.refused(update(0), 30.0, narrow=False)
    desk.now_s += 29.9
    assert not desk.goes(update(0))
    assert not desk.goes(update(1))
    assert desk.goes(final(0))
    assert desk.goes(reply(0))
    desk.now_s += 0.1
    assert desk.goes(update(1))


def test_a_chat_that_is_closed_holds_up_no_other() -> None:
    desk = Desk()
    desk.refused(reply(0), 0.0, narrow=True)
    desk.now_s += 1.9  # the platform does not say for how long: twice the window, as half of it is to be used
    assert not desk.goes(reply(0))
    assert desk.goes(reply(1))
    desk.now_s += 0.1
    assert desk.goes(reply(0))


def test_who_would_wait_too_long_is_told_so_at_once() -> None:
    desk = Desk()
    desk.refused(update(0), 30.0, narrow=False)
    assert desk.governor.ask(update(1), desk.now_s, patience_s=29.9) == Busy(30.0)
    waiting = desk.ask(update(1), 30.0)
    desk.governor.give_up(waiting, desk.now_s)
    for _ in range(20):
        desk.ask(update(1), 99.0)
    assert isinstance(desk.governor.ask(reply(1), desk.now_s, patience_s=99.0), Busy)  # so many, and no more


def test_each_refusal_halves_what_is_let_through_and_a_minute_brings_it_back() -> None:
    desk = Desk()

    def at_once() -> int:
        tickets = [desk.ask(reply(0), 1e9) for _ in range(6)]
        going = len(desk.go())
        for ticket in tickets:
            desk.governor.give_up(ticket, desk.now_s)
        return going

    assert at_once() == 5
    desk.refused(reply(0), 1.0, narrow=True)
    desk.now_s += 1.0
    assert at_once() == 2
    desk.refused(reply(0), 1.0, narrow=True)
    desk.now_s += 1.0
    assert at_once() == 1
    desk.now_s += 59.0
    assert at_once() == 5


def test_an_api_takes_five_minutes_to_be_used_as_before() -> None:
    desk = Desk()
    desk.refused(update(0), 40.0, narrow=False)
    bucket = desk.governor._buckets[update(0).buckets[0]]
    desk.now_s += 40.0
    assert bucket.share(desk.now_s) == 0.5
    desk.now_s += 75.0
    assert bucket.share(desk.now_s) == 0.75
    desk.now_s += 75.0
    assert bucket.share(desk.now_s) == 1.0


def test_calls_that_were_on_their_way_when_one_was_refused_do_not_halve_again() -> None:
    desk = Desk()
    tickets = desk.make(reply(0), 3)
    for ticket in tickets:
        desk.now_s += 0.01
        desk.governor.refused(ticket, desk.now_s, wait_s=1.0, narrow=True)
    bucket = desk.governor._buckets[Scope.CHAT, "0"]
    assert bucket.share(desk.now_s) == 0.5
    desk.now_s += 100.0
    desk.refused(reply(0), 1.0, narrow=True)
    assert bucket.share(desk.now_s) == 0.5


def test_an_outcome_goes_before_the_updates_that_wait_for_the_same_card() -> None:
    desk = Desk()
    desk.make(update(0), 10)
    updates = [desk.ask(update(0)) for _ in range(3)]
    last = desk.ask(final(0))
    desk.now_s += 1.0
    assert desk.go() == [last, *updates]


def test_cards_that_share_an_api_go_by_turns() -> None:
    desk = Desk()
    desk.refused(update(9), 2.0, narrow=False)
    of_one = [desk.ask(update(1)) for _ in range(5)]
    of_two = [desk.ask(update(2)) for _ in range(2)]
    of_three = [desk.ask(update(3))]
    desk.now_s += 2.0
    assert desk.go() == [of_one[0], of_two[0], of_three[0], of_one[1], of_two[1], *of_one[2:]]


def test_a_chat_that_is_flooded_is_told_to_the_second_when_it_would_have_a_place() -> None:
    governor = machine.Governor(limits(50.0), longest_s=LONGEST_S, most_waiting=1000)
    answers = [governor.ask(reply(0), 0.0, patience_s=PATIENCE_S) for _ in range(106)]
    assert [answer for answer in answers if isinstance(answer, Busy)] == [Busy(21.0)]
    assert isinstance(answers[-1], Busy)


def test_a_thousand_quiet_chats_are_forgotten_and_a_busy_one_is_not() -> None:
    desk = Desk()
    for chat in range(1200):
        desk.make(reply(chat))
        desk.now_s += 1.0
    assert len(desk.governor._buckets) <= 1001
    assert (Scope.CHAT, "1199") in desk.governor._buckets


def crowded(module: types.ModuleType, others_per_s: float, seconds: float) -> World:
    """A group in which we always have something to say, and other bots speak as well."""
    world = World(module)
    world.want([Wish(0.2, reply(0), 0.05, 0.05) for _ in range(int(seconds * 5))])

    def speak() -> None:
        with suppress(Refusal):
            world.platform.chat("0", Options(), Moment(world.now_s, world.now_s, AT))

    spoken = int(seconds * others_per_s)
    for number in range(spoken):
        world.at(world.now_s + number / others_per_s, speak)
    world.live()
    return world


@pytest.mark.parametrize("others_per_s", [1.0, 2.0, 3.0, 4.0])
def test_what_other_bots_say_in_a_group_is_learned_from_few_refusals(others_per_s: float) -> None:
    world = crowded(machine, others_per_s, 240.0)
    through = len(world.made) - len(world.refused)
    assert through > 0.7 * (5.0 - others_per_s) * 240.0
    assert len(world.refused) < 20
