"""How are the runs of an app called?

An instance has its *slot*, ``web:0``. While it is reloaded it has two runs: the one that is to take the slot,
``web:0/next``, and after that the one that has to go, ``web:0/old``.
"""

from enum import StrEnum

__all__ = ["Role", "app_of", "beside", "instance_name", "number_of", "run_of", "slot_of"]


class Role(StrEnum):
    """What a run beside the slot's own is there for."""

    NEXT = "next"
    OLD = "old"


def instance_name(app: str, number: int) -> str:
    """The slot of an instance: ``web:0``."""
    return f"{app}:{number}"


def beside(slot: str, role: Role) -> str:
    """The name of the other run of a slot."""
    return f"{slot}/{role}"


def slot_of(name: str) -> str:
    """``web:0``, also of ``web:0/next``."""
    return name.partition("/")[0]


def app_of(name: str) -> str:
    """``web``."""
    return name.rpartition(":")[0]


def number_of(name: str) -> int:
    """Which one of its app's instances it is, from 0 on."""
    return int(slot_of(name).rpartition(":")[2])


def run_of(name: str, begun_s: float) -> str:
    """One run of a slot, and no other one, also once it has the slot of the one before: ``web:0.81234567``."""
    return f"{slot_of(name)}.{round(begun_s * 1000)}"
