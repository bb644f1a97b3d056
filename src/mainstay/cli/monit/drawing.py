"""What is drawn, in so many columns and rows? Pure.

Each row has exactly as many columns as there are, whatever is in it, so that nothing is wrapped.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from mainstay.cli.look import HEAD, cells, colour_of, size
from mainstay.cli.monit.model import Seen, View
from mainstay.cli.terminal import DIM, coloured, cut, safe, width

__all__ = ["BARS", "PLAIN_BARS", "frame", "spark"]

_INVERSE: Final = "7"
_BOLD: Final = "1"
_YELLOW: Final = "33"
BARS: Final = "▁▂▃▄▅▆▇█"
PLAIN_BARS: Final = "_.-=+*%#"
_IMPORTANT: Final = (0, 1, 6, 5, 4, 3, 2)
"""Which columns there are where not all have room; what is left is the reason's."""
_STATE, _REASON = 1, 7
_NUMBERS: Final = frozenset({2, 3, 4, 5, 6})
_GAP: Final = 2
_LEAST_REASON: Final = 8
_LEAST_NAME: Final = 8
_LEAST_LIST, _LEAST_LOG = 3, 2
_DETAILS: Final = 3
_ROWS_WITH_TITLE, _ROWS_WITH_DETAILS = 5, 12
_KEYS: Final = "q quit  up/down select  r restart  s stop/start  l log"


def frame(
    view: View,
    seen: Seen,
    log: Sequence[str],
    *,
    columns: int,
    rows: int,
    colours: bool = True,
    bars: str = BARS,
) -> list[str]:
    """The whole screen, row by row.

    Args:
        view: what is looked at.
        seen: what is known.
        log: the last lines of the selected instance, fit to be shown.
        columns: how wide it is.
        rows: how high it is.
        colours: whether there are any.
        bars: from the lowest to the highest.
    """
    draw = _Drawing(columns, bars, colours=colours)
    drawn = [draw.title(seen)] if rows >= _ROWS_WITH_TITLE else []
    room = rows - len(drawn) - 1
    if view.log_only:
        drawn += draw.log(view.selected, log, room)
    else:
        drawn += draw.body(view, seen, log, room)
    drawn = drawn[: max(rows - 1, 0)]
    drawn += [" " * columns] * (rows - 1 - len(drawn))
    return [*drawn, draw.footer(view, seen)]


def spark(values: Sequence[float], columns: int, *, top: float, bars: str = BARS) -> str:
    """The latest values as bars, as high as ``top`` at most."""
    steps = len(bars) - 1
    return "".join(
        bars[round(max(0.0, min(value / top, 1.0)) * steps)] if top > 0 else bars[0]
        for value in values[max(0, len(values) - columns) :]
    )


