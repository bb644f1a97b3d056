"""What is a turn that is being worked on, and what may be set about it?"""

from dataclasses import dataclass
from typing import Literal

from mainstay.settings import duration, setting

__all__ = ["CutOff", "GiveUp", "Go", "TurnSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnSettings:
    """The section ``[turns]``."""

    concurrency: int = setting(32, help="How many conversations are answered at the same time.")
    start_interval: float = duration(
        "20ms",
        help="The shortest time between the starts of two answers: a burst must not hold up acknowledgements.",
    )
    max_crashes: int = setting(
        5, help="When the process has died this often while answering a message, its author is told that it failed."
    )
    max_wait: float = duration(
        "15m", help="A message that waited longer than this (the service was down) is answered with an apology."
    )
    retry_window: float = duration(
        "1d",
        help='How long after a failure the "Try again" on its card works; what its tools did is kept for as long.',
    )
    poll_interval: float = duration("1s", help="How often the inbox is looked at when nothing announces work.")


@dataclass(frozen=True, slots=True)
class Go:
    """Let the responder answer."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Tell the person at once that it failed.

    Attributes:
        reason: ``"crashes"``: the process died each time it was tried; ``"age"``: nobody was there in time.
    """

    reason: Literal["crashes", "age"]


CutOff = Literal["drain", "lease_lost", "recalled", "storage"]
"""Why an attempt ends without an answer of its own.

The service stops; another worker has the message; its author took it back; the database is away.
"""
