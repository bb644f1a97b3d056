"""Does a link always have a next step, and never two connections, whatever the platform does?

Hypothesis chooses what happens; a small world obeys the machine's steps and keeps a ledger of its own: whether
there is a socket, since when it is dead, what the platform has asked for. The same world then runs on machines that
are wrong in one place each.
"""

import math
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.mutants import mutant

from mainstay.channels.feishu.connection import machine
from mainstay.channels.feishu.connection.machine import merge, read_endpoint, read_handshake
from mainstay.channels.feishu.connection.model import (
    Ask,
    ClientConfig,
    ConnectionSettings,
    Drop,
    Endpoint,
    Failure,
    FailureKind,
    Open,
    Ping,
    Wait,
)

SETTINGS = ConnectionSettings(
    reconnect_base=0.5, reconnect_cap=60.0, rejected_retry=120.0, ping_interval=30.0, pong_timeout=10.0
)
HOUR_S = 3600.0
CONFIGS: tuple[object, ...] = (
    {"ReconnectCount": -1, "ReconnectInterval": 120, "ReconnectNonce": 30, "PingInterval": 120},
    {"ReconnectCount": 0, "ReconnectInterval": 0, "ReconnectNonce": 0, "PingInterval": 0},
    {"ReconnectCount": -1},
    {"PingInterval": 5, "ReconnectInterval": 2},
    {"PingInterval": -1, "ReconnectInterval": 10**12},
    {"PingInterval": None, "ReconnectInterval": "soon"},
    {"PingInterval": True},
    {"PingInterval": math.inf, "ReconnectInterval": math.nan},
    [1, 2],
    "config",
    None,
)
SANE = {0: (120, 120), 3: (5, 2)}


