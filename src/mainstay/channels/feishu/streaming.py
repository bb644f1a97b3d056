"""What may be written on a card next, and what if the platform refuses an update while it streams?

Sequences only grow, over all attempts at a turn: those of a later attempt are higher than all of an earlier one,
and that of an outcome is higher than all that its attempt has streamed. Pure.
"""

from dataclasses import dataclass
from typing import Final

from mainstay.channels.feishu.machine import Action, Refusal, Retry, backoff

__all__ = [
    "LAST_SEQUENCE",
    "Mute",
    "Renew",
    "Reopen",
    "Resync",
    "final_sequence",
    "replaceable",
    "stream_sequence",
    "while_streaming",
]

SEQUENCES_PER_ATTEMPT: Final = 65536
_FINAL_FROM: Final = 32768
LAST_SEQUENCE: Final = 2**31 - 1
"""Nothing is written after it."""
_MAX_REOPENED: Final = 6  # an hour of answering; the platform closes a stream after 10 minutes
_MAX_RESYNCED: Final = 3
_MAX_GENERATIONS: Final = 3


def replaceable(refusal: Refusal, generation: int) -> bool:
    """Whether a card that was refused gives way to another one; ``generation``: how many did so before it."""
    return refusal.action is Action.REPLACE and generation < _MAX_GENERATIONS


def stream_sequence(attempt: int, n: int) -> int:
    """The sequence of the n-th update (from 1) that an attempt makes while it streams; 0 when there is none left.

    A later attempt is always higher, so the platform itself refuses a worker that has lost its lease.
    """
    if not 0 < n < _FINAL_FROM:
        return 0
    return min(attempt * SEQUENCES_PER_ATTEMPT + n, LAST_SEQUENCE)


def final_sequence(attempt: int, tries: int) -> int:
    """The sequence of a try (from 1) to write the outcome.

    Higher than everything that the attempt streamed, and than every earlier try, which may have got through.
    """
    within = min(_FINAL_FROM + tries, SEQUENCES_PER_ATTEMPT - 1)
    return min(attempt * SEQUENCES_PER_ATTEMPT + within, LAST_SEQUENCE)


@dataclass(frozen=True, slots=True)
class Reopen:
    """Switch streaming on again."""


@dataclass(frozen=True, slots=True)
class Resync:
    """Go on with a sequence that is so much higher."""

    ahead: int


@dataclass(frozen=True, slots=True)
class Renew:
    """Make another card, and show it instead."""


@dataclass(frozen=True, slots=True)
class Mute:
    """Stop streaming; the outcome will be written as a whole."""


def while_streaming(
    refusal: Refusal,
    *,
    refused: int,
    reopened: int,
    resynced: int,
    generation: int,
    base_s: float,
    cap_s: float,
) -> Retry | Reopen | Resync | Renew | Mute:
    """What a refused update of a streaming card leads to.

    Updates are a courtesy: what can not be had by waiting is left to the outcome. A worker that has lost its lease
    stays behind its successor however far it jumps, because it jumps within the sequences of its own attempt.

    Args:
        refusal: what the platform said.
        refused: the refusals in a row, this one included.
        reopened: how often streaming was switched on again already.
        resynced: how often the sequence jumped already.
        generation: see `replaceable`.
        base_s: see `backoff`.
        cap_s: see `backoff`.
    """
    match refusal.action:
        case Action.WAIT | Action.PRESSED | Action.REFRESH:
            return Retry(backoff(refused, base_s=base_s, cap_s=cap_s, at_least_s=refusal.wait_s))
        case Action.REOPEN if reopened < _MAX_REOPENED:
            return Reopen()
        case Action.SUPERSEDED if resynced < _MAX_RESYNCED:
            return Resync(_FINAL_FROM // 8)
        case Action.REPLACE if replaceable(refusal, generation):
            return Renew()
        case _:
            return Mute()
