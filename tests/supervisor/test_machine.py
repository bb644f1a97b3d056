"""Single rules of the machine of one instance."""

from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import pairwise
from typing import Literal

import pytest

from mainstay.settings import SETTING
from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.events import (
    Abort,
    ChildEnded,
    Command,
    Due,
    Event,
    Kill,
    NotSpawned,
    Reset,
    RestartAsked,
    Resumed,
    SaidAlive,
    SaidMore,
    SaidReady,
    SaidStatus,
    SaidStopping,
    Signal,
    Spawn,
    Spawned,
    Trouble,
    Unwanted,
    UsesMemory,
    Wanted,
    Well,
)
from mainstay.supervisor.machine import ABORT_GRACE_S, KILL_AGAIN_S, step
from mainstay.supervisor.model import Child, Ended, Instance, Reason, State

APP = AppSettings(command=("it",))
BOT = replace(
    APP,
    max_restarts=5,
    min_uptime=10.0,
    restart_delay=5.0,
    stop_timeout=5.0,
    ready="notify",
    ready_timeout=10.0,
    watchdog=4.0,
    memory_limit=100 << 20,
)
FAILED = Ended(code=1)


class Daemon:
    """One that obeys at once."""

    def __init__(self, app: AppSettings = APP, chance: float = 0.0) -> None:
        self.app, self.chance = app, chance
        self.now_s = 1000.0
        self.born = 0
        self.instance = Instance()
        self.commands: tuple[Command, ...] = ()

    @property
    def state(self) -> State:
        return self.instance.state

    @property
    def child(self) -> Child:
        assert self.instance.child is not None
        return self.instance.child

    def tell(self, event: Event) -> tuple[Command, ...]:
        self.instance, self.commands = step(self.instance, event, self.app, self.now_s, lambda: self.chance)
        return self.commands

    def spawned(self) -> None:
        self.born += 1
        self.tell(Spawned(child=Child(pid=self.born, mark="m")))

    def start(self) -> None:
        self.tell(Wanted())
        self.spawned()
        if self.app.ready == "notify":
            self.tell(SaidReady())

    def ended(self, ended: Ended = FAILED) -> tuple[Command, ...]:
        return self.tell(ChildEnded(child=self.child, ended=ended))

    def due(self) -> tuple[Command, ...]:
        self.now_s = max(self.now_s, self.instance.due_s)
        return self.tell(Due())

    def crashes(self, uptime_s: float) -> float:
        """Once; returns the delay, after which it runs again."""
        self.now_s += uptime_s
        self.ended()
        if self.state is not State.BACKOFF:
            return -1.0
        delay_s = self.instance.due_s - self.now_s
        assert self.due() == (Spawn(),)
        self.spawned()
        return delay_s

    def crash_loop(self, uptime_s: float) -> list[float]:
        """Until it is given up; returns the delays."""
        return list(iter(lambda: self.crashes(uptime_s), -1.0))


@pytest.fixture
def daemon() -> Daemon:
    daemon = Daemon()
    daemon.start()
    return daemon


@pytest.fixture
def bot() -> Daemon:
    bot = Daemon(BOT)
    bot.start()
    return bot


def ways_up(daemon: Daemon) -> Iterator[None]:
    """Through the states in which a process runs, and is not told to end."""
    daemon.tell(Wanted())
    daemon.spawned()
    yield
    daemon.tell(SaidReady())
    yield
    daemon.tell(Trouble(detail="500"))
    yield


# How a loop of crashes ends.


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_a_bot_that_exits_at_once_is_started_again_five_times_with_growing_delays_and_given_up(
    chance: float,
) -> None:
    bot = Daemon(BOT, chance)
    bot.start()
    delays = bot.crash_loop(0.2)
    assert len(delays) == 5
    assert delays[0] == 5.0
    assert all(before <= after for before, after in pairwise(delays))
    assert delays[2] > 2 * delays[0]
    assert bot.state is State.ERRORED
    assert bot.instance.detail == (
        "given up after 5 restarts in a row with less than 10s of uptime; the last time: exit code 1"
    )