class World:
    """A platform, a network and a shell that does what it is told."""

    def __init__(self, subject: Any) -> None:  # noqa: ANN401  a module, possibly a mutant of it
        self.drawn = 0
        self.now_s = 50.0
        self.link = subject.Link(SETTINGS, self.chance, self.now_s)
        self.config: object = None
        self.ping_s, self.interval_s = 30.0, math.inf
        self.refusals: list[Failure] = []
        self.open = False
        self.hears = True
        self.opened_s = self.lost_s = self.good_s = 0.0
        self.pongs_due: list[float] = []
        self.reopened: list[float] = []
        self.failures = self.tickets = self.opened = self.pings = self.losses = self.short = 0
        self.may_wait_until_s = self.now_s
        self.asking = False

    def chance(self) -> float:
        self.drawn += 1
        return self.drawn * 0.61 % 1.0

    # What the shell does.

    def run(self, until_s: float) -> None:
        """Obey, until that moment."""
        for _ in range(20_000):
            step = self.link.step(self.now_s)
            if isinstance(step, Wait):
                wake_s = min((each for each in (step.until_s, *self.pongs_due) if each is not None), default=None)
                assert wake_s is not None, "a zombie: it waits for what nobody will say"
                if not self.open:
                    assert step.until_s is not None
                    assert step.until_s <= self.may_wait_until_s, "it waits for longer than it may"
                if wake_s > until_s:
                    self.now_s = until_s
                    return
                self.now_s = max(self.now_s, wake_s)
                self.pong()
            else:
                self.do(step)
        raise AssertionError("it never waits")

    def do(self, step: object) -> None:
        match step:
            case Ask():
                assert not self.open, "an address is asked for beside an open connection"
                assert not self.asking, "two questions at once"
                self.asking = True
                if not self.refused():
                    self.link.told(self.config)
                    self.learn()
            case Open():
                assert self.asking, "it connects without having asked where to"
                assert not self.open, "two sockets"
                self.asking = False
                if not self.refused():
                    self.has_opened()
            case Ping():
                assert self.open, "a ping without a connection"
                self.pings += 1
                if self.hears:
                    self.pongs_due.append(self.now_s + 0.05)
            case Drop(reason):
                assert self.open
                assert not self.hears or "evidence" in reason, "a good connection was given up"
                if not self.hears:
                    assert self.now_s - self.good_s <= 2 * self.ping_s + 0.2, "a half-open socket stays"
                self.has_lost()

    def refused(self) -> bool:
        if not self.refusals:
            return False
        failure = self.refusals.pop(0)
        self.asking = False
        self.failures += 1
        self.tickets = self.tickets + 1 if failure.kind is FailureKind.TICKET else 0
        rejected = failure.kind is FailureKind.REJECTED or self.tickets >= 3
        said = self.link.failed(failure, self.now_s)
        assert (said.kind is FailureKind.REJECTED) is rejected
        assert said.reason == failure.reason
        slowly = failure.kind is FailureKind.REJECTED
        self.may_wait_until_s = self.now_s + (120.0 if slowly else self.longest(self.failures))
        if slowly:
            assert self.link.retry_at_s >= self.now_s + 60.0, "wrong credentials are hammered"
        return True

    def longest(self, failures: int) -> float:
        return min(60.0, max(0.5, self.interval_s), 0.5 * 2 ** (failures - 1))

    def has_opened(self) -> None:
        self.link.opened(self.now_s)
        self.open = self.hears = True
        self.opened_s = self.good_s = self.now_s
        self.failures = self.tickets = 0
        self.opened += 1
        assert isinstance(self.link.step(self.now_s), Ping), "the first ping waits"
        self.do(Ping())

    def has_lost(self) -> None:
        self.open = False
        self.pongs_due.clear()
        self.losses += 1
        self.link.lost(self.now_s)
        lasted = self.now_s - self.opened_s >= 10.0
        self.short = 0 if lasted else self.short + 1
        longest_s = 0.0 if lasted else self.longest(self.short)
        self.may_wait_until_s = self.now_s + longest_s

    def pong(self) -> None:
        if self.pongs_due and self.pongs_due[0] <= self.now_s:
            self.pongs_due.pop(0)
            if self.open and self.hears:
                self.good_s = self.now_s
                self.link.pong(self.config)
                self.learn()

    def learn(self) -> None:
        index = CONFIGS.index(self.config) if self.config is not None else -1
        if index in SANE:
            ping_s, self.interval_s = SANE[index]
            self.ping_s = min(30.0, ping_s)
        assert self.link.ping_interval_s == self.ping_s, "a silly setting of the platform was taken"

    # What happens.

    def wait(self, what: int) -> None:
        self.run(self.now_s + (0.0, 0.3, 1.0, 7.0, 11.0, 40.0, 300.0)[what % 7])

    def quiet_hour(self, what: int) -> None:
        losses, pings, was_good = self.losses, self.pings, self.open and self.hears
        self.run(self.now_s + HOUR_S)
        if was_good:
            assert self.losses == losses, "a quiet hour costs a connection"
            assert self.pings - pings >= HOUR_S / 30.0 - 1, "the pings have stopped"

    def close(self, what: int) -> None:
        if self.open:
            self.has_lost()

    def fall_silent(self, what: int) -> None:
        if self.open:
            self.hears = False
            self.pongs_due.clear()

    def stale(self, what: int) -> None:
        if self.open and self.hears:
            self.link.suspect("evidence")
            losses = self.losses
            self.run(self.now_s)
            assert self.losses > losses, "evidence is ignored"

    def refuse(self, what: int) -> None:
        kind = list(FailureKind)[what % 4]
        self.refusals += [Failure(kind, f"refused: {kind}")] * (1 + what % 5)

    def configure(self, what: int) -> None:
        self.config = CONFIGS[what % len(CONFIGS)]

    def late_pong(self, what: int) -> None:
        """From a connection that is gone."""
        if not self.open:
            self.link.pong(None)

    def outage(self, what: int) -> None:
        """A long one, of a platform that wants to be asked often."""
        self.config = CONFIGS[3]
        self.recover(what)
        self.run(self.now_s + 20.0)
        self.refusals = [Failure(FailureKind.TRANSIENT, "down")] * 9
        self.close(what)
        self.run(self.now_s + 300.0)

    def bad_tickets(self, what: int) -> None:
        """Never three in a row: there is a connection between them."""
        for count in (2, 1):
            self.recover(what)
            self.refusals = [Failure(FailureKind.TICKET, "ticket")] * count
            self.close(what)
            self.run(self.now_s + 10.0)

    def recover(self, what: int) -> None:
        """From wherever it is, it comes back once the platform is well."""
        self.refusals.clear()
        self.run(max(self.now_s, self.may_wait_until_s if not self.open else self.now_s + 2 * self.ping_s + 61.0))
        self.run(self.now_s + 61.0)
        assert self.open, "it does not come back"


ACTIONS = (
    "wait",
    "quiet_hour",
    "close",
    "fall_silent",
    "stale",
    "refuse",
    "configure",
    "late_pong",
    "outage",
    "bad_tickets",
    "recover",
)
SCRIPTS = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 60)), min_size=1, max_size=30)


def live(subject: Any, script: list[tuple[str, int]]) -> None:  # noqa: ANN401
    world = World(subject)
    for action, what in script:
        getattr(world, action)(what)
    world.recover(0)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SCRIPTS)
def test_whatever_happens_there_is_one_connection_or_a_next_step(script: list[tuple[str, int]]) -> None:
    live(machine, script)


