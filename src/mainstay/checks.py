"""What state is asked for, rather than announced?

Rooms that have a state worth reporting hand `service` a `Check`; health and the probes call it. A check is cheap
and synchronous: it returns what the room knows already, and does no I/O of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Check", "Condition"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How one dependency is.

    Attributes:
        name: ``"database"``, ``"feishu"``, ``"model:primary"``.
        status: ``"ok"``, ``"degraded"`` (works worse) or ``"down"``.
        required: whether the service can not be ready without it.
        affects_status: whether `/health` follows it: degraded when it is degraded, unhealthy when it is down. Its
            reason is among the report's, also when it is ok and still worth knowing.
        reason: one line when it is not ok.
        detail: more for `/health.dependencies`: plain JSON values, nothing secret.
    """

    name: str
    status: Literal["ok", "degraded", "down"] = "ok"
    required: bool = True
    affects_status: bool = False
    reason: str = ""
    detail: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)


Check = Callable[[], Condition]
