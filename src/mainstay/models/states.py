"""How did each model do when it was last asked?

From the events of attempts and turns, for `/health.dependencies`. A model that fails is *degraded*, never *down*:
another one may answer in its place, and whether it is worth asking is not decided here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mainstay.bus import Bus
from mainstay.checks import Check, Condition
from mainstay.events import AttemptFailed, TurnFinished
from mainstay.models.model import ModelSettings

__all__ = ["ModelStates"]


@dataclass(slots=True)
class _Last:
    answers: int = 0
    failures: int = 0
    failures_in_a_row: int = 0
    category: str | None = None


class ModelStates:
    """Listens from `watch` on."""

    def __init__(self, models: Mapping[str, ModelSettings]) -> None:
        self._models = models
        self._last = {name: _Last() for name in models}

    def watch(self, bus: Bus) -> None:
        """Hear of attempts that failed and of models that answered."""
        bus.subscribe(AttemptFailed, self._failed)
        bus.subscribe(TurnFinished, self._finished)

    def checks(self) -> list[Check]:
        """One for each model, named ``model:NAME``."""
        return [lambda name=name: self._condition(name) for name in self._models]  # type: ignore[misc]

    def _failed(self, event: AttemptFailed) -> None:
        last = self._last.get(event.model)
        if last is not None:
            last.failures += 1
            last.failures_in_a_row += 1
            last.category = event.category

    def _finished(self, event: TurnFinished) -> None:
        last = self._last.get(event.model)
        if last is not None:
            last.answers += 1
            last.failures_in_a_row = 0

    def _condition(self, name: str) -> Condition:
        settings, last = self._models[name], self._last[name]
        failing = last.failures_in_a_row
        return Condition(
            name=f"model:{name}",
            required=False,
            status="degraded" if failing else "ok",
            reason=f"{failing} failed in a row, the last by {last.category}" if failing else "",
            detail={
                "provider": settings.provider,
                "model": settings.model,
                "answers": last.answers,
                "failures": last.failures,
                "lastFailure": last.category,
            },
        )
