"""What may be asked of the daemon, and when is it done?"""

import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

from mainstay.clock import Clock, iso
from mainstay.errors import ConfigError, nearest
from mainstay.supervisor import events
from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.control import Request
from mainstay.supervisor.daemon import Supervisor, boottime
from mainstay.supervisor.events import Event
from mainstay.supervisor.model import Instance, Reason, State

__all__ = ["Verbs"]

_AT_REST: Final = frozenset({State.STOPPED, State.ERRORED, State.EXITED})
_SETTLED: Final = frozenset({State.READY, State.UNHEALTHY, State.ERRORED, State.EXITED, State.BACKOFF})


class Verbs:
    """The requests of one daemon.

    Args:
        supervisor: does it.
        apps: reads the configuration anew; raises ConfigError.
        end: ends the daemon.
        clock: gives the times that people read.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        apps: Callable[[], Mapping[str, AppSettings]],
        end: Callable[[], object],
        clock: Clock,
    ) -> None:
        self._supervisor = supervisor
        self._apps = apps
        self._end = end
        self._clock = clock

    async def handle(self, request: Request) -> object:
        """Do what is asked; returns what becomes the answer.

        Raises:
            MainstayError: for the caller to read.
        """
        names, wait = request.get("names", []), request.get("wait", True)
        match request["do"]:
            case "list":
                return self._described(self._meant(names))
            case "start":
                self._supervisor.replan(self._apps())
                meant = self._meant(names, autostart=not names)
                await self._ask(meant, lambda _: events.Wanted(), _SETTLED, wait=wait)
            case "stop":
                meant = self._meant(names)
                await self._ask(meant, lambda _: events.Unwanted(), _AT_REST, wait=wait)
            case "restart":
                self._supervisor.replan(self._apps())
                meant = self._meant(names)
                asked = events.RestartAsked(reason=Reason.USER, detail="asked for")
                await self._ask(meant, lambda _: asked, _SETTLED, wait=wait, anew=True)
            case "reset":
                meant = self._meant(names)
                await self._ask(meant, lambda _: events.Reset(), frozenset(State), wait=False)
            case "signal":
                meant = self._meant(names)
                number = _signal(str(request.get("signal")))
                for name in meant:
                    self._supervisor.signal(name, number)
            case "kill":
                await self.stop_all()
                self._end()
                return None
            case unknown:
                raise ConfigError(f"the daemon does not know how to {unknown!r}: it may be of another version")
        return self._described(meant)

    async def stop_all(self) -> None:
        """Stop everything, each in its time."""
        await self._ask(list(self._supervisor.instances), lambda _: events.Unwanted(), _AT_REST, wait=True)

    def _meant(self, names: Iterable[object], *, autostart: bool = False) -> list[str]:
        """The instances by these names, of apps or of instances; all of them if there is none, or ``all``."""
        known = self._supervisor.instances
        wanted = [str(name) for name in names if name != "all"]
        if not wanted:
            return [name for name in known if not autostart or self._supervisor.settings(name).autostart]
        found: dict[str, None] = {}
        for name in wanted:
            of_it = [each for each in known if name in (each, each.rpartition(":")[0])]
            if not of_it:
                apps = {each.rpartition(":")[0] for each in known}
                raise ConfigError(f"there is no app {name}{nearest(name, apps)}")
            found |= dict.fromkeys(of_it)
        return list(found)

    async def _ask(
        self,
        names: Iterable[str],
        event: Callable[[str], Event],
        until: frozenset[State],
        *,
        wait: bool,
        anew: bool = False,
    ) -> None:
        """Tell each of them, and wait until each is in one of these states; ``anew``: started after this."""
        supervisor, since_s = self._supervisor, boottime()
        asked = tuple(names)
        for name in asked:
            supervisor.feed(name, event(name))

        def is_done(instance: Instance) -> bool:
            return instance.state in until and not (
                anew and instance.state in (State.READY, State.UNHEALTHY) and instance.started_s < since_s
            )

        while wait and not all(is_done(supervisor.instances[name]) for name in asked):
            await supervisor.moved()
        await supervisor.saved()  # what was answered holds, whatever becomes of this daemon

    def _described(self, names: Iterable[str]) -> list[dict[str, Any]]:
        return [self._describe(name) for name in names]

    def _describe(self, name: str) -> dict[str, Any]:
        instance, settings, now_s = self._supervisor.instances[name], self._supervisor.settings(name), boottime()
        taken = self._supervisor.usage(name)
        return {
            "name": name,
            "state": instance.state,
            "pid": instance.child.pid if instance.child else None,
            "uptime_s": round(now_s - instance.started_s, 3) if instance.child else 0.0,
            "restarts": instance.restarted,
            "cpu_percent": round(taken[1], 1) if taken and taken[1] is not None else None,
            "memory_bytes": taken[0].memory_bytes if taken else None,
            "processes": taken[0].processes if taken else None,
            "detail": instance.detail,
            "status": instance.status,
            "since": self._moment(instance.since_s, now_s) if instance.since_s else None,
            "ended": str(instance.ended) if instance.ended else None,
            "command": list(settings.command),
            "logs": [str(source.path) for source in self._supervisor.sources(name)],
            "history": [{**asdict(each), "at": self._moment(each.at_s, now_s)} for each in instance.restarts],
        }

    def _moment(self, at_s: float, now_s: float) -> str:
        return iso(self._clock.now() - timedelta(seconds=now_s - at_s))


def _signal(name: str) -> int:
    known = {each.name: each.value for each in signal.Signals}
    wanted = name.upper()
    wanted = wanted if wanted.startswith("SIG") else f"SIG{wanted}"
    if wanted not in known:
        raise ConfigError(f"there is no signal {name}{nearest(wanted, known)}")
    return known[wanted]
