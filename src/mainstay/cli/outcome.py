"""How is an outcome told in one line: who answered, with what, and after whom?"""

from collections.abc import Mapping
from typing import Any

from mainstay.cli.terminal import safe
from mainstay.messages import Outcome

__all__ = ["summary"]


def summary(outcome: Mapping[str, Any]) -> str:
    """Of what ``ask --json`` and ``chat --json`` print."""
    who = safe(outcome.get("agent") or "") or "somebody"
    model = f" with model {safe(outcome['model'])}" if outcome.get("model") else ""
    hops = "".join(f", after {safe(hop['category'])} from {safe(hop['from'])}" for hop in outcome.get("hops", ()))
    seconds = f" in {outcome['seconds']:.2f} s" if "seconds" in outcome else ""
    match outcome["outcome"]:
        case Outcome.ANSWERED:
            return f"{who} answered{model}{seconds}{hops}"
        case Outcome.CANCELLED:
            return f"taken back{seconds}"
        case how:
            return f"{who} {safe(str(how))}{model}{seconds}{hops}"