MUTANTS = {
    "a refusal is the end": ("self._wait(now_s + delay_s)", "self._due_s = now_s + delay_s"),
    "what lasted is not opened again at once": (
        "self._backoff(self._short) if self._short else 0.0",
        "self._backoff(self._short + 8)",
    ),
    "no limit": ("min(cap_s, base_s * 2.0 ** min(failures - 1, 30))", "base_s * 2.0 ** min(failures - 1, 30)"),
    "the platform's interval counts for nothing": ("cap_s = min(cap_s, max(", "cap_s = max(cap_s, min("),
    "credentials are hammered": (
        "self._settings.rejected_retry * (0.5 + 0.5 * self._chance())",
        "self._backoff(self._failures)",
    ),
    "three tickets mean nothing": ("self._tickets >= _MOST_TICKETS", "self._tickets > 99"),
    "one ticket too many is remembered": (
        "self._failures = self._tickets = self._missed = 0",
        "self._failures = self._missed = 0",
    ),
    "a missing pong is no reason": ("self._missed >= _MOST_MISSED", "self._missed > 99"),
    "the pong has all the time of the world": (
        "min(self._settings.pong_timeout, self.ping_interval_s / 2)",
        "self.ping_interval_s * 2",
    ),
    "a pong is not counted": (
        "            self._awaiting = False\n            self._missed = 0\n",
        "            pass\n",
    ),
    "every interval is taken": ("if 1 <= value <= _LONGEST_INTERVAL_S", "if value"),
    "evidence is ignored": ("self._suspicion = self._suspicion or reason", "pass"),
    "the suspicion stays": ('        self._suspicion = ""\n        self._opened_s', "        self._opened_s"),
    "the first ping waits": ("self._pinged_s = now_s - self.ping_interval_s", "self._pinged_s = now_s"),
    "it asks again beside an open connection": ("        self.phase = Phase.OPEN\n", ""),
    "the config replaces the known one": (
        'said.get("PingInterval")) or known.ping_interval_s',
        'said.get("PingInterval"))',
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_machine_that_is_wrong_in_one_place_is_found_out(name: str) -> None:
    wrong = mutant(machine, *MUTANTS[name])

    @settings(
        max_examples=1500,
        deadline=None,
        phases=[Phase.generate],
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(SCRIPTS)
    def search(script: list[tuple[str, int]]) -> None:
        live(wrong, script)

    with pytest.raises(Exception):  # noqa: B017, PT011  whichever promise is broken first
        search()


OTHERS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 120), st.sampled_from(["close", "refuse", "configure", "stale"])),
    max_size=8,
)
LINKS: list[Any] = []
"""Those of the world that is running; see the mutant."""


def several(subject: Any, silent_at: int, others: list[tuple[int, int, str]]) -> None:  # noqa: ANN401
    """Four on one timeline; the first falls silent, while this happens to the others."""
    worlds = [World(subject) for _ in range(4)]
    LINKS[:] = [each.link for each in worlds]
    for second in range(200):
        for number, world in enumerate(worlds):
            for _, _, what in [each for each in others if each[:2] == (number, second)]:
                getattr(world, what)(second)
            world.run(50.0 + second)
        if second == silent_at:
            worlds[0].fall_silent(0)
    assert worlds[0].losses == 1, "the others have hidden it"
    assert worlds[0].open, "it does not come back"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 120), OTHERS)
def test_a_half_open_one_is_found_in_two_ping_intervals_whatever_becomes_of_the_others(
    silent_at: int, others: list[tuple[int, int, str]]
) -> None:
    several(machine, silent_at, others)


def test_a_pong_that_counts_for_all_would_be_found_out() -> None:
    own = "        if self.phase is Phase.OPEN:\n            self._awaiting = False\n            self._missed = 0\n"
    all_ = "        for each in LINKS:\n            each._awaiting = False\n            each._missed = 0\n"
    with pytest.raises(AssertionError, match="the others have hidden it"):
        several(mutant(machine, own, all_, LINKS=LINKS), 40, [(1, 7, "close"), (2, 19, "close"), (3, 11, "close")])


def test_a_flapping_connection_is_not_opened_again_and_again_at_once() -> None:
    link = machine.Link(SETTINGS, lambda: 1.0, 0.0)
    now_s, waits = 0.0, []
    for _ in range(6):
        assert link.step(now_s) == Ask()
        link.told(None)
        assert link.step(now_s) == Open()
        link.opened(now_s)
        link.lost(now_s + 1.0)
        waits.append(link.retry_at_s - (now_s + 1.0))
        now_s = link.retry_at_s
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0]