def test_a_loop_after_min_uptime_ends_by_the_intensity(bot: Daemon) -> None:
    delays = bot.crash_loop(11.0)
    assert len(delays) == 20
    assert bot.state is State.ERRORED
    assert bot.instance.detail == "given up after 20 restarts within 1h; the last time: exit code 1"


def test_a_loop_that_begins_after_healthy_seconds_ends(daemon: Daemon) -> None:
    assert daemon.crashes(18.0) == 0.0
    assert len(daemon.crash_loop(0.05)) == 16
    assert daemon.state is State.ERRORED


def test_one_that_is_healthy_for_a_while_each_time_is_given_up_too(daemon: Daemon) -> None:
    assert len(daemon.crash_loop(18.0)) == 20


def test_one_that_crashes_seldom_is_never_given_up(daemon: Daemon) -> None:
    for _ in range(200):
        assert daemon.crashes(181.0) == 0.0
    assert len(daemon.instance.restarts) <= 20
    assert daemon.instance.restarted == 200


def test_uptime_ends_a_row(bot: Daemon) -> None:
    for _ in range(3):
        for _ in range(5):
            assert bot.crashes(9.0) > 0
        assert bot.crashes(10.0) > 0


def test_no_more_restarts_may_be_allowed_than_can_be_remembered() -> None:
    parse = next(each.metadata[SETTING].parse for each in fields(AppSettings) if each.name == "restart_intensity")
    assert parse(1000) == 1000
    with pytest.raises(ValueError, match="1000 at most"):
        parse(1001)


def test_no_restart_at_all_may_be_allowed() -> None:
    daemon = Daemon(replace(APP, max_restarts=0))
    daemon.start()
    assert daemon.crash_loop(0.5) == []


def test_what_can_not_be_started_is_given_up_too(bot: Daemon) -> None:
    bot.ended()
    for _ in range(4):
        bot.due()
        bot.tell(NotSpawned(detail="no such file: it"))
        assert bot.state is State.BACKOFF
        assert bot.instance.restarts[-1].reason is Reason.START
    bot.due()
    bot.tell(NotSpawned(detail="no such file: it"))
    assert bot.state is State.ERRORED
    assert bot.instance.detail.endswith("the last time: could not be started: no such file: it")


def test_what_is_not_to_be_started_again_and_can_not_be_started_is_errored() -> None:
    daemon = Daemon(replace(APP, autorestart=False))
    daemon.tell(Wanted())
    daemon.tell(NotSpawned(detail="no such file: it"))
    assert (daemon.state, daemon.instance.detail) == (State.ERRORED, "could not be started: no such file: it")


def test_a_timer_leaves_an_errored_one_alone(bot: Daemon) -> None:
    bot.crash_loop(0.2)
    before = bot.instance
    bot.now_s += 1e9
    assert bot.tell(Due()) == ()
    assert bot.instance == before


def test_an_errored_one_is_stopped_after_a_reset_and_starts_with_a_new_count(bot: Daemon) -> None:
    bot.crash_loop(0.2)
    bot.tell(Reset())
    assert bot.state is State.STOPPED
    bot.start()
    assert bot.state is State.READY
    assert len(bot.crash_loop(0.2)) == 5


@pytest.mark.parametrize("event", [Wanted(), RestartAsked(reason=Reason.USER, detail="mainstay restart")])
def test_a_user_may_start_an_errored_one_with_a_new_count(bot: Daemon, event: Event) -> None:
    bot.crash_loop(0.2)
    assert bot.tell(event) == (Spawn(),)
    bot.spawned()
    assert len(bot.crash_loop(0.2)) == 5


@pytest.mark.parametrize("reason", [Reason.CRON, Reason.HEALTH, Reason.MEMORY])
def test_nobody_else_may_start_an_errored_one(bot: Daemon, reason: Reason) -> None:
    bot.crash_loop(0.2)
    assert bot.tell(RestartAsked(reason=reason, detail="it is time")) == ()
    assert bot.state is State.ERRORED


# Delays.


