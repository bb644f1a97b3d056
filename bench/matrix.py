"""How are several programs compared in many things, in one table that can be pasted?

Markdown: a line for each thing, a column for each program, and what ours is as a share of the others'.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from bench.harness import Row, number, verdicts

__all__ = ["Line", "Matrix"]


@dataclass(kw_only=True)
class Line:
    """One thing; values or words by the program's name, and nothing for whom it was not looked at.

    Attributes:
        budget: what the median of the first program should be at most.
        at_most: what it should be as a share of another program's.
    """

    label: str
    unit: str = ""
    values: dict[str, list[float]] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    budget: float | None = None
    at_most: tuple[float, str] | None = None

    def add(self, name: str, value: float) -> None:
        self.values.setdefault(name, []).append(value)

    def cell(self, name: str) -> str:
        if name not in self.values:
            return self.words.get(name, "")
        found = self.values[name]
        middle = number(statistics.median(found))
        return middle if min(found) == max(found) else f"{middle} [{number(min(found))} - {number(max(found))}]"

    def share(self, first: str, other: str) -> str:
        medians = self._medians()
        return f"{medians[first] / medians[other]:.2f}" if {first, other} <= {*medians} and medians[other] else ""

    def verdict(self, first: str) -> str:
        medians = self._medians()
        if first not in medians:
            return ""
        row = Row(label=first, values=[medians[first]], budget=self.budget, at_most=self.at_most)
        return ", ".join(verdicts(row, medians, self.unit))

    def _medians(self) -> Mapping[str, float]:
        return {name: statistics.median(values) for name, values in self.values.items()}


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Some lines about the same programs, the first of which is ours."""

    title: str
    programs: Sequence[str]
    rows: Sequence[Line]
    shares: Sequence[str] = ()
    notes: Sequence[str] = ()

    def to_json(self) -> dict[str, object]:
        return asdict(self)

    def lines(self) -> Iterator[str]:
        ours = self.programs[0]
        judged = any(line.budget is not None or line.at_most is not None for line in self.rows)
        heads = [*self.programs, *(f"/ {other}" for other in self.shares), *(["goal"] if judged else [])]
        yield f"\n{self.title}\n"
        yield f"| | {' | '.join(heads)} |"
        yield f"|---|{'---|' * len(heads)}"
        for line in self.rows:
            cells = [line.cell(name) for name in self.programs] + [line.share(ours, name) for name in self.shares]
            cells += [line.verdict(ours)] if judged else []
            label = f"{line.label}, {line.unit}" if line.unit else line.label
            yield f"| {label} | {' | '.join(cells)} |"
        if self.notes:
            yield ""
        yield from self.notes