def test_a_process_that_was_stopped_gives_the_pong_that_lies_there_its_time() -> None:
    link = machine.Link(SETTINGS, lambda: 1.0, 0.0)
    link.step(0.0)
    link.told(None)
    link.step(0.0)
    link.opened(0.0)
    assert link.step(0.0) == Ping()
    assert link.step(5000.0) == Ping(), "the first pong is missing; the second ping has its time from now"
    assert link.step(5000.1) == Wait(5010.0)
    link.pong(None)
    assert link.step(5000.3) == Wait(5030.0)


def answer(**body: object) -> bytes:
    return orjson.dumps({"code": 0, "msg": "", **body})


GOOD_URL = "wss://msg.example.com/ws/v2?device_id=7&service_id=33554678&ticket=t"


def test_an_address_comes_with_its_service_and_the_config_as_it_is() -> None:
    body = answer(data={"URL": GOOD_URL, "ClientConfig": {"PingInterval": 60}})
    assert read_endpoint(200, body) == Endpoint(url=GOOD_URL, service=33554678, config={"PingInterval": 60})
    assert "ticket" not in repr(read_endpoint(200, body)), "the ticket would get into a log"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, answer(code=1, msg="system busy"), FailureKind.TRANSIENT),
        (200, answer(code=1000040343), FailureKind.TRANSIENT),
        (200, answer(code=99999), FailureKind.TRANSIENT),
        (200, answer(code=10014), FailureKind.REJECTED),
        (400, answer(code=10015), FailureKind.REJECTED),
        (200, answer(code=10003), FailureKind.REJECTED),
        (200, answer(code=1000040350), FailureKind.CROWDED),
        (502, b"<html>", FailureKind.TRANSIENT),
        (200, b"", FailureKind.TRANSIENT),
        (200, b"[]", FailureKind.TRANSIENT),
        (200, answer(code="0"), FailureKind.TRANSIENT),
        (200, answer(), FailureKind.TRANSIENT),
        (200, answer(data=[]), FailureKind.TRANSIENT),
        (200, answer(data={"URL": 7}), FailureKind.TRANSIENT),
        (200, answer(data={"URL": "https://x.example/?service_id=1"}), FailureKind.TRANSIENT),
        (200, answer(data={"URL": "ws://x.example/?service_id=1"}), FailureKind.TRANSIENT),
        (200, answer(data={"URL": "wss://x.example/"}), FailureKind.TRANSIENT),
        (200, answer(data={"URL": "wss://x.example/?service_id=-1"}), FailureKind.TRANSIENT),
        (200, answer(data={"URL": "wss://[x/?service_id=1"}), FailureKind.TRANSIENT),
    ],
)
def test_every_other_answer_is_a_failure_after_which_it_is_tried_again(
    status: int, body: bytes, kind: FailureKind
) -> None:
    failure = read_endpoint(status, body)
    assert isinstance(failure, Failure)
    assert failure.kind is kind


def test_an_address_on_this_machine_needs_no_tls() -> None:
    assert isinstance(read_endpoint(200, answer(data={"URL": "ws://127.0.0.1:1/ws?service_id=1"})), Endpoint)


@pytest.mark.parametrize(
    ("headers", "kind", "told"),
    [
        ({}, FailureKind.TRANSIENT, "HTTP 500"),
        ({"handshake-status": "403", "handshake-msg": "forbidden"}, FailureKind.TRANSIENT, "code 403"),
        ({"handshake-status": "514", "handshake-msg": "ticket"}, FailureKind.TICKET, "code 514"),
        ({"handshake-status": "514", "handshake-autherrcode": "10014"}, FailureKind.REJECTED, "code 10014"),
        (
            {"handshake-status": "514", "handshake-autherrcode": "1000040350"},
            FailureKind.CROWDED,
            "too many connections",
        ),
        ({"handshake-status": "x" * 5000, "handshake-msg": "a\nb" * 500}, FailureKind.TRANSIENT, "a ba"),
    ],
)
def test_a_refused_handshake_says_what_it_was(headers: dict[str, str], kind: FailureKind, told: str) -> None:
    failure = read_handshake(500, headers)
    assert failure.kind is kind
    assert told in failure.reason
    assert len(failure.reason) < 400
    assert "\n" not in failure.reason


def test_a_field_that_is_missing_or_silly_keeps_what_was_there() -> None:
    known = merge(ClientConfig(), CONFIGS[0])
    assert known == ClientConfig(ping_interval_s=120.0, reconnect_interval_s=120.0)
    for config in CONFIGS[1:]:
        if config != CONFIGS[3]:
            assert merge(known, config) == known
    assert merge(known, {"PingInterval": 20}) == ClientConfig(ping_interval_s=20.0, reconnect_interval_s=120.0)
