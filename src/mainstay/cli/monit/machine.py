"""What does a key, or an answer of the daemon, change about the view? Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from mainstay.cli.monit.model import KEPT, Order, Quit, Seen, View

__all__ = ["heard", "missed", "pressed", "settled"]

_AT_REST: Final = frozenset({"stopped", "errored", "exited"})
_STEPS: Final = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -10, "page down": 10}
_FAR: Final = {"home": 0, "g": 0, "end": -1, "G": -1}


def pressed(view: View, key: str, seen: Seen) -> tuple[View, Order | Quit | None]:
    """The view after a key, and what is to be done."""
    if view.asked is not None:
        order = view.asked if key in ("y", "Y") else None
        return replace(view, asked=None, said="" if order else f"{view.asked.name} goes on as it is"), order
    if key == "q":
        return view, Quit()
    if key in ("l", "enter") or (key == "escape" and view.log_only):
        return replace(view, log_only=not view.log_only and bool(view.selected), said=""), None
    if key in _STEPS or key in _FAR:
        return replace(_moved(view, key, seen.names), said=""), None
    if key in ("r", "s"):
        return _ordered(view, key, seen)
    return view, None


def _moved(view: View, key: str, names: Sequence[str]) -> View:
    if not names:
        return view
    if key in _FAR:
        return replace(view, selected=names[_FAR[key]])
    at = names.index(view.selected) + _STEPS[key] if view.selected in names else 0
    return replace(view, selected=names[max(0, min(at, len(names) - 1))])


def _ordered(view: View, key: str, seen: Seen) -> tuple[View, Order | None]:
    found = next((each for each in seen.instances if each["name"] == view.selected), None)
    if found is None or seen.missing:
        return replace(view, said="there is nobody to ask"), None
    if key == "r":
        order = Order(do="restart", name=view.selected)
        return replace(view, said=f"restarting {view.selected}"), order
    do = "start" if found["state"] in _AT_REST else "stop"
    return replace(view, asked=Order(do=do, name=view.selected), said=""), None


def heard(seen: Seen, answer: Sequence[Mapping[str, Any]]) -> Seen:
    """The daemon has answered."""
    return Seen(
        instances=tuple(answer),
        cpu={each["name"]: _more(seen.cpu, each, "cpu_percent") for each in answer},
        memory={each["name"]: _more(seen.memory, each, "memory_bytes") for each in answer},
    )


def missed(seen: Seen, why: str) -> Seen:
    """It has not; what it said before is still worth a look."""
    return replace(seen, missing=why)


def _more(before: Mapping[str, Sequence[float]], each: Mapping[str, Any], what: str) -> Sequence[float]:
    return (*before.get(each["name"], ())[1 - KEPT :], float(each[what] or 0.0))


def settled(view: View, seen: Seen) -> View:
    """The view, where what was selected or asked for may be gone."""
    names = seen.names
    if view.selected not in names:
        view = replace(view, selected=names[0] if names else "", log_only=view.log_only and bool(names))
    if view.asked is not None and view.asked.name not in names:
        view = replace(view, asked=None)
    return view
