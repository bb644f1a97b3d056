"""What becomes of what the daemons before this one have started?

It goes on, as what the last one has left says; of what was not written down any more the keeper still has the
processes. Whatever has no place in the plan is ended.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from mainstay.supervisor import events
from mainstay.supervisor.children import Children
from mainstay.supervisor.endings import Kept
from mainstay.supervisor.events import Event, Spawn
from mainstay.supervisor.evidence import keep_only
from mainstay.supervisor.keeping import Keeper
from mainstay.supervisor.model import Child, State, is_wanted
from mainstay.supervisor.naming import app_of, run_of, slot_of
from mainstay.supervisor.outputs import Outputs
from mainstay.supervisor.population import Population
from mainstay.supervisor.procfs import boot_id
from mainstay.supervisor.recognition import begun_s, may_be_of
from mainstay.supervisor.reloads import Reloads
from mainstay.supervisor.state import LeftBehind

__all__ = ["TakeOver"]


class TakeOver:
    """That of one daemon; what it begins with is known when this is made.

    Args:
        kept: what the last daemon has left; None if there was none.
        population: gets what is known of it.
        keeper: has what runs.
        children: of this daemon.
        outputs: of the home.
        feed: is told what has happened to a run.
        boot: whether the machine has started this daemon: what the last one has ended with itself goes on then.

    Attributes:
        rolls: the reloads that go on.
    """

    def __init__(
        self,
        kept: LeftBehind | None,
        population: Population,
        *,
        keeper: Keeper,
        children: Children,
        outputs: Outputs,
        feed: Callable[[str, Event], object],
        boot: bool,
    ) -> None:
        self._population = population
        self._keeper = keeper
        self._children = children
        self._outputs = outputs
        self._feed = feed
        known = kept.instances if kept is not None and kept.boot == boot_id() else {}
        self._revived = frozenset(
            name
            for name, each in (kept.instances if kept is not None and not known else {}).items()
            if is_wanted(each)
        ) | frozenset(kept.wanted_at_end if kept is not None and boot else ())
        population.recall(known)
        if kept is None:
            population.suppose([each.name for each in keeper.children])
        rolls = kept.rolls if kept is not None and known else ()
        self.rolls = [roll for roll in rolls if all(app_of(slot) in population.plan.apps for slot in roll.left)]

    async def do(self, reloads: Reloads, is_surplus: Callable[[str], bool]) -> None:
        """To be done once, and before any end is heard of.

        Args:
            reloads: go on, too.
            is_surplus: whether there is to be no such run.

        Raises:
            MainstayError: the keeper is gone and does not come back.
        """
        instances, children = self._population.instances, self._children
        keep_only(self._population.plan.home, [run_of(name, each.begun_s) for name, each in instances.items()])
        listed = {kept.child: kept for kept in self._keeper.children}
        for name, instance in list(instances.items()):
            if instance.child is not None:
                children.adopted(name, instance.begun_s, instance.child)
                if instance.child not in listed:
                    await self._keeper.adopt(
                        name, instance.child, [self._outputs.fifo(each) for each in self._population.sources(name)]
                    )
        others = children.commands.take_over(listed)
        for child in others.keys() - children.names.keys():
            name = others[child].name  # of one that was reloaded: as it was called before it had the slot
            if not self._found(name if name in instances else slot_of(name), child, others):
                children.dismiss(child)
        await children.channels.resume(
            run_of(name, each.begun_s) for name, each in instances.items() if each.child is not None
        )
        self._resume(others, reloads, is_surplus)

    def _found(self, name: str, child: Child, listed: Mapping[Child, Kept]) -> bool:
        """Whether this child of the keeper is what is to run; that may not have been written down any more."""
        instances = self._population.instances
        instance = instances.get(name)
        if instance is None or not may_be_of(instance, child):
            return False
        if instance.child is not None:
            before = listed.get(instance.child)
            if before is None or before.ended is None:
                return False
            self._children.has_ended(name, instance.child, before.ended)  # this one was started after that
        instances[name] = replace(instances[name], begun_s=begun_s(child) or instances[name].begun_s)
        self._children.adopted(name, instances[name].begun_s, child)
        self._feed(name, events.Spawned(child=child))
        return True

    def _resume(self, listed: Mapping[Child, Kept], reloads: Reloads, is_surplus: Callable[[str], bool]) -> None:
        """Nobody was looking for a while."""
        reloads.resume()
        for name, instance in list(self._population.instances.items()):
            if instance.child is not None:
                self._feed(name, events.Resumed())
                self._children.collect(name)
            elif instance.state is State.STARTING:
                self._children.perform(name, Spawn())  # the last daemon did not come to it
            elif instance.state is State.STOPPING:
                self._feed(name, events.NotSpawned(detail="nobody has come to it"))
            if name in self._revived:
                self._feed(name, events.Wanted())
            if is_surplus(name):
                self._feed(name, events.Unwanted())
        for child, kept in listed.items():
            name = self._children.names[child]
            if kept.ended is not None and name != slot_of(name):
                self._feed(name, events.ChildEnded(child=child, ended=kept.ended))
        # Before other ends are heard of: what has a successor that is well is not started again.
        reloads.look()
