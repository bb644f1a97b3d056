"""What do the children take, now and since the last look?"""

from collections.abc import Iterator
from dataclasses import dataclass

from mainstay.supervisor.model import Child
from mainstay.supervisor.trees import Trees, Usage

__all__ = ["Usages"]


@dataclass(slots=True)
class _Measured:
    usage: Usage
    at_s: float
    cpu_percent: float | None = None


class Usages:
    """Those of all children.

    Args:
        trees: of the children.
    """

    def __init__(self, trees: Trees) -> None:
        self._trees = trees
        self._measured: dict[Child, _Measured] = {}

    def of(self, child: Child) -> tuple[Usage, float | None] | None:
        """What its tree takes, and how much of a core in percent; None while nobody has looked."""
        measured = self._measured.get(child)
        return (measured.usage, measured.cpu_percent) if measured is not None else None

    def look(self, now_s: float) -> Iterator[tuple[Child, Usage]]:
        """What each tree takes now."""
        for child, usage in self._trees.sample().items():
            last = self._measured.get(child)
            cpu = 100 * (usage.cpu_s - last.usage.cpu_s) / (now_s - last.at_s) if last is not None else None
            self._measured[child] = _Measured(usage, now_s, max(cpu, 0.0) if cpu is not None else None)
            yield child, usage

    def forget(self, child: Child) -> None:
        """It has ended."""
        self._measured.pop(child, None)