def test_delays_begin_with_none_then_double_up_to_the_cap(daemon: Daemon) -> None:
    delays = [0.0, *(0.1 * 2**each for each in range(9)), 30.0, 30.0]
    assert daemon.crash_loop(2.0)[:12] == pytest.approx(delays)


def test_jitter_shortens_a_delay_by_a_quarter_at_most() -> None:
    daemon = Daemon(chance=1.0)
    daemon.start()
    assert daemon.crash_loop(2.0)[:4] == pytest.approx([0.0, 0.075, 0.15, 0.3])


def test_a_delay_longer_than_the_cap_stays() -> None:
    daemon = Daemon(replace(APP, restart_delay=60.0), chance=1.0)
    daemon.start()
    assert set(daemon.crash_loop(2.0)) == {60.0}


def test_delays_begin_anew_after_stable_uptime(bot: Daemon) -> None:
    assert [bot.crashes(uptime_s) for uptime_s in (20.0, 20.0, 59.0, 60.0, 20.0)] == [5.0, 10.0, 20.0, 5.0, 10.0]


def test_trouble_of_somebody_else_makes_the_next_delay_longer_and_only_that(bot: Daemon) -> None:
    assert bot.tell(Trouble(detail="503", upstream=True)) == ()
    assert bot.state is State.UNHEALTHY
    assert bot.crashes(20.0) == 20.0
    bot.tell(SaidReady())
    assert bot.crashes(20.0) == 10.0


def test_it_is_the_longer_delay_too_after_a_restart_that_was_decided(bot: Daemon) -> None:
    bot.tell(Trouble(detail="503", upstream=True))
    bot.tell(RestartAsked(reason=Reason.HEALTH, detail="GET /livez: no answer"))
    bot.now_s += 3.0
    bot.ended(Ended(code=0))
    assert bot.instance.due_s == bot.now_s + 20.0


def test_trouble_that_is_over_does_not_make_the_delay_longer(bot: Daemon) -> None:
    bot.tell(Trouble(detail="503", upstream=True))
    bot.tell(Well())
    assert (bot.state, bot.instance.detail) == (State.READY, "")
    assert bot.crashes(20.0) == 5.0


def test_no_delay_is_too_large_to_compute() -> None:
    daemon = Daemon(replace(APP, restart_intensity=1000, max_restarts=1000, restart_period=1e9, backoff_cap=1e9))
    daemon.start()
    assert daemon.crashes(2.0) == 0.0
    daemon.instance = replace(daemon.instance, delays=100_000)
    assert daemon.crashes(2.0) == 1e9


# How it ended.


@pytest.mark.parametrize(
    ("ended", "reason", "detail"),
    [
        (Ended(code=0), Reason.EXIT, "exit code 0"),
        (Ended(code=1), Reason.EXIT, "exit code 1"),
        (Ended(signal=9), Reason.SIGNAL, "killed by SIGKILL"),
        (Ended(signal=60), Reason.SIGNAL, "killed by signal 60"),
        (Ended(), Reason.UNKNOWN, "it has ended while nobody was looking"),
    ],
)
def test_a_restart_says_why(daemon: Daemon, ended: Ended, reason: Reason, detail: str) -> None:
    daemon.now_s += 7.0
    daemon.ended(ended)
    restart = daemon.instance.restarts[-1]
    assert (restart.reason, restart.detail, restart.uptime_s) == (reason, detail, 7.0)
    assert (daemon.state, daemon.instance.detail, daemon.instance.ended) == (State.BACKOFF, detail, ended)


def test_a_restart_that_was_made_but_not_written_down_is_known_by_the_process_that_is_there() -> None:
    waits = Instance(state=State.BACKOFF, due_s=1.0, restarted=2)
    found, commands = step(waits, Spawned(child=Child(pid=7, mark="m")), APP, 0.5, lambda: 0.0)
    assert (found.state, found.child, found.restarted, commands) == (State.READY, Child(pid=7, mark="m"), 3, ())


