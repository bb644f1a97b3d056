"""How well does the platform do what the bot asks of it? Pure."""

from typing import Literal

from mainstay.channels.feishu.governor.model import Mode
from mainstay.channels.feishu.machine import Action, Refusal
from mainstay.units import format_duration

__all__ = ["standing"]

Status = Literal["ok", "degraded", "down"]


def standing(
    recent: Refusal | None, *, last: Refusal | None, connected: bool, pause_s: float, mode: Mode, retrying: int
) -> tuple[Status, str]:
    """How it is, and why.

    Args:
        recent: the last thing that was refused, if that was not long ago.
        last: the same, however long ago.
        connected: there is a token, and it is known who the bot is.
        pause_s: for how long the platform is left alone.
        mode: how it stands with the month's calls.
        retrying: how many outcomes were refused at least once.
    """
    if last and last.action is Action.CONFIGURE and not connected:
        return "down", f"the platform does not accept the app: {last.reason}"
    if round(pause_s, 1):
        why = f": {last.reason}" if last else ""
        return "degraded", f"the platform is left alone for {format_duration(round(pause_s, 1))} more{why}"
    if not connected:
        return "degraded", f"not connected: {last.reason}" if last else "connecting"
    if mode is Mode.EXHAUSTED:
        return "degraded", "this month's API calls are used up: nothing is streamed, outcomes are late or lost"
    if recent and recent.action is Action.CONFIGURE:
        return "degraded", recent.reason
    if retrying:
        return "degraded", f"{retrying} outcomes can not be shown yet"
    if mode is Mode.STRETCHED:
        return "ok", "most of this month's API calls are used: cards are updated less often"
    return "ok", ""
