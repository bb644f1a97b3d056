"""Is this attempt worth making, and what did it come to?

Pure: the runner does what is said here. An outcome exists from the moment that a `Finished` is made; whatever
ended the attempt (an answer, a bug, a deadline, a recall) becomes one, except where another attempt will follow.
"""

import json
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from mainstay.errors import Category
from mainstay.inbox.model import Claim
from mainstay.messages import (
    AnswerEvent,
    Finished,
    HandedOver,
    Message,
    ModelAsked,
    Outcome,
    Status,
    Suggestions,
    TextAppended,
    TextReplaced,
    ToolFinished,
    ToolStarted,
)
from mainstay.recovery import notices
from mainstay.turns.model import GiveUp, Go, TurnSettings

__all__ = ["Transcript", "consider", "crowd_notice", "describe", "said_in", "steps_kept_after", "without"]

_MARGIN: Final = timedelta(hours=1)  # for whatever lies between the acceptance of a try and its beginning


def consider(claim: Claim, settings: TurnSettings) -> Go | GiveUp:
    """Decide whether to run the responder once more.

    A message with which worker after worker vanished is presumed to be the cause (a "poison" message); one that
    waited too long is no longer worth a model's answer. Both get an outcome all the same. What a drain cut off
    counts as no crash.
    """
    if claim.crashes >= settings.max_crashes:
        return GiveUp("crashes")
    if claim.waited_s > settings.max_wait:
        return GiveUp("age")
    return Go()


def steps_kept_after(now: datetime, settings: TurnSettings) -> datetime:
    """Steps that are kept for another try since before then will never be needed.

    A try is accepted within the window, and not begun when it has waited for too long.
    """
    return now - timedelta(seconds=settings.retry_window + settings.max_wait) - _MARGIN


def said_in(message: Message) -> tuple[tuple[str, str], ...]:
    """``(external_id, text)`` of each message that is answered here; none of an event, which nobody said."""
    return message.parts or (((message.target_id, message.text),) if message.target_id else ())


def without(message: Message, recalled: Collection[str]) -> Message | None:
    """What is left of a message when some of what is answered together was taken back; None if nothing is."""
    said = said_in(message)
    left = tuple(part for part in said if part[0] not in recalled)
    if len(left) == len(said):
        return message
    return message.joined(left) if left else None


def crowd_notice(message: Message) -> Message | None:
    """What the person is told when more is said than is answered one by one; in a group it would only add to it."""
    if not message.may_join or message.kind != "message" or message.chat_type != "p2p":
        return None
    notice = notices.many(notices.language_of(message.text))
    event = replace(message, kind="event", external_id="many", thread_id="many", reply_in_thread=False)
    return replace(event, text="", context="", quotes="", notice=notice)


class Transcript:
    """What a responder has said so far, folded event by event."""

    def __init__(self) -> None:
        self.text = ""
        self.agent = ""
        self.final: Finished | None = None

    def add(self, event: AnswerEvent) -> None:
        """Take the next event; whatever follows a `Finished` is ignored."""
        if self.final is not None:
            return
        match event:
            case TextAppended(text):
                self.text += text
            case TextReplaced(text):
                self.text = text
            case HandedOver():
                self.agent = event.to_agent
            case Finished():
                self.final = event
            case Status() | ModelAsked() | ToolStarted() | ToolFinished() | Suggestions():
                pass

    def failed(self, category: Category, notice: str, *, retryable: bool) -> Finished:
        """The outcome of an attempt that did not end by itself: what was shown is kept."""
        return Finished(
            outcome=Outcome.FAILED,
            text=self.text,
            notice=notice,
            category=category,
            agent=self.agent,
            retryable=retryable,
        )

    def recalled(self) -> Finished:
        """The outcome of a message that its author took back."""
        return Finished(outcome=Outcome.CANCELLED, category=Category.CANCELLED, agent=self.agent)


def describe(final: Finished, *, seconds: float) -> str:
    """The outcome's details as JSON, kept with the inbox row for whoever asks how it went."""
    return json.dumps(
        {
            "agent": final.agent,
            "model": final.model,
            "category": final.category,
            "retryable": final.offers_retry,
            "seconds": round(seconds, 3),
            "hops": [{"from": hop.from_model, "to": hop.to_model, "category": hop.category} for hop in final.hops],
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
        },
        ensure_ascii=False,
    )
