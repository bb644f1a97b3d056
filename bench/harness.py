"""How is something measured so that the figure can be believed?

Peers and their rival are measured in one process, one after the other in each round, so that a busy machine is busy
for all of them. A figure is the median of the rounds with the least and the largest beside it; what counts is the
ratio. Budgets are printed next to the figures, and nothing fails: a benchmark is not a test.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

__all__ = ["Row", "Table", "interleaved", "ns_per_call", "number", "verdicts"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing measured.

    Attributes:
        values: one for each round; empty if it could not be measured, and ``note`` says why.
        budget: what the median should be below, in the table's unit.
        at_most: what the median should be as a share of another row's, named by its label.
    """

    label: str
    values: Sequence[float] = ()
    budget: float | None = None
    at_most: tuple[float, str] | None = None
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows with one unit; ratios are to the first row that was measured."""

    title: str
    unit: str
    rows: Sequence[Row]
    notes: Sequence[str] = field(default=())

    def to_json(self) -> dict[str, object]:
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """Of a report."""
        yield f"\n{self.title}"
        measured = [row for row in self.rows if row.values]
        first = measured[0].median if measured else 1.0
        medians = {row.label: row.median for row in measured}
        width = max(len(row.label) for row in self.rows)
        for row in self.rows:
            if not row.values:
                yield f"  {row.label:{width}}  {row.note}"
                continue
            span = f"[{number(min(row.values))} - {number(max(row.values))}]"
            ratio = f"{row.median / first:.2f}x"
            verdict = "  ".join(verdicts(row, medians, self.unit))
            line = f"  {row.label:{width}}  {number(row.median):>9} {self.unit:3} {span:22} {ratio:>8}  {verdict}"
            yield f"{line}  {row.note}".rstrip()
        yield from (f"  {note}" for note in self.notes)


def interleaved(cases: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, list[float]]:
    """The values of each case, measured by turns, after one round that does not count."""
    found: dict[str, list[float]] = {label: [] for label in cases}
    for number in range(rounds + 1):
        for label, measure in cases.items():
            value = measure()
            if number:
                found[label].append(value)
    return found


def ns_per_call(call: Callable[[], object], *, times: int = 20_000) -> float:
    """Wall nanoseconds of one call, without those of the loop, and without garbage collection."""
    gc.collect()
    gc.disable()
    try:
        return _loop(call, times) - _loop(_nothing, times)
    finally:
        gc.enable()


def _nothing() -> None:
    pass


def _loop(call: Callable[[], object], times: int) -> float:
    repeats = range(times)
    began = time.perf_counter_ns()
    for _ in repeats:
        call()
    return (time.perf_counter_ns() - began) / times


def verdicts(row: Row, medians: Mapping[str, float], unit: str) -> Iterable[str]:
    """How the median compares with what it should be; ``medians`` are those of the other rows."""
    if row.budget is not None:
        yield f"{_judged(row.median <= row.budget)} budget {number(row.budget)} {unit}"
    if row.at_most is not None and row.at_most[1] in medians:
        share, other = row.at_most
        ratio = row.median / medians[other]
        yield f"{_judged(ratio <= share)} {ratio:.2f} of {other} (budget {share})"


def _judged(kept: bool) -> str:
    return "kept" if kept else "MISSED"


def number(value: float) -> str:
    """Three digits, or all that are before the point."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
