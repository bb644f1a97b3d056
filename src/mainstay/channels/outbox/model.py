"""What is an outcome that waits to be told, or to be asked for?"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from mainstay.messages import Finished, Message, Outcome

__all__ = ["Backlog", "Showing", "Stored", "TryLater", "Undeliverable", "body_of", "showing_of"]

Body = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An outcome as it is kept.

    Attributes:
        body: all of it that a person or a program may want to know, see `body_of`.
    """

    seq: int
    turn_id: str
    message: Message
    body: Body
    tries: int
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Showing:
    """One try to show an outcome.

    Attributes:
        key: the same at each try, and at no other outcome: for a platform that recognises a repetition by it.
        message: what is answered.
        outcome: how it ended.
        text: the answer; of a failure what is worth keeping of it, or nothing.
        notice: one line of ours under the text, or in place of it; empty if there is nothing to be said.
        tries: counts this one, too.
        retryable: whether the person may have it tried again; that is `Message.again`, to be accepted.
    """

    key: str
    message: Message
    outcome: Outcome
    text: str
    notice: str
    tries: int
    retryable: bool

    @property
    def said(self) -> str:
        """Text and notice, for a platform that knows only text; empty if the message was taken back."""
        return "\n\n".join(part for part in (self.text, self.notice) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits to be shown. ``retrying``: how many of them could not be shown at least once."""

    pending: int = 0
    retrying: int = 0
    next_due_s: float | None = None


class TryLater(Exception):
    """An outcome can not be shown now. ``after_s``: how long the platform wants to be left alone, if it said so."""

    def __init__(self, reason: str, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class Undeliverable(Exception):
    """An outcome can never be shown: the chat is gone."""


def body_of(final: Finished, suggestions: tuple[str, ...] = ()) -> Body:
    """An outcome as plain JSON values."""
    return {
        "outcome": final.outcome.value,
        "text": final.text,
        "notice": final.notice,
        "category": final.category.value if final.category else None,
        "retryable": final.offers_retry,
        "agent": final.agent,
        "model": final.model,
        "hops": [
            {"from": hop.from_model, "to": hop.to_model, "category": hop.category.value} for hop in final.hops
        ],
        "usage": [
            {
                "model": used.model,
                "input_tokens": used.input_tokens,
                "output_tokens": used.output_tokens,
                "cost": None if used.cost is None else str(used.cost),
                "estimated": used.estimated,
            }
            for used in final.usage
        ],
        "suggestions": list(suggestions),
    }


def showing_of(stored: Stored, tries: int) -> Showing:
    """The next try to show it."""
    body = stored.body
    return Showing(
        key=stored.turn_id,
        message=stored.message,
        outcome=Outcome(cast("str", body["outcome"])),
        text=str(body["text"]),
        notice=str(body["notice"]),
        tries=tries,
        retryable=bool(body.get("retryable")),
    )