@pytest.mark.parametrize(("codes", "code", "state"), [((0, 3), 3, State.EXITED), ((0, 3), 1, State.BACKOFF)])
def test_some_exit_codes_are_how_it_was_meant(codes: tuple[int, ...], code: int, state: State) -> None:
    daemon = Daemon(replace(APP, stop_exit_codes=codes))
    daemon.start()
    daemon.ended(Ended(code=code))
    assert (daemon.state, daemon.instance.detail) == (state, f"exit code {code}")


@pytest.mark.parametrize("ended", [Ended(code=0), Ended(code=1), Ended(signal=11), Ended()])
def test_without_autorestart_it_has_exited_however_it_ended(ended: Ended) -> None:
    daemon = Daemon(replace(APP, autorestart=False))
    daemon.start()
    daemon.ended(ended)
    assert (daemon.state, daemon.instance.detail) == (State.EXITED, str(ended))


def test_what_has_exited_is_started_again_by_the_clock() -> None:
    daemon = Daemon(replace(APP, autorestart=False))
    daemon.start()
    daemon.ended(Ended(code=0))
    assert daemon.tell(RestartAsked(reason=Reason.CRON, detail="0 * * * *")) == (Spawn(),)
    assert daemon.instance.restarts[-1].reason is Reason.CRON


def test_the_clock_does_not_start_what_was_stopped_after_it_had_exited() -> None:
    daemon = Daemon(replace(APP, autorestart=False))
    daemon.start()
    daemon.ended(Ended(code=0))
    daemon.tell(Unwanted())
    assert daemon.tell(RestartAsked(reason=Reason.CRON, detail="0 * * * *")) == ()
    assert daemon.state is State.STOPPED


def test_what_it_left_behind_is_killed_before_the_next_one_starts(daemon: Daemon) -> None:
    child = daemon.child
    daemon.tell(RestartAsked(reason=Reason.USER, detail="mainstay restart"))
    assert daemon.ended() == (Kill(child=child), Spawn())


def test_the_end_of_an_earlier_process_is_not_that_of_this_one(daemon: Daemon) -> None:
    earlier = daemon.child
    daemon.crashes(5.0)
    before = daemon.instance
    assert daemon.tell(ChildEnded(child=earlier, ended=FAILED)) == ()
    assert daemon.tell(ChildEnded(child=replace(daemon.child, mark="used again"), ended=FAILED)) == ()
    assert daemon.instance == before


# Stopping.


def test_it_is_asked_to_end_and_killed_after_stop_timeout() -> None:
    daemon = Daemon(replace(APP, stop_signal="SIGINT"))
    daemon.start()
    child = daemon.child
    assert daemon.tell(Unwanted()) == (Signal(child=child, name="SIGINT"),)
    assert daemon.instance.due_s == daemon.now_s + 10.0
    assert daemon.due() == (Kill(child=child),)
    assert daemon.instance.killed
    assert daemon.instance.due_s == daemon.now_s + KILL_AGAIN_S
    assert daemon.due() == (Kill(child=child),)
    daemon.ended(Ended(signal=9))
    assert daemon.state is State.STOPPED
    assert daemon.instance.due_s == float("inf")


def test_a_second_stop_changes_nothing(daemon: Daemon) -> None:
    daemon.tell(Unwanted())
    before = daemon.instance
    daemon.now_s += 3.0
    assert daemon.tell(Unwanted()) == ()
    assert daemon.instance == before


def test_stopped_while_it_starts_it_is_told_to_end_as_soon_as_it_is_there(daemon: Daemon) -> None:
    daemon.tell(RestartAsked(reason=Reason.USER, detail=""))
    daemon.ended()
    assert daemon.tell(Unwanted()) == ()
    daemon.spawned()
    assert daemon.commands == (Signal(child=daemon.child, name="SIGTERM"),)
    daemon.ended()
    assert daemon.state is State.STOPPED


def test_stopped_while_it_can_not_be_started_it_is_stopped(daemon: Daemon) -> None:
    daemon.crashes(5.0)
    daemon.ended()
    daemon.due()
    daemon.tell(Unwanted())
    daemon.tell(NotSpawned(detail="no such file"))
    assert daemon.state is State.STOPPED


