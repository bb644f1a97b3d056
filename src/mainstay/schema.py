"""Which rooms own tables, and in which version does this program need them?

Apart from `mainstay.service`, so that migrating loads no more than the tables.
"""

from importlib import import_module

__all__ = ["SCHEMA", "heads"]

SCHEMA = (
    "mainstay.inbox",
    "mainstay.memory",
    "mainstay.recovery.breaker",
    "mainstay.models.budget",
    "mainstay.turns",
    "mainstay.channels.feishu",
    "mainstay.channels.outbox",
)
"""In the order in which they are migrated."""


def heads() -> dict[str, str]:
    """The needed version, by room."""
    return {room: import_module(f"{room}.tables").HEAD for room in SCHEMA}
