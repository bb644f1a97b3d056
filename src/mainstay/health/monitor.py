"""How well is the service, from what is recorded about its calls?

Recording must cost nothing: `HealthMonitor.track_agent_call` puts the latency on a list that belongs to the agent
and the outcome, and that is all. The lists are counted (*settled*) when somebody asks, when one is full, and when
the slot of time ends that they belong to, so that a report is exact after each call and no event needs a
timestamp of its own. Appending to a list is atomic: writers share no lock and never wait for one another.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from mainstay.asgi import ASGIApp, Scope
from mainstay.checks import Check, Condition
from mainstay.clock import Clock, SystemClock, iso
from mainstay.health.call import Call
from mainstay.health.latency import Latencies
from mainstay.health.machine import Judge, Tally, kind_of, with_conditions
from mainstay.health.model import AgentReport, HealthReport, HealthSettings, LastError
from mainstay.health.names import MANAGER, OVERFLOW, agent_name, category_name, plain_text
from mainstay.health.process import process_report
from mainstay.health.report import condition_of, dependency_report, error_report, timestamp, window_report
from mainstay.logs.redact import redact

__all__ = ["HealthMonitor", "health_monitor"]

_FULL = 256
_FULL_ERRORS = 16
_MESSAGE_CHARS = 200
_READ_CHARS = 4096  # of a message, before redaction: a secret is recognised whole or not shown
_NO_CALLS = (None, None, None)
_STEP_S = 0.05  # how far the wall clock may stray from the monotonic one before it was set


class _Agent:
    """The lists of one agent's latencies that are not counted yet, and what is."""

    __slots__ = (
        "answered",
        "calls",
        "errors",
        "failed",
        "inner_answered",
        "inner_failed",
        "last",
        "latencies",
        "timed",
        "total_ms",
        "waiting",
    )

    def __init__(self, slots: int) -> None:
        self.answered: list[float] = []
        self.failed: list[float] = []
        self.inner_answered: list[float] = []
        self.inner_failed: list[float] = []
        self.waiting = (  # each with: is it of calls that a user waited for, and have they failed?
            (self.answered, True, False),
            (self.failed, True, True),
            (self.inner_answered, False, False),
            (self.inner_failed, False, True),
        )
        self.last: float | None = None
        self.calls = 0
        self.errors = 0
        self.timed = 0
        self.total_ms = 0.0
        self.latencies = Latencies(slots)