def test_started_while_it_stops_it_starts_again_after(daemon: Daemon) -> None:
    child = daemon.child
    daemon.tell(Unwanted())
    assert daemon.tell(Wanted()) == ()
    assert daemon.ended(Ended(code=0)) == (Kill(child=child), Spawn())
    assert daemon.instance.restarts[-1].reason is Reason.USER


def test_stopped_while_it_restarts_it_stays_stopped(daemon: Daemon) -> None:
    daemon.tell(RestartAsked(reason=Reason.HEALTH, detail="liveness"))
    daemon.tell(Unwanted())
    daemon.ended()
    assert daemon.state is State.STOPPED
    assert daemon.instance.restarts == ()


def test_stopped_during_a_delay_it_is_not_started(daemon: Daemon) -> None:
    daemon.crashes(5.0)
    daemon.ended()
    daemon.tell(Unwanted())
    daemon.now_s += 1e6
    assert daemon.tell(Due()) == ()
    assert daemon.state is State.STOPPED


def test_how_it_ends_after_it_was_told_to_is_no_failure(daemon: Daemon) -> None:
    for _ in range(100):
        daemon.tell(RestartAsked(reason=Reason.USER, detail="mainstay restart"))
        daemon.ended(Ended(signal=15))
        daemon.spawned()
    assert (daemon.state, daemon.instance.restarted) == (State.READY, 100)
    assert (daemon.instance.unstable, daemon.instance.delays) == (0, 0)
    assert len(daemon.instance.restarts) == 20


def test_restarts_that_are_asked_for_do_not_push_out_the_failures(daemon: Daemon) -> None:
    for _ in range(10):
        daemon.crashes(5.0)
    for _ in range(50):
        daemon.tell(RestartAsked(reason=Reason.CRON, detail="* * * * *"))
        daemon.ended(Ended(code=0))
        daemon.spawned()
    assert len(daemon.crash_loop(5.0)) == 10


# Restarting.


def test_a_restart_in_any_running_state_ends_the_process_and_starts_one() -> None:
    for states in range(1, 4):
        bot = Daemon(BOT)
        for _ in zip(range(states), ways_up(bot), strict=False):
            pass
        child = bot.child
        told = bot.tell(RestartAsked(reason=Reason.USER, detail="mainstay restart"))
        assert told == (Signal(child=child, name="SIGTERM"),)
        assert bot.ended(Ended(code=0)) == (Kill(child=child), Spawn())


@pytest.mark.parametrize("asked", [Wanted(), RestartAsked(reason=Reason.USER, detail="mainstay restart")])
def test_a_user_does_not_wait_for_the_delay(bot: Daemon, asked: Wanted | RestartAsked) -> None:
    bot.ended()
    assert bot.state is State.BACKOFF
    unstable = bot.instance.unstable
    assert bot.tell(asked) == (Spawn(),)
    assert bot.instance.unstable == unstable, "asking again and again would hide a loop of crashes"


@pytest.mark.parametrize("reason", [Reason.CRON, Reason.HEALTH, Reason.MEMORY])
def test_others_do_wait_for_the_delay(bot: Daemon, reason: Reason) -> None:
    bot.ended()
    before = bot.instance
    assert bot.tell(RestartAsked(reason=reason, detail="")) == ()
    assert bot.instance == before


def test_a_restart_for_health_is_delayed_and_counts(bot: Daemon) -> None:
    bot.now_s += 20.0
    bot.tell(RestartAsked(reason=Reason.HEALTH, detail="GET /livez: 500 three times"))
    bot.ended(Ended(code=0))
    assert (bot.state, bot.instance.due_s) == (State.BACKOFF, bot.now_s + 5.0)
    assert bot.instance.restarts[-1].reason is Reason.HEALTH
    assert bot.instance.restarts[-1].detail == "GET /livez: 500 three times"


def test_a_restart_does_not_look_at_the_exit_code() -> None:
    daemon = Daemon(replace(APP, autorestart=False, stop_exit_codes=(0,), memory_limit=100))
    daemon.start()
    daemon.tell(UsesMemory(size_bytes=101))
    daemon.tell(UsesMemory(size_bytes=101))
    daemon.ended(Ended(code=0))
    assert daemon.state is State.BACKOFF


