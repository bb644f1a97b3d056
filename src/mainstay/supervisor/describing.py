"""What is said about an instance to who asks?

Keys are added, and never renamed: programs read them, see docs/how-to/keep-programs-running.md.
"""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

from mainstay.clock import Clock, iso
from mainstay.supervisor.daemon import Supervisor, boottime
from mainstay.supervisor.model import Restart, is_wanted
from mainstay.supervisor.naming import app_of
from mainstay.supervisor.output.model import Source
from mainstay.supervisor.probes.machine import Tally
from mainstay.supervisor.probes.model import Kind

__all__ = ["GONE", "Descriptions"]

GONE: Final = "not in the configuration any more"


class Descriptions:
    """Those of all instances of one daemon.

    Args:
        supervisor: knows them.
        clock: gives the times that people read.
    """

    def __init__(self, supervisor: Supervisor, clock: Clock) -> None:
        self._supervisor = supervisor
        self._clock = clock

    def of(self, names: Iterable[str], *, stacks: bool = False) -> list[dict[str, Any]]:
        """As JSON has it; the stacks of those that hung, which may be long, only where they were asked for."""
        known = self._supervisor.instances  # another caller may have deleted some of them meanwhile
        return [self._describe(name, stacks=stacks) for name in names if name in known]

    def _describe(self, name: str, *, stacks: bool) -> dict[str, Any]:
        instance, settings, now_s = self._supervisor.instances[name], self._supervisor.settings(name), boottime()
        taken = self._supervisor.children.usage(name)
        return {
            "name": name,
            "state": instance.state,
            "pid": instance.child.pid if instance.child else None,
            "uptime_s": round(now_s - instance.started_s, 3) if instance.child else 0.0,
            "restarts": instance.restarted,
            "cpu_percent": round(taken[1], 1) if taken and taken[1] is not None else None,
            "memory_bytes": taken[0].memory_bytes if taken else None,
            "processes": taken[0].processes if taken else None,
            "detail": instance.detail or (GONE if app_of(name) in self._supervisor.population.removed else ""),
            "status": instance.status,
            "wanted": is_wanted(instance),
            "since": self._moment(instance.since_s, now_s) if instance.since_s else None,
            "ended": str(instance.ended) if instance.ended else None,
            "probes": [self._probe(kind, tally, now_s) for kind, tally in self._supervisor.probes(name).items()],
            "command": list(settings.command),
            "logs": [str(source.path) for source in self._supervisor.population.sources(name)],
            "output": [self._output(source) for source in self._supervisor.population.sources(name)],
            "history": [self._record(each, now_s, stacks=stacks) for each in instance.restarts],
        }

    def _record(self, restart: Restart, now_s: float, *, stacks: bool) -> dict[str, Any]:
        left_out = () if stacks and restart.stacks else ("stacks",)
        record = {key: value for key, value in asdict(restart).items() if key not in left_out}
        return {**record, "at": self._moment(restart.at_s, now_s)}

    def _probe(self, kind: Kind, tally: Tally, now_s: float) -> dict[str, Any]:
        return {
            "probe": kind,
            "passes": tally.passes,
            "since": self._moment(tally.since_s, now_s) if tally.passes is not None else None,
            "last": tally.last.detail if tally.last else None,
            "last_passed": tally.last.passed if tally.last else None,
            "last_at": self._moment(tally.last_s, now_s) if tally.last else None,
        }

    def _output(self, source: Source) -> dict[str, object]:
        return {
            "stream": source.stream,
            "path": str(source.path),
            **asdict(self._supervisor.outputs.losses(source)),
        }

    def _moment(self, at_s: float, now_s: float) -> str:
        return iso(self._clock.now() - timedelta(seconds=now_s - at_s))
