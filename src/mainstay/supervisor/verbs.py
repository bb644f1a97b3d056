"""What may be asked of the daemon, and when is it done?"""

import os
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from mainstay.clock import Clock
from mainstay.errors import ConfigError, MainstayError, nearest
from mainstay.supervisor import events
from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.control import LATER, Request
from mainstay.supervisor.daemon import Supervisor, boottime
from mainstay.supervisor.describing import GONE, Descriptions
from mainstay.supervisor.events import Event
from mainstay.supervisor.model import Instance, Reason, State
from mainstay.supervisor.naming import app_of, number_of, slot_of
from mainstay.supervisor.output.model import Flushed
from mainstay.supervisor.rolling import Roll

__all__ = ["Verbs"]

_AT_REST: Final = frozenset({State.STOPPED, State.ERRORED, State.EXITED})
_SETTLED: Final = frozenset({State.READY, State.UNHEALTHY, State.BACKOFF}) | _AT_REST
"""Also stopped: by somebody else, meanwhile."""


class Verbs:
    """The requests of one daemon.

    Args:
        supervisor: does it.
        apps: reads the configuration anew; raises ConfigError.
        end: ends the daemon.
        update: has it replaced by the code that is installed now, once that is found to be sound; raises
            MainstayError.
        clock: gives the times that people read.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        apps: Callable[[], Awaitable[Mapping[str, AppSettings]]],
        end: Callable[[], object],
        update: Callable[[], Awaitable[object]],
        clock: Clock,
    ) -> None:
        self._supervisor = supervisor
        self._population = supervisor.population
        self._apps = apps
        self._end = end
        self._update = update
        self._descriptions = Descriptions(supervisor, clock)
        self._told: Mapping[str, Callable[[list[str]], Awaitable[object]]] = {
            "ping": self._ping,
            "env": self._environments,
            "flush": self._flush,
            "update": self._replace,
        }

    async def handle(self, request: Request) -> object:
        """Do what is asked; returns what becomes the answer.

        Raises:
            MainstayError: for the caller to read.
        """
        names, wait = request.get("names", []), request.get("wait", True)
        if request["do"] in self._told:
            return await self._told[request["do"]](self._meant(names))
        match request["do"]:
            case "list":
                return self._descriptions.of(self._with_others(self._meant(names)), stacks=bool(names))
            case "start":
                meant = await self._renewed(names, restored=True)
                return await self._ask(meant, lambda _: events.Wanted(), _SETTLED, wait=wait)
            case "stop":
                meant = self._meant(names)
                await self._stop(meant, "it was stopped", wait=wait)
            case "restart":
                meant = await self._renewed(names)
                self._supervisor.reloads.cancel(meant, "it was restarted")
                asked = events.RestartAsked(reason=Reason.USER, detail="asked for")
                return await self._ask(meant, lambda _: asked, _SETTLED, wait=wait, anew=True)
            case "reload" | "scale" | "delete" as verb:
                meant = await self._change(verb, names, str(request.get("to")), wait=wait)
            case "reset":
                meant = self._meant(names)
                await self._ask(meant, lambda _: events.Reset(), frozenset(State), wait=False)
            case "signal":
                meant = self._meant(names)
                self._send(meant, _signal(str(request.get("signal"))))
            case "kill":
                await self.stop_all()
                self._end()
                return None
            case unknown:
                raise ConfigError(f"the daemon does not know how to {unknown!r}: it may be of another version")
        return self._descriptions.of(meant)

    def _send(self, slots: Iterable[str], number: int) -> None:
        for slot in slots:
            self._supervisor.children.signal(slot, number)

    async def stop_all(self) -> None:
        """Stop everything, each in its time."""
        self._supervisor.remember()
        await self._stop(self._meant([]), "everything was stopped", wait=True)

    def _meant(self, names: Iterable[object]) -> list[str]:
        """The instances by these names, of apps or of instances; all of them if there is none, or ``all``."""
        apps = list(self._population.plan.apps)
        slots = {slot_of(name) for name in self._supervisor.instances}
        known = sorted(slots, key=lambda slot: (apps.index(app_of(slot)), number_of(slot)))
        wanted = [str(name) for name in names if name != "all"]
        if not wanted:
            return known
        found: dict[str, None] = {}
        for name in wanted:
            of_it = [slot for slot in known if name in (slot, app_of(slot))]
            if not of_it:
                raise ConfigError(f"there is no app {name}{nearest(name, set(map(app_of, known)))}")
            found |= dict.fromkeys(of_it)
        return list(found)

    def _with_others(self, slots: Iterable[str]) -> list[str]:
        """These instances, and where they are being reloaded their other runs."""
        every = self._supervisor.instances
        return [name for slot in slots for name in every if slot_of(name) == slot]

    async def _renewed(self, names: Sequence[object], *, restored: bool = False) -> list[str]:
        """The instances by these names in the configuration as it is now; what it has no more of is ended.

        Args:
            names: see `_meant`; without any, what the configuration does not name any more is left alone.
            restored: whether what was deleted is there again.
        """
        supervisor, every = self._supervisor, not names
        written = [str(name) for name in names if name != "all"]
        supervisor.replan(await self._apps())
        if restored:
            roster = self._population.roster
            supervisor.reform(roster.restore([app for app in roster.deleted if not written or app in written]))
        meant = self._meant(written)
        removed = [slot for slot in meant if app_of(slot) in self._population.removed]
        if written and removed:
            app = app_of(removed[0])
            raise ConfigError(f"{app} is {GONE}: write it there again, or end it with `mainstay delete {app}`")
        meant = [slot for slot in meant if slot not in removed]
        surplus = [slot for slot in meant if supervisor.is_surplus(slot)]
        await self._stop(surplus, "there are to be fewer", wait=False)
        by_itself = [slot for slot in meant if not (every and restored) or supervisor.settings(slot).autostart]
        return [slot for slot in by_itself if slot not in surplus]

    async def _stop(self, slots: Iterable[str], why: str, *, wait: bool) -> None:
        asked = tuple(slots)
        self._supervisor.reloads.cancel(asked, why)
        await self._ask(self._with_others(asked), lambda _: events.Unwanted(), _AT_REST, wait=wait)

    async def _change(self, verb: str, names: Sequence[object], to: str, *, wait: bool) -> list[str]:
        if verb == "scale":
            return await self._scale(names, to, wait=wait)
        if verb == "delete":
            await self._delete(names)
            return self._meant([])
        meant = await self._renewed(names)
        await self._reload(meant, wait=wait)
        return meant

    async def _reload(self, slots: list[str], *, wait: bool) -> None:
        """Raises MainstayError where it was not reloaded."""
        supervisor = self._supervisor
        number = supervisor.reloads.begin(slots)
        supervisor.changed()
        roll: Roll | None = None
        while wait and roll is None:
            await supervisor.moved()
            roll = supervisor.reloads.ended(number)
        await supervisor.saving.saved()
        if roll is not None and roll.failed:
            rest = f"; not reloaded either: {', '.join(roll.left[1:])}" if roll.left[1:] else ""
            raise MainstayError(f"not reloaded: {roll.failed}; what ran before goes on{rest}")

    async def _scale(self, names: Iterable[object], to: str, *, wait: bool) -> list[str]:
        supervisor, population = self._supervisor, self._population
        supervisor.replan(await self._apps())
        written, apps = [str(name) for name in names], population.plan.apps
        if len(written) != 1 or written[0] not in apps:
            raise ConfigError(f"there is no app {' '.join(written)}{nearest(' '.join(written), set(apps))}")
        [app] = written
        if app in population.removed or app in population.roster.deleted:
            why = GONE if app in population.removed else "deleted"
            raise ConfigError(f"{app} can not be scaled: it is {why}")
        settings, roster = apps[app], population.roster
        before = self._meant([app])
        if any(supervisor.reloads.concern(slot) for slot in before):
            raise MainstayError(f"{app} is being reloaded: wait, or end that by `mainstay stop {app}`")
        supervisor.reform(roster.scale(app, _count(to, roster.count(app, settings)), settings))
        surplus = [slot for slot in before if supervisor.is_surplus(slot)]
        more = [slot for slot in self._meant([app]) if slot not in before]
        await self._ask(more, lambda _: events.Wanted(), _SETTLED, wait=wait)
        await self._stop(surplus, "there are to be fewer", wait=wait)
        return [slot for slot in self._meant([app]) if slot not in surplus]

    async def _delete(self, names: Iterable[object]) -> None:
        supervisor, written = self._supervisor, [str(name) for name in names]
        slots = self._meant(written)
        apps = tuple(dict.fromkeys(map(app_of, slots)))
        for name in written:
            if name not in (*apps, "all"):
                raise ConfigError(f"{name} is one instance: delete its app, or `mainstay scale {app_of(name)} -1`")
        sources = {source for slot in slots for source in self._population.sources(slot)}
        supervisor.reform(self._population.roster.delete(apps))
        await self._stop(slots, "it was deleted", wait=True)
        await supervisor.let_go(apps, sources)

    async def _ask(
        self,
        names: Iterable[str],
        event: Callable[[str], Event],
        until: frozenset[State],
        *,
        wait: bool,
        anew: bool = False,
    ) -> list[dict[str, Any]]:
        """Tell each of them, and wait until each is in one of these states; ``anew``: started after this.

        How they are then is what is returned: while it is written down, they may go on to something else.
        """
        supervisor, since_s = self._supervisor, boottime()
        asked = tuple(names)
        for name in asked:
            supervisor.feed(name, event(name))

        def is_done(instance: Instance) -> bool:
            return instance.state in until and not (
                anew and instance.state in (State.READY, State.UNHEALTHY) and instance.started_s < since_s
            )

        def all_are_done() -> bool:
            left = (supervisor.instances.get(name) for name in asked)
            return all(is_done(instance) for instance in left if instance is not None)

        while wait and not all_are_done():
            await supervisor.moved()
        found = self._descriptions.of(asked)
        await supervisor.saving.saved()  # what was answered holds, whatever becomes of this daemon
        return found

    async def _replace(self, _: list[str]) -> object:
        await self._update()
        return LATER

    async def _ping(self, names: list[str]) -> dict[str, int]:
        return {"pid": os.getpid(), "instances": len(names)}

    async def _environments(self, names: list[str]) -> list[dict[str, Any]]:
        from mainstay.supervisor.environment import variables

        answer = []
        for name in names:
            has, gets = self._supervisor.children.environment(name)
            settings, inherited = self._supervisor.settings(name), self._population.plan.environ
            found = variables(has, gets, settings=settings.env, inherited=inherited)
            running = has is not None
            answer.append({"name": name, "running": running, "variables": [asdict(each) for each in found]})
        return answer

    async def _flush(self, names: list[str]) -> list[dict[str, Any]]:
        """One log after the other; one that can not be deleted keeps none of the others."""
        answer = []
        for instance, log in ((name, log) for name in names for log in self._population.sources(name)):
            flushed, said = Flushed(), ""
            try:
                flushed = await self._supervisor.outputs.flush(log)
            except (OSError, TimeoutError) as error:
                said = getattr(error, "strerror", None) or str(error) or "its thread does not answer"
            about = {"name": instance, "stream": log.stream, "path": str(log.path)}
            answer.append({**about, **asdict(flushed), "error": said})
        return answer


def _count(written: str, now: int) -> int:
    """``3``, or ``+1`` and ``-1`` from now on."""
    sign, number = (written[0], written[1:]) if written[:1] in ("+", "-") else ("", written)
    if not (number.isascii() and number.isdecimal()):
        raise ConfigError(f"{written!r} is no number of instances: write it like 3, +1 or -1")
    count = {"+": now + int(number), "-": now - int(number), "": int(number)}[sign]
    if count < 1:
        raise ConfigError(f"there is to be one instance at least, not {count}: `mainstay stop` stops all of them")
    return count


def _signal(name: str) -> int:
    known = {each.name: each.value for each in signal.Signals}
    wanted = name.upper()
    wanted = wanted if wanted.startswith("SIG") else f"SIG{wanted}"
    if wanted not in known:
        raise ConfigError(f"there is no signal {name}{nearest(wanted, known)}")
    return known[wanted]
