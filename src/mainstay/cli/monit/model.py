"""What does the view show, and what is known?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["KEPT", "Order", "Quit", "Seen", "View"]

KEPT: Final = 120
"""So many samples of an instance are kept: two minutes of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The daemon is to be asked for this.

    Attributes:
        do: as it is asked, e.g. ``"stop"``.
        name: of the instance.
    """

    do: str
    name: str


@dataclass(frozen=True, slots=True)
class Quit:
    """Somebody has seen enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is looked at.

    Attributes:
        selected: the instance's name; empty if there is none.
        log_only: whether its log is all that is shown.
        asked: what has to be confirmed first.
        said: what became of the last order; empty if there is nothing to say.
    """

    selected: str = ""
    log_only: bool = False
    asked: Order | None = None
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the daemon has said.

    Attributes:
        instances: the latest answer, see `mainstay.supervisor.verbs`.
        cpu: of each instance by name, percent of a core, oldest first.
        memory: likewise, in bytes.
        missing: why there was no answer; empty if there was one.
    """

    instances: Sequence[Mapping[str, Any]] = ()
    cpu: Mapping[str, Sequence[float]] = field(default_factory=dict)
    memory: Mapping[str, Sequence[float]] = field(default_factory=dict)
    missing: str = ""

    @property
    def names(self) -> Sequence[str]:
        """Of the instances, in their order."""
        return [each["name"] for each in self.instances]
