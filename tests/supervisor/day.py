"""What happens in a day of supervised programs?

It follows from a seed, so that a day that showed something can be had again: what the programs do, what their users
ask for, and who is killed.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["APPS", "LIMITS", "READY_S", "WATCHDOG_S", "Deed", "day"]

WATCHDOG_S = 2.0
READY_S = 8.0
LIMITS = {"busy": 4, "loop": 3}
"""So many restarts without somebody who asks for them."""

APPS: dict[str, dict[str, Any]] = {
    "web": {
        "instances": 2,
        "ready": "notify",
        "ready_timeout": f"{READY_S}s",
        "watchdog": f"{WATCHDOG_S}s",
        "memory_limit": "64MiB",
    },
    "worker": {"instances": 2, "log_compress": False},
    "busy": {"restart_intensity": LIMITS["busy"]},
    "loop": {"max_restarts": LIMITS["loop"], "min_uptime": "600s"},
}
_UNLIMITED = ("web:0", "web:1", "worker:0", "worker:1")
_WATCHED = ("web:0", "web:1")
_ARGUMENTS = {"exit": (0, 1, 7), "die": (6, 9, 11), "leak": (80,), "flood": range(5, 60)}
_EVERY_S = 0.45


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """One thing that happens.

    Attributes:
        at_s: after the beginning.
        verb: what a troublemaker is told, what is asked of the daemon, ``kill`` or ``freeze`` for a signal to the
            program, or ``daemon`` for the end of the daemon.
        name: of the instance.
        argument: of what a troublemaker is told; of ``daemon`` how long there is none.
        meanwhile: what else happens while there is no daemon, or at the same moment.
    """

    at_s: float
    verb: str
    name: str = ""
    argument: float = 0
    meanwhile: tuple["Deed", ...] = ()


def day(seed: int, seconds: float, *, reloads: bool) -> list[Deed]:
    """The one of this seed, and so long; each kind of deed once at least, if it is long enough for that."""
    chance = random.Random(seed)
    return sorted(_deeds(chance, seconds, reloads=reloads), key=lambda deed: deed.at_s)


def _deeds(chance: random.Random, seconds: float, *, reloads: bool) -> Iterator[Deed]:
    kinds = ["exit", "die", "hang", "freeze", "leak", "flood", "away", "deaf", "kill", "stop", "restart", "busy"]
    kinds += ["loop", "daemon", "daemon and program", "daemon and deed", "stop and daemon"] + ["reload"] * reloads
    at_s = 0.5
    first = chance.sample(kinds, len(kinds))
    while at_s < seconds:
        yield from _deed(chance, first.pop() if first else chance.choice(kinds), at_s)
        at_s += chance.uniform(0.2, 2.0) * _EVERY_S


def _deed(chance: random.Random, kind: str, at_s: float) -> Iterator[Deed]:
    away_s, back_s = chance.choice((0.0, 0.1, 0.8)), at_s + chance.uniform(0.2, 2.0)
    match kind:
        case "daemon" | "daemon and program" | "daemon and deed":
            yield Deed(at_s=at_s, verb="daemon", argument=away_s, meanwhile=_meanwhile(chance, kind, at_s))
        case "stop" | "stop and daemon":
            stop = _plain(chance, "stop", at_s)
            yield stop
            if kind == "stop and daemon":
                yield Deed(at_s=at_s + 1e-6, verb="daemon", argument=away_s)
            yield replace(stop, verb="start", at_s=back_s)
        case "busy":
            yield Deed(at_s=at_s, verb=chance.choice(("exit", "die")), name="busy:0", argument=9)
            if chance.random() < 0.3:
                yield Deed(at_s=back_s, verb="start", name="busy:0")
        case "loop":
            yield Deed(at_s=at_s, verb="start", name="loop:0")
        case _:
            yield _plain(chance, kind, at_s)


def _plain(chance: random.Random, verb: str, at_s: float) -> Deed:
    name = chance.choice(_WATCHED if verb in ("hang", "freeze", "leak") else _UNLIMITED)
    return Deed(at_s=at_s, verb=verb, name=name, argument=chance.choice(_ARGUMENTS.get(verb, (0,))))


def _meanwhile(chance: random.Random, kind: str, at_s: float) -> tuple[Deed, ...]:
    if kind == "daemon":
        return ()
    verb = "kill" if kind == "daemon and program" else chance.choice(("exit", "die", "flood", "away", "hang"))
    return (_plain(chance, verb, at_s),)