class _Drawing:
    def __init__(self, columns: int, bars: str, *, colours: bool) -> None:
        self._columns = columns
        self._bars = bars
        self._colours = colours

    def title(self, seen: Seen) -> str:
        counts: dict[str, int] = {}
        for each in seen.instances:
            counts[each["state"]] = counts.get(each["state"], 0) + 1
        states = ", ".join(f"{count} {state}" for state, count in counts.items())
        return self._row(f"mainstay  {states or 'no apps'}", _BOLD)

    def footer(self, view: View, seen: Seen) -> str:
        if view.asked is not None:
            return self._row(f"{view.asked.do} {safe(view.asked.name)}? y/n", _INVERSE)
        if seen.missing:
            return self._row(seen.missing, _YELLOW)
        return self._row(view.said or _KEYS, _INVERSE if view.said else DIM)

    def body(self, view: View, seen: Seen, log: Sequence[str], room: int) -> Iterator[str]:
        details = _DETAILS if room >= _ROWS_WITH_DETAILS else 0
        head = int(room > _LEAST_LIST)
        most = room - head - details
        height = min(len(seen.instances), max(_LEAST_LIST, most // 2))
        if most - height - 1 < _LEAST_LOG:
            height = most  # a log of one line is worth less than two apps
        yield from self._list(view, seen, height, with_head=bool(head))
        if details:
            yield from self._details(view, seen)
        if most > height:
            yield from self.log(view.selected, log, most - height)

    def log(self, name: str, log: Sequence[str], room: int) -> Iterator[str]:
        """A rule with its name, and the last lines."""
        yield self._row(f"── log of {safe(name)} {'─' * self._columns}" if name else "", DIM)
        for line in log[len(log) - max(0, min(room - 1, len(log))) :]:
            yield self._row(line)

    def _list(self, view: View, seen: Seen, height: int, *, with_head: bool) -> Iterator[str]:
        names = list(seen.names)
        at = names.index(view.selected) if view.selected in names else 0
        first = max(0, min(at - height // 2, len(names) - height))
        rows = [_cells(each) for each in seen.instances]
        widths = self._widths(rows)
        if with_head:
            yield self._row("  " + _joined([cut(HEAD[n], wide) for n, wide in widths.items()]), DIM)
        for number in range(first, min(first + height, len(rows))):
            yield self._instance(rows[number], widths, selected=names[number] == view.selected)

    def _widths(self, rows: Sequence[Sequence[str]]) -> Mapping[int, int]:
        """How wide each column is, of those that have room."""
        widths: dict[int, int] = {}
        left = self._columns - 2
        for number in _IMPORTANT:
            wide = max((width(row[number]) for row in rows), default=0)
            wide = max(wide, width(HEAD[number]))
            if number == 0:
                wide = max(0, min(wide, max(_LEAST_NAME, self._columns // 3), left))
            elif wide + _GAP > left:
                break
            left -= wide + _GAP * bool(widths)
            widths[number] = wide
        if left >= _LEAST_REASON + _GAP:
            widths[_REASON] = left - _GAP
        return dict(sorted(widths.items()))

    def _instance(self, row: Sequence[str], widths: Mapping[int, int], *, selected: bool) -> str:
        shown = []
        for number, wide in widths.items():
            text = cut(row[number], wide)
            if number in _NUMBERS:
                text = " " * (width(text) - width(text.rstrip())) + text.rstrip()
            if number == _STATE and not selected:
                text = self._coloured(text, colour_of(row[_STATE]))
            shown.append(text)
        taken = sum(widths.values()) + _GAP * (len(widths) - 1) + 2
        drawn = ("> " if selected else "  ")[: self._columns] + _joined(shown) + " " * (self._columns - taken)
        return self._coloured(drawn, _INVERSE) if selected else drawn

    def _details(self, view: View, seen: Seen) -> Iterator[str]:
        each = next((each for each in seen.instances if each["name"] == view.selected), None)
        if each is None:
            yield from [" " * self._columns] * _DETAILS
            return
        lost = sum(log["dropped_lines"] for log in each["output"])
        trouble = next((log["trouble"] for log in each["output"] if log["trouble"]), "")
        said = "; ".join(
            part
            for part in (
                each["detail"],
                each["status"],
                f"last ended: {each['ended']}" if each["ended"] else "",
                f"the log is not written: {trouble}" if trouble else "",
                f"{lost} lines of the log were lost" if lost else "",
            )
            if part
        )
        yield self._row(f"── {safe(each['name'])}: {each['state']}{f' ({safe(said)})' if said else ''}")
        cpu, memory = seen.cpu.get(each["name"], ()), seen.memory.get(each["name"], ())
        yield self._history("CPU", f"{cpu[-1] if cpu else 0:.1f}%", cpu, top=max(100.0, *cpu, 0.0))
        yield self._history("memory", size(memory[-1] if memory else 0), memory, top=max((*memory, 1.0)))

    def _history(self, what: str, now: str, values: Sequence[float], *, top: float) -> str:
        return self._row(f"   {what:<7}{now:>10}  {spark(values, self._columns - 23, top=top, bars=self._bars)}")

    def _row(self, text: str, colour: str = "") -> str:
        return self._coloured(cut(text.replace("\n", " "), self._columns), colour)

    def _coloured(self, text: str, colour: str) -> str:
        return coloured(text, colour) if self._colours else text


def _cells(each: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(safe(cell).replace("\n", " ") for cell in cells(each))


def _joined(cells: Sequence[str]) -> str:
    return (" " * _GAP).join(cells)
