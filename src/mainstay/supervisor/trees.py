"""Which processes belong to a child, what do they take, and how are they all ended?

A child's *tree* is what descends from it, what is in its session, and what carries its marker in the environment
that it was started with: so whoever has left the session, or whose parents are gone, is found too. Who was found
once belongs to it until it ends. Who carries another marker belongs to somebody else, whoever has started it: so,
in a session of its own, a program can outlive the child.
"""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

from mainstay.notify import MARKER
from mainstay.supervisor.model import Child
from mainstay.supervisor.processes import end, send_group
from mainstay.supervisor.procfs import Stat, boot_id, environment, numbered, stat

__all__ = ["Trees", "Usage"]

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_TICKS_IN_S: Final = os.sysconf("SC_CLK_TCK")
_LOOKS: Final = 100
_KERNEL: Final = 2  # the parent of all threads of the kernel, which have no environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a tree takes.

    Attributes:
        memory_bytes: resident; pages that several processes share are counted for each.
        cpu_s: that its living processes have taken, with those of their children that they have waited for.
        processes: how many it has.
    """

    memory_bytes: int = 0
    cpu_s: float = 0.0
    processes: int = 0


@dataclass(slots=True, eq=False)
class _Tree:
    """Of one child.

    Attributes:
        members: when each was started, by pid.
        leads: whether its pid is still the number of its session, as far as is known.
    """

    child: Child
    started: int
    marker: bytes
    members: dict[int, int]
    leads: bool = False


class _Stranger(NamedTuple):
    """Who belongs to no tree: its number (`numbered`), and when it was started."""

    number: int
    started: int


class Trees:
    """The trees of all children that are watched.

    Attributes:
        spared: pids that belong to no tree, whoever has started them: the daemon's own, and the keeper's.
    """

    def __init__(self) -> None:
        self.spared = {os.getpid()}
        self._trees: dict[Child, _Tree] = {}
        self._member_of: dict[int, _Tree] = {}
        self._present: dict[int, int] = {}
        self._strangers: dict[int, _Stranger] = {}
        self._gone: set[int] = set()
        self._fleeting = False

    def watch(self, child: Child, marker: str) -> None:
        """From now on its tree is known; ``marker`` is the value that its `MARKER` has, or empty."""
        boot, _, started = child.mark.rpartition(":")
        if child in self._trees or boot != boot_id():
            return
        entry = f"{MARKER}={marker}".encode() if marker else b""
        self._trees[child] = _Tree(child, int(started), entry, {})
        # Only who is younger can belong to it.
        self._strangers = {pid: found for pid, found in self._strangers.items() if found.started < int(started)}

    def forget(self, child: Child) -> None:
        """Its tree is of no interest any more."""
        tree = self._trees.pop(child, None)
        for pid in tree.members if tree is not None else ():
            del self._member_of[pid]

    def sample(self) -> dict[Child, Usage]:
        """What each tree takes now. Cheap: only the members are looked at, and who is new on this machine.

        Nothing, as long as too many files are open to look.
        """
        try:
            stats = self._look()
        except OSError:
            return {}
        usages = {}
        for child, tree in self._trees.items():
            members = [stats[pid] for pid in tree.members]
            usages[child] = Usage(
                memory_bytes=sum(each.pages for each in members) * _PAGE_BYTES,
                cpu_s=sum(each.cpu_ticks for each in members) / _TICKS_IN_S,
                processes=len(members),
            )
        return usages

    def members(self, child: Child) -> tuple[Child, ...]:
        """All living processes of its tree, itself included."""
        self._look()
        return self._members(child)

    def _members(self, child: Child) -> tuple[Child, ...]:
        tree = self._trees.get(child)
        if tree is None:
            return ()
        found = [(pid, started) for pid, started in tree.members.items() if not _is_of_another(pid, tree)]
        return tuple(Child(pid=pid, mark=f"{boot_id()}:{started}") for pid, started in found)

    async def kill(self, child: Child, within_s: float) -> tuple[Child, ...]:
        """Kill the whole tree, until nothing of it is found any more; what could not be ended within that time.

        Where too many files are open to look for the rest, that is the child: it is all that is known.
        """
        try:
            with suppress(PermissionError):  # it has become another user: it is left over
                send_group(child, signal.SIGKILL)
            self._look()
            return await end(lambda: self._left(child), within_s)
        except OSError:
            return (child,)

    def _left(self, child: Child) -> tuple[Child, ...]:
        """Who is left; one may be on the run, in another process each time that one looks."""
        for _ in range(_LOOKS):
            self._look()
            if self._members(child) or not self._fleeting:
                break
        return self._members(child)

    def _look(self) -> dict[int, Stat]:
        """Bring the members up to date; returns at least those. Who was a stranger a moment ago still is one."""
        self._present = present = numbered()
        self._strangers = {pid: it for pid, it in self._strangers.items() if present.get(pid) == it.number}
        looked_at = present.keys() - self._strangers.keys()
        # The newest first: who is on the run may be gone in a moment.
        stats = {pid: found for pid in sorted(looked_at, reverse=True) if (found := stat(pid)) is not None}
        gone = looked_at.difference(stats)
        self._gone, self._fleeting = gone, not gone <= self._gone
        for tree in self._trees.values():
            for pid, started in tuple(tree.members.items()):
                if pid not in stats or stats[pid].started != started:
                    del tree.members[pid], self._member_of[pid]
            root = stats.get(tree.child.pid)
            if root is not None:
                tree.leads = root.started == tree.started
        self._sort({pid: found for pid, found in stats.items() if pid not in self._member_of})
        return stats

    def _sort(self, new: dict[int, Stat]) -> None:
        """Find out to whom each of these belongs."""
        roots = {tree.child.pid: tree for tree in self._trees.values()}
        marked = {tree.marker: tree for tree in self._trees.values() if tree.marker}
        while new:
            # Parents first: a child that is younger than its parent may belong to it.
            line = [next(iter(new))]
            while (parent := new[line[-1]].parent) in new and parent not in line:
                line.append(parent)
            for pid in reversed(line):
                self._place(pid, new.pop(pid), roots, marked)

    def _place(self, pid: int, found: Stat, roots: dict[int, _Tree], marked: dict[bytes, _Tree]) -> None:
        root = roots.get(pid)
        tree = root if root is not None and root.started == found.started else self._member_of.get(found.parent)
        session = roots.get(found.session)
        if tree is None and session is not None and session.leads:
            tree = session
        if tree is not None and _is_of_another(pid, tree):
            tree = None
        elif tree is None and marked and found.parent != _KERNEL:
            entries = environment(pid)
            if not entries:  # it may be just about to get one, and is seen the next time
                self._fleeting |= stat(pid) is None
                return
            tree = next((marked[entry] for entry in entries if entry in marked), None)
        if tree is None or pid in self.spared:
            self._strangers[pid] = _Stranger(self._present[pid], found.started)
        else:
            tree.members[pid] = found.started
            self._member_of[pid] = tree


def _is_of_another(pid: int, tree: _Tree) -> bool:
    """Whether it carries another marker than this tree's; who was only just forked may carry it in a moment."""
    if not tree.marker or pid == tree.child.pid:
        return False
    name = f"{MARKER}=".encode()
    return any(entry.startswith(name) and entry != tree.marker for entry in environment(pid))
