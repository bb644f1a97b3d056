"""Which instances are there, which are there to be, and with which settings?

No I/O. The configuration and the roster say what is to be. What runs stays until it has ended, whatever they say.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.model import ACTIVE, Instance, State
from mainstay.supervisor.naming import app_of, number_of, slot_of
from mainstay.supervisor.output.model import Source, sources
from mainstay.supervisor.plan import Plan
from mainstay.supervisor.roster import Roster

__all__ = ["Population"]


class Population:
    """All instances of one home.

    Attributes:
        plan: what is asked for, and of apps that are not any more what they were.
        roster: which instances there are to be.
        removed: the apps that are not in the configuration any more.
        instances: all runs, by name.
    """

    def __init__(self, plan: Plan, roster: Roster) -> None:
        self.plan = plan
        self.roster = roster
        self.removed: frozenset[str] = frozenset()
        self.instances: dict[str, Instance] = {name: Instance() for name in roster.names(plan.apps)}

    def settings(self, name: str) -> AppSettings:
        """Of the app of this run."""
        return self.plan.apps[app_of(name)]

    def sources(self, name: str) -> tuple[Source, ...]:
        """The logs of this run."""
        app, logs = app_of(name), self.plan.home / "logs"
        return tuple(sources(app, number_of(name), self.plan.apps[app], logs=logs, base=self.plan.directory))

    def recall(self, known: Mapping[str, Instance]) -> None:
        """What the last daemon knew, as far as it is planned, or runs."""
        running = {app_of(name) for name, each in known.items() if each.state in ACTIVE}
        remains = {
            app: each.settings()
            for app, each in self.roster.remains.items()
            if app in running and app not in self.plan.apps
        }
        self.instances |= {name: each for name, each in known.items() if name in self.instances}
        self.removed = frozenset(remains)
        self.plan = replace(self.plan, apps={**self.plan.apps, **remains})
        for name, instance in known.items():
            runs = instance.state in ACTIVE or (name != slot_of(name) and app_of(name) not in remains)
            if runs and app_of(name) in self.plan.apps:
                self.instances.setdefault(name, instance)

    def suppose(self, running: Collection[str]) -> None:
        """What the last daemon knew is lost: that these run tells what was decided."""
        found = {slot_of(name) for name in running} & self.instances.keys()
        self.instances |= dict.fromkeys(found, Instance(state=State.STARTING))

    def replan(self, apps: Mapping[str, AppSettings]) -> None:
        """Go on with other settings; what runs keeps its own until it is started again."""
        self.removed = frozenset(self.plan.apps.keys() - apps.keys())
        self.plan = replace(self.plan, apps={**self.plan.apps, **apps})
        self.reform(self.roster)

    def reform(self, roster: Roster) -> None:
        """Let there be other instances; of those that are too many each is to be forgotten when it has ended."""
        self.roster = roster
        present = {app: each for app, each in self.plan.apps.items() if app not in self.removed}
        for name in roster.names(present):
            self.instances.setdefault(name, Instance())

    def remembered(self) -> Roster:
        """The roster, with all that has to be known of what may still run when the configuration has changed."""
        return self.roster.remember(self.plan.apps, map(app_of, self.instances))

    def has_place(self, slot: str) -> bool:
        """Whether there is to be such an instance; one of an app that was only removed may stay."""
        if app_of(slot) in self.removed:
            return app_of(slot) not in self.roster.deleted
        return self.roster.has(slot, self.plan.apps)
