"""How is what is known about an instance written for people?

The names of what is known are those of the daemon's answer, see `mainstay.supervisor.verbs`.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from mainstay.cli.terminal import DIM, coloured, safe, table, width
from mainstay.units import format_duration

__all__ = ["HEAD", "Known", "cells", "colour_of", "details", "listing", "size", "troubles", "uptime", "why_not"]

Known = Mapping[str, Any]
"""One instance, as `mainstay list --json` has it."""

_GREEN, _YELLOW, _RED = "32", "33", "31"
_COLOURS: Final[Mapping[str, str]] = {
    "ready": _GREEN,
    "starting": _YELLOW,
    "stopping": _YELLOW,
    "unhealthy": _YELLOW,
    "backoff": _YELLOW,
    "errored": _RED,
    "stopped": DIM,
    "exited": DIM,
}
HEAD: Final = ("APP", "STATE", "PID", "UP", "RESTARTS", "CPU", "MEMORY", "REASON")
_STATE: Final = 1
_UNITS: Final = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))
_HOUR_S: Final = 3600
_DAY_S: Final = 86400
_BRIEF_S: Final = 60
_INDENT: Final = 12


def colour_of(state: str) -> str:
    """The colour in which a state is shown, see `mainstay.cli.terminal.coloured`."""
    return _COLOURS.get(state, "")


def size(size_bytes: float | None) -> str:
    """With one digit after the point: ``23.4 MiB``."""
    if size_bytes is None:
        return "-"
    for unit, factor in _UNITS:
        if size_bytes >= factor:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes:.0f} B"


def uptime(seconds: float) -> str:
    """Its two largest units: ``3d4h``, ``12m5s``."""
    whole = int(seconds)
    whole -= whole % (3600 if whole >= _DAY_S else 60 if whole >= _HOUR_S else 1)
    return format_duration(whole)


def _share(percent: float | None) -> str:
    return f"{percent:.1f}%" if percent is not None else "-"


def listing(instances: Sequence[Known], *, colours: bool = False) -> str:
    """A line for each instance, and below them what is wrong with the logs."""
    rows = table([HEAD, *map(cells, instances)], paint={_STATE: colour_of} if colours else None)
    return "\n".join((rows, *troubles(instances)))


def cells(each: Known) -> tuple[str, ...]:
    """What a table says of it, under `HEAD`."""
    return (
        each["name"],
        each["state"],
        str(each["pid"] or "-"),
        uptime(each["uptime_s"]) if each["pid"] else "-",
        str(each["restarts"]),
        _share(each["cpu_percent"]),
        size(each["memory_bytes"]),
        each["detail"] or each["status"],
    )


def troubles(instances: Sequence[Known]) -> Iterator[str]:
    """What is wrong with the logs just now, a line for each."""
    for each in instances:
        for log in each["output"]:
            if log["trouble"]:
                yield safe(f"{each['name']}: {log['path']} is not written, its lines are lost: {log['trouble']}")


def why_not(instances: Sequence[Known], *, waited: bool) -> Iterator[str]:
    """Why those that were to run do not, a line for each; one that is started again may only not run yet."""
    for each in instances:
        if each["state"] == "errored" or (waited and each["state"] == "backoff"):
            name = each["name"]
            again = f", `mainstay start {name}` tries again at once" if each["state"] == "backoff" else ""
            yield f"{name} does not run: {each['detail']}; `mainstay logs {name}` shows what it said{again}"


def details(each: Known, *, colours: bool = False) -> str:
    """Everything about one instance."""
    state = coloured(each["state"], colour_of(each["state"])) if colours else each["state"]
    since = f" since {each['since']}" if each["since"] else ""
    lines = [f"{each['name']}: {state}{since}{_because(each)}"]
    for name, value in _fields(each):
        lines.append(f"  {name}{' ' * (_INDENT - width(name))}{value}")
    return "\n".join((*lines, *_probes(each), *_logs(each), *_history(each)))


def _because(each: Known) -> str:
    return safe(f" ({each['detail']})").replace("\n", " ") if each["detail"] else ""


def _fields(each: Known) -> Iterator[tuple[str, str]]:
    yield "command", safe(shlex.join(each["command"])).replace("\n", " ")
    if each["pid"]:
        processes = f" and {each['processes'] - 1} more" if (each["processes"] or 1) > 1 else ""
        yield "pid", f"{each['pid']}{processes}, up for {uptime(each['uptime_s'])}"
        yield "uses", f"{size(each['memory_bytes'])} of memory, {_share(each['cpu_percent'])} of a core"
    if each["status"]:
        yield "says", safe(each["status"]).replace("\n", " ")
    yield "restarts", str(each["restarts"])
    if each["ended"]:
        yield "last ended", safe(each["ended"])


def _probes(each: Known) -> Iterator[str]:
    for probe in each["probes"]:
        yield safe(f"  {probe['probe']:<{_INDENT}}{_verdict(probe)}")


def _verdict(probe: Mapping[str, Any]) -> str:
    if probe["last_at"] is None:
        return "not asked yet"
    verdict = {True: "passes", False: "fails", None: "not decided yet"}[probe["passes"]]
    since = f" since {probe['since']}" if probe["since"] else ""
    return f"{verdict}{since}; at {probe['last_at']}: {probe['last']}"


def _logs(each: Known) -> Iterator[str]:
    for log in each["output"]:
        yield safe(f"  {log['stream'] + ' log':<{_INDENT}}{log['path']}")
        if log["trouble"]:
            yield safe(f"  {'':<{_INDENT}}is not written now: {log['trouble']}")
        if log["dropped_bytes"]:
            lost = f"{log['dropped_lines']} lines ({size(log['dropped_bytes'])})"
            yield f"  {'':<{_INDENT}}{lost} could not be written since the supervisor was started"


def _history(each: Known) -> Iterator[str]:
    for number, restart in enumerate(each["history"]):
        name = "" if number else "history"
        ran_s = restart["uptime_s"]
        after = f"after {format_duration(round(ran_s, 1)) if ran_s < _BRIEF_S else uptime(ran_s)}"
        yield safe(f"  {name:<{_INDENT}}{restart['at']}  {restart['reason']}: {restart['detail']}, {after}")
        yield from (safe(f"  {'':<{_INDENT}}| {line}") for line in restart.get("stacks", "").splitlines())
