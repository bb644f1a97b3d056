"""How are the models and the agents, as far as their calls tell?

A model whose breaker is open is *down* where an agent has no other one left, and *degraded* where another one
answers in its place, or where it is only rate-limited: that passes by itself, and so does a budget that is used up
for today. One whose last attempt failed is degraded in the report, and moves no status. The state is looked at when
somebody asks, so that it turns good again with time alone, and without a call.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from mainstay.agents.machine import in_tier
from mainstay.agents.model import AgentSettings, Tier
from mainstay.bus import Bus
from mainstay.checks import Check, Condition
from mainstay.errors import Category
from mainstay.events import AttemptFailed, TurnFinished
from mainstay.models.budget.ledger import Ledger
from mainstay.models.model import ModelSettings
from mainstay.recovery.breaker.model import Snapshot, State
from mainstay.recovery.breaker.permits import Breaker
from mainstay.recovery.breaker.registry import Breakers
from mainstay.units import format_dollars, format_duration

__all__ = ["Standing", "agent_breaker", "breaker_detail", "breaker_of", "left_alone"]


def breaker_of(name: str, settings: ModelSettings, breakers: Breakers) -> Breaker:
    """The breaker of a model."""
    slow_after_s = settings.slow_first_token or settings.first_token_timeout / 2
    identity = f"model:{settings.identity}"
    return breakers.of(f"model:{name}", identity=identity, slow_after_s=slow_after_s if settings.stream else None)


def agent_breaker(name: str, breakers: Breakers) -> Breaker:
    """The breaker of a specialist; what its models ask for is heeded by their own."""
    return breakers.of(f"agent:{name}", heeds_delays=False)


@dataclass(slots=True)
class _Last:
    answers: int = 0
    failures: int = 0
    failures_in_a_row: int = 0
    nonsense: int = 0
    category: str | None = None


class Standing:
    """Listens from `watch` on.

    Args:
        models: as configured.
        agents: as configured; the chain of one without models is that of the root.
        root: the agent that gets every message.
        tier: see `Tier`.
        breakers: of the process.
        ledger: of the process.
    """

    def __init__(
        self,
        models: Mapping[str, ModelSettings],
        agents: Mapping[str, AgentSettings],
        *,
        root: str,
        tier: Tier,
        breakers: Breakers,
        ledger: Ledger,
    ) -> None:
        self._models = models
        self._ledger = ledger
        self._last = {name: _Last() for name in models}
        self._breakers = {name: breaker_of(name, settings, breakers) for name, settings in models.items()}
        names = [root, *agents[root].specialists] if root in agents else []
        self._whole = {name: agents[name].models or agents[root].models for name in names}
        self._chains = {name: in_tier(chain, tier) for name, chain in self._whole.items()}
        self._specialists = {name: agent_breaker(name, breakers) for name in names if name != root}
        self._tier = tier

    def watch(self, bus: Bus) -> None:
        """Hear of attempts that failed and of models that answered."""
        bus.subscribe(AttemptFailed, self._failed)
        bus.subscribe(TurnFinished, self._finished)

    def checks(self) -> list[Check]:
        """``model:NAME`` for each model, ``agent:NAME`` for each specialist, ``budget`` (see `Ledger.checks`)."""
        models: list[Check] = [lambda name=name: self._model(name) for name in self._models]  # type: ignore[misc]
        agents: list[Check] = [lambda name=name: self._agent(name) for name in self._specialists]  # type: ignore[misc]
        asked = {name for chain in self._chains.values() for name in chain}
        return [*models, *agents, *self._ledger.checks(sorted(asked))]

    def _failed(self, event: AttemptFailed) -> None:
        last = self._last.get(event.model)
        if last is not None:
            last.failures += 1
            last.failures_in_a_row += 1
            last.nonsense += len(event.nonsense)
            last.category = event.category

    def _finished(self, event: TurnFinished) -> None:
        last = self._last.get(event.model)
        if last is not None:
            last.answers += 1
            last.failures_in_a_row = 0

    def _model(self, name: str) -> Condition:
        settings, last, snapshot = self._models[name], self._last[name], self._breakers[name].snapshot()
        status, reason, affects = self._model_status(name, last, snapshot)
        return Condition(
            name=f"model:{name}",
            required=False,
            affects_status=affects,
            status=status,
            reason=reason,
            detail={
                "provider": settings.provider,
                "model": settings.model,
                "answers": last.answers,
                "failures": last.failures,
                "lastFailure": last.category,
                "delaysIgnored": last.nonsense,
                "spentToday": _dollars(self._ledger.spent_by(name)),
                "budgetPerDay": _dollars(settings.budget_per_day),
                **breaker_detail(snapshot),
            },
        )

    def _model_status(
        self, name: str, last: _Last, snapshot: Snapshot
    ) -> tuple[Literal["ok", "degraded", "down"], str, bool]:
        if not any(name in chain for chain in self._chains.values()):
            forced = any(name in chain for chain in self._whole.values())
            return "ok", f"not asked: the tier {self._tier} is forced (AI_MODEL_TIER)" if forced else "", forced
        if snapshot.state is State.OPEN:
            alone = self._is_the_last(name) and not _rate_limited(snapshot)
            return "down" if alone else "degraded", left_alone(f"model {name}", snapshot), True
        if self._ledger.used_up("model", name):
            spent, limit = self._ledger.spent_by(name), self._models[name].budget_per_day
            reason = f"model {name} is not asked: {_dollars(spent)} of today's {_dollars(limit)} USD are spent"
            return "degraded", reason, True
        failing = last.failures_in_a_row
        if failing:
            return "degraded", f"{failing} failed in a row, the last by {last.category}", False
        return "ok", "", False

    def _is_the_last(self, name: str) -> bool:
        """Whether some agent has no model left that is not open."""
        return any(
            name in chain and all(self._breakers[model].state is State.OPEN for model in chain)
            for chain in self._chains.values()
        )

    def _agent(self, name: str) -> Condition:
        snapshot = self._specialists[name].snapshot()
        is_open = snapshot.state is State.OPEN
        return Condition(
            name=f"agent:{name}",
            required=False,
            affects_status=is_open,
            status="degraded" if is_open else "ok",
            reason=left_alone(f"agent {name}", snapshot) if is_open else "",
            detail=breaker_detail(snapshot),
        )


def _dollars(amount: Decimal | None) -> str | None:
    return None if amount is None else format_dollars(amount)


def _rate_limited(snapshot: Snapshot) -> bool:
    return snapshot.failure is not None and snapshot.failure.category is Category.RATE_LIMIT


def left_alone(what: str, snapshot: Snapshot) -> str:
    """The reason of a condition whose breaker is open."""
    why = f" after {snapshot.failure.category}" if snapshot.failure else ""
    slow = ": its first tokens come late" if snapshot.cause == "slow" else ""
    return f"{what} is left alone for {format_duration(round(snapshot.open_s, 1))} more{slow or why}"


def breaker_detail(snapshot: Snapshot) -> dict[str, str | int | float | bool | None]:
    """A breaker in the detail of a condition."""
    return {
        "breaker": snapshot.state,
        "openSeconds": round(snapshot.open_s, 1),
        "opened": snapshot.opened,
        "refused": snapshot.refused,
    }
