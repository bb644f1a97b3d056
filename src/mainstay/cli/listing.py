"""``mainstay list`` and ``mainstay describe``: what runs, and how is it?"""

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import Any

from mainstay.cli.running import configured
from mainstay.cli.supervised import daemon
from mainstay.cli.terminal import safe, table
from mainstay.units import format_duration

__all__ = ["add", "listing"]


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verbs."""
    parser = verbs.add_parser("list", aliases=["ls", "status"], help="what runs, and how is it? also: ls, status")
    parser.add_argument("--json", action="store_true", help="all that is known, for programs")
    parser.set_defaults(run=run_list)
    parser = verbs.add_parser("describe", aliases=["show"], help="all that is known about an app; also: show")
    parser.add_argument("names", nargs="+", metavar="NAME", help="an app (web), or one instance of it (web:0)")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run_describe)


def run_list(args: argparse.Namespace) -> int:
    """Show the table."""
    with daemon(configured(args)) as talk:
        answer = talk.ask("list", names=[])
    print(json.dumps(answer, indent=2, ensure_ascii=False) if args.json else listing(answer))
    return 0


def run_describe(args: argparse.Namespace) -> int:
    """Show the details of each instance."""
    with daemon(configured(args)) as talk:
        answer = talk.ask("list", names=args.names)
    if args.json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        print("\n\n".join("\n".join(_details(each)) for each in answer))
    return 0


def listing(instances: Sequence[dict[str, Any]]) -> str:
    """One line for each instance."""
    head = ("APP", "STATE", "PID", "UP", "RESTARTS", "CPU", "MEMORY", "REASON")
    return table([head, *(_row(each) for each in instances)])


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    return (
        each["name"],
        each["state"],
        str(each["pid"] or "-"),
        format_duration(round(each["uptime_s"])) if each["pid"] else "-",
        str(each["restarts"]),
        f"{each['cpu_percent']:.1f}%" if each["cpu_percent"] is not None else "-",
        f"{each['memory_bytes'] / 2**20:.1f} MiB" if each["memory_bytes"] is not None else "-",
        each["detail"] or each["status"],
    )


def _details(each: dict[str, Any]) -> Iterator[str]:
    for name, value in each.items():
        if name == "history":
            yield "history"
            for restart in value:
                up = format_duration(round(restart["uptime_s"], 1))
                yield safe(f"  {restart['at']}  {restart['reason']}: {restart['detail']}, after {up}")
                yield from (safe(f"    | {line}") for line in restart.get("stacks", "").splitlines())
        elif name == "probes":
            yield from (safe(f"{probe['probe']:<14}{_verdict(probe)}") for probe in value)
        else:
            yield safe(f"{name:<14}{value if value is not None else '-'}")


def _verdict(probe: dict[str, Any]) -> str:
    if probe["last_at"] is None:
        return "not asked yet"
    verdict = {True: "passes", False: "fails", None: "not decided yet"}[probe["passes"]]
    since = f" since {probe['since']}" if probe["since"] else ""
    return f"{verdict}{since}; at {probe['last_at']}: {probe['last']}"