# Readiness, and what it says.


def test_as_soon_as_it_runs_it_is_ready_unless_it_is_to_say_so(daemon: Daemon) -> None:
    assert daemon.state is State.READY
    bot = Daemon(BOT)
    bot.tell(Wanted())
    bot.spawned()
    assert bot.state is State.STARTING
    bot.tell(SaidReady())
    assert bot.state is State.READY


def test_what_is_not_ready_in_time_is_restarted() -> None:
    bot = Daemon(BOT)
    bot.tell(Wanted())
    bot.spawned()
    assert bot.instance.due_s == bot.now_s + 10.0
    assert bot.due() == (Signal(child=bot.child, name="SIGTERM"),)
    assert bot.due() == (Kill(child=bot.child),)
    bot.ended(Ended(signal=9))
    restart = bot.instance.restarts[-1]
    assert (restart.reason, restart.detail) == (Reason.START, "not ready within 10s")


def test_more_time_is_given_to_become_ready_and_to_end() -> None:
    bot = Daemon(BOT)
    bot.tell(Wanted())
    bot.spawned()
    bot.now_s += 8.0
    bot.tell(SaidMore(seconds=30.0))
    assert bot.instance.due_s == bot.now_s + 30.0
    bot.tell(SaidReady())
    assert bot.instance.due_s == bot.now_s + 4.0
    bot.tell(SaidMore(seconds=60.0))
    assert bot.instance.due_s == bot.now_s + 60.0
    bot.tell(SaidAlive())
    assert bot.instance.due_s == bot.now_s + 4.0
    bot.tell(Unwanted())
    bot.tell(SaidMore(seconds=0.5))
    assert bot.instance.due_s == bot.now_s + 5.0
    bot.tell(SaidMore(seconds=7.0))
    assert bot.instance.due_s == bot.now_s + 7.0


def test_whoever_says_that_it_stops_is_watched_and_started_again(bot: Daemon) -> None:
    bot.now_s += 20.0
    assert bot.tell(SaidStopping()) == ()
    assert (bot.state, bot.instance.due_s) == (State.STOPPING, bot.now_s + 5.0)
    assert bot.due() == (Kill(child=bot.child),)
    bot.ended(Ended(signal=9))
    assert bot.state is State.BACKOFF
    assert bot.instance.restarts[-1].reason is Reason.SIGNAL


def test_what_it_says_of_itself_is_shown_as_long_as_it_runs(bot: Daemon) -> None:
    bot.tell(SaidStatus(text="3 turns, " + "x" * 1000))
    assert bot.instance.status.startswith("3 turns")
    assert len(bot.instance.status) == 200
    bot.ended()
    assert bot.instance.status == ""


def test_trouble_is_shown_and_restarts_nothing(bot: Daemon) -> None:
    began_s = bot.now_s
    bot.now_s += 1.0
    for detail in ("GET /readyz: 503", "GET /readyz: no answer"):
        assert bot.tell(Trouble(detail=detail)) == ()
        assert (bot.state, bot.instance.detail) == (State.UNHEALTHY, detail)
    assert bot.instance.since_s == began_s + 1.0
    assert bot.instance.due_s == began_s + 4.0


# Hangs.


def test_a_hung_one_is_aborted_and_then_killed(bot: Daemon) -> None:
    child = bot.child
    bot.now_s += 3.0
    bot.tell(SaidAlive())
    heard_s = bot.now_s
    assert bot.due() == (Abort(child=child),)
    assert bot.now_s == heard_s + 4.0
    assert (bot.state, bot.instance.detail) == (State.STOPPING, "hung: nothing heard for 4s")
    bot.tell(SaidMore(seconds=1000.0))
    assert bot.due() == (Kill(child=child),)
    assert bot.now_s == heard_s + 4.0 + ABORT_GRACE_S
    bot.ended(Ended(signal=9))
    assert bot.instance.restarts[-1].reason is Reason.HANG