class HealthMonitor:
    """Counts calls and errors, and says how the service is. Any thread, any coroutine, any signal handler.

    Nothing that is passed to ``track_...`` makes it raise. The numbers are totals since the monitor was made; the
    status looks at recent calls only (`mainstay.health.machine`).

    Args:
        settings: see `HealthSettings`.
        clock: a `mainstay.clock.Clock`; setting the wall clock changes no decision.
        checks: what the service depends on; for ``dependencies`` and the readiness probe.
    """

    def __init__(
        self,
        settings: HealthSettings | None = None,
        *,
        clock: Clock | None = None,
        checks: Iterable[Check] = (),
    ) -> None:
        settings = settings or HealthSettings()
        self._clock = clock or SystemClock()
        self._now = self._clock.monotonic
        self._judge = Judge(settings)
        self._tally = Tally(self._judge.keep)
        self._checks = list(checks)
        self._max_agents = settings.max_agents
        self._agents: dict[str, _Agent] = {}
        self._by_spelling: dict[object, _Agent] = {}
        self._waiting_errors: list[tuple[str, str, float]] = []
        self._errors: Counter[str] = Counter()
        self._last_error: tuple[str, str, float] | None = None
        self._redacted: tuple[str, str] = ("", "")
        self._started = self._now()
        self._wall_offset = self._clock.now().timestamp() - self._started
        self._slot = self._judge.slot(self._started)
        self._slot_end = (self._slot + 1) * self._judge.slot_s
        # reentrant, for a signal handler that interrupts its own thread here
        self._lock = threading.RLock()
        self._busy = False
        self._agent_called(MANAGER)

    def track_agent_call(self, agent: str, latency_ms: float, success: bool, *, root: bool = True) -> None:  # noqa: FBT001
        """Count one call.

        Args:
            agent: its name, in any spelling: ``"OkrReviewer"`` and ``"okr-reviewer"`` are ``okr_reviewer``.
            latency_ms: how long it took; what is no latency (NaN, negative, not a number) enters no average.
            success: whether the caller got an answer. Do not count cancelled calls at all.
            root: whether a user waited for it. A call made inside of another one is shown, but moves no status.
        """
        try:
            entry = self._by_spelling[agent]
            if root:
                waiting = entry.answered if success else entry.failed
            else:
                waiting = entry.inner_answered if success else entry.inner_failed
            now = self._now()
            if now >= self._slot_end or len(waiting) >= _FULL:
                self._relieve(entry, now)
            entry.last = now
            waiting.append(latency_ms)
        except Exception:  # noqa: BLE001  a name not seen before, or arguments with a will of their own
            self._track_odd_call(agent, latency_ms, success, root)

    def track_error(self, category: str, message: object = "") -> None:
        """Count one failed attempt.

        Args:
            category: one of `mainstay.errors.Category`, or RATE_LIMIT, TIMEOUT, AUTH_ERROR, OTHER, in any case;
                anything else counts as other, and ``cancelled`` not at all.
            message: for ``lastError``; usually a text or an exception.
        """
        with suppress(Exception):  # this runs while an error is being handled: it must not become a second one
            name = category_name(category)
            if name == "cancelled":
                return
            text = plain_text(message, _READ_CHARS)
            now = self._now()
            if now >= self._slot_end or len(self._waiting_errors) >= _FULL_ERRORS:
                self._relieve(None, now)
            self._waiting_errors.append((name, text, now))

    def call(self, agent: str, *, root: bool = True) -> Call:
        """Time, classify and count what runs inside: ``with``, ``async with``, or a decorator; see `Call`."""
        return Call(self, agent, root=root, now=self._now)

    def add_check(self, check: Check) -> None:
        """Show one more dependency, and let the readiness probe know it."""
        self._checks.append(check)

    def conditions(self) -> list[Condition]:
        """How the dependencies are now. A check that raises counts as down."""
        return [condition_of(check) for check in list(self._checks)]

    def asgi(self, app: ASGIApp | None = None, *, detailed: Callable[[Scope], bool] | None = None) -> ASGIApp:
        """``/health`` and the probes as an ASGI application: mount it at ``/``, or wrap ``app`` in it.

        Args:
            app: gets all other paths, and all that is not HTTP; without it they are 404.
            detailed: whether this caller gets the whole report; by default direct callers from this machine do.
        """
        from mainstay.health.http import embedded

        return embedded(self, app, detailed=detailed)

    def get_metrics(self) -> HealthReport:
        """All there is to know; exact as of this call, and the caller's own copy.

        Only to a signal handler that interrupts its own thread in here the report is as of the one before, and
        without percentiles.
        """
        wall = self._clock.now()
        conditions = self.conditions()
        with self._alone() as alone:
            now = self._now()
            if alone:
                self._settle(now)
            self._follow_wall_clock(wall.timestamp() - now)
            verdict = with_conditions(self._judge.status(self._tally, self._slot), conditions)
            agents = {
                name: self._agent_report(entry, percentiles=alone) for name, entry in list(self._agents.items())
            }
            by_category = dict(self._errors)
            last_error = self._last_error
        report: HealthReport = {
            "uptime": round(now - self._started, 3),
            "timestamp": iso(wall),
            "status": verdict.status,
            "reasons": list(verdict.reasons),
            "errors": error_report(by_category),
            "window": window_report(verdict),
            "agents": agents,
            "dependencies": {c.name: dependency_report(c) for c in conditions},
            "process": process_report(self._stamp(self._started)),
        }
        if last_error:
            name, text, at = last_error
            report["lastError"] = LastError(type=name, timestamp=self._stamp(at), message=self._shown(text))
        return report

    def _track_odd_call(self, agent: object, latency_ms: float, success: object, root: object) -> None:
        with suppress(Exception):  # out of memory or stack: losing one count beats failing the caller
            entry = self._agent_called(agent)
            match _truth(root, otherwise=True), _truth(success, otherwise=False):
                case True, True:
                    waiting = entry.answered
                case True, False:
                    waiting = entry.failed
                case False, True:
                    waiting = entry.inner_answered
                case _:
                    waiting = entry.inner_failed
            now = self._now()
            self._relieve(entry, now)
            entry.last = now
            waiting.append(latency_ms)

    def _agent_called(self, spelling: object) -> _Agent:
        name = agent_name(spelling)
        with self._lock:
            if name not in self._agents and len(self._agents) >= self._max_agents:
                name = OVERFLOW
            entry = self._agents.get(name)
            if entry is None:
                entry = self._agents[name] = _Agent(self._judge.window_slots)
            if type(spelling) is str and len(self._by_spelling) < 2 * self._max_agents:
                self._by_spelling[spelling] = entry
            return entry

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Hold the lock; False for a signal handler that has interrupted its own thread while that held it."""
        with self._lock:
            if self._busy:
                yield False
                return
            self._busy = True
            try:
                yield True
            finally:
                self._busy = False

    def _relieve(self, entry: _Agent | None, now: float) -> None:
        with self._alone() as alone:
            if not alone:
                return
            if now >= self._slot_end:
                self._settle(now)
            elif entry:
                self._settle_agent(entry)
            else:
                self._settle_errors()

    def _settle(self, now: float) -> None:
        for entry in list(self._agents.values()):
            self._settle_agent(entry)
        self._settle_errors()
        slot = self._judge.slot(now)
        if slot > self._slot:
            self._slot = slot
            self._slot_end = (slot + 1) * self._judge.slot_s

    def _settle_errors(self) -> None:
        count = len(self._waiting_errors)
        taken = self._waiting_errors[:count]
        del self._waiting_errors[:count]
        for name, text, at in taken:
            self._errors[name] += 1
            self._last_error = (name, text, at)
            if kind_of(name) == "rateLimits":
                self._tally.add(self._slot, rate_limits=1)

    def _settle_agent(self, entry: _Agent) -> None:
        latencies: list[float] = []
        calls = errors = 0
        for waiting, root, failed in entry.waiting:
            if waiting:
                count = len(waiting)
                latencies += waiting[:count]
                del waiting[:count]
                entry.calls += count
                if failed:
                    entry.errors += count
                if root:
                    calls += count
                    errors += count if failed else 0
        if latencies:
            timed, total_ms = entry.latencies.add(self._slot, latencies)
            entry.timed += timed
            entry.total_ms += total_ms
        if calls:
            self._tally.add(self._slot, calls=calls, errors=errors)

    def _agent_report(self, entry: _Agent, *, percentiles: bool) -> AgentReport:
        p50, p95, p99 = (entry.latencies.percentiles(self._slot) if percentiles else ()) or _NO_CALLS
        return {
            "callCount": entry.calls,
            "successCount": entry.calls - entry.errors,
            "errorCount": entry.errors,
            "avgLatency": round(entry.total_ms / entry.timed) if entry.timed else 0,
            "lastCall": None if entry.last is None else self._stamp(entry.last),
            "p50": p50,
            "p95": p95,
            "p99": p99,
        }

    def _follow_wall_clock(self, offset: float) -> None:
        # kept while it only jitters, so that the same moment is always written the same
        if abs(offset - self._wall_offset) > _STEP_S:
            self._wall_offset = offset

    def _stamp(self, at: float) -> str:
        return timestamp(self._wall_offset + at)

    def _shown(self, text: str) -> str:
        if self._redacted[0] != text:
            self._redacted = (text, redact(text)[:_MESSAGE_CHARS])
        return self._redacted[1]


def _truth(value: object, *, otherwise: bool) -> bool:
    try:
        return bool(value)
    except Exception:  # noqa: BLE001  the object's own code
        return otherwise


health_monitor = HealthMonitor()
"""The process's own: for code that has no other one at hand."""