def test_nobody_is_hung_who_was_not_listened_to(bot: Daemon) -> None:
    bot.now_s += 100.0
    bot.tell(Resumed())
    assert bot.tell(Due()) == ()
    assert bot.instance.due_s == bot.now_s + 4.0


def test_ready_may_have_been_said_while_nobody_listened() -> None:
    bot = Daemon(BOT)
    bot.tell(Wanted())
    bot.spawned()
    bot.now_s += 100.0
    bot.tell(Resumed())
    assert bot.tell(Due()) == ()
    assert (bot.state, bot.instance.due_s) == (State.READY, bot.now_s + 10.0)


def test_who_is_asked_by_probes_is_asked_again_and_has_all_its_time_anew() -> None:
    web = Daemon(replace(APP, ready="probe", ready_timeout=10.0))
    web.start()
    web.now_s += 100.0
    web.tell(Resumed())
    assert web.tell(Due()) == ()
    assert (web.state, web.instance.due_s) == (State.STARTING, web.now_s + 10.0)
    web.tell(SaidReady(by="probe"))
    assert web.state is State.READY


@pytest.mark.parametrize("ready", ["notify", "message", "probe"])
def test_it_is_ready_by_what_was_said_to_make_it_so_and_by_nothing_else(
    ready: Literal["notify", "message", "probe"],
) -> None:
    web = Daemon(replace(APP, ready=ready, ready_timeout=10.0))
    web.tell(Wanted())
    web.spawned()
    ways: tuple[Literal["notify", "message", "probe"], ...] = ("notify", "message", "probe")
    for way in ways:
        web.tell(SaidReady(by=way))
        assert (web.state is State.READY) == (ways.index(way) >= ways.index(ready))


def test_without_a_watchdog_silence_means_nothing(daemon: Daemon) -> None:
    assert daemon.instance.due_s == float("inf")
    daemon.tell(Resumed())
    daemon.tell(SaidAlive())
    assert daemon.instance.due_s == float("inf")


# Memory.


def test_two_samples_in_a_row_over_the_limit_restart_and_one_does_not(bot: Daemon) -> None:
    bot.now_s += 20.0
    for size in (101, 100, 101):
        assert bot.tell(UsesMemory(size_bytes=size << 20)) == ()
    assert bot.tell(UsesMemory(size_bytes=101 << 20)) == (Signal(child=bot.child, name="SIGTERM"),)
    assert bot.instance.due_s == bot.now_s + 5.0
    assert bot.tell(UsesMemory(size_bytes=101 << 20)) == ()
    bot.ended(Ended(code=0))
    restart = bot.instance.restarts[-1]
    assert (restart.reason, restart.detail) == (Reason.MEMORY, "uses 101.0 MiB of memory, more than 100.0 MiB")


# Two at once.


def test_a_process_that_nobody_asked_for_is_killed(daemon: Daemon) -> None:
    stranger = Child(pid=77, mark="s")
    before = daemon.instance
    assert daemon.tell(Spawned(child=stranger)) == (Kill(child=stranger),)
    assert daemon.tell(Spawned(child=daemon.child)) == ()
    assert daemon.instance == before
    daemon.tell(Unwanted())
    daemon.ended()
    assert daemon.tell(Spawned(child=stranger)) == (Kill(child=stranger),)
    assert daemon.state is State.STOPPED


def test_starting_twice_starts_once() -> None:
    daemon = Daemon()
    assert daemon.tell(Wanted()) == (Spawn(),)
    assert daemon.tell(Wanted()) == ()
    daemon.spawned()
    assert daemon.tell(Wanted()) == ()


@pytest.mark.parametrize(
    "event",
    [SaidReady(), SaidAlive(), SaidMore(seconds=1.0), SaidStopping(), SaidStatus(text="x"), Resumed(), Well(),
     Trouble(detail="x"), UsesMemory(size_bytes=10**12), Unwanted(), Due(), NotSpawned(detail="late")],
)  # fmt: skip
def test_what_does_not_fit_a_stopped_one_changes_nothing(event: Event) -> None:
    daemon = Daemon(BOT)
    assert daemon.tell(event) == ()
    assert daemon.instance == Instance()
