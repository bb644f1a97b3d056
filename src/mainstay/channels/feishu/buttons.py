"""What can be pressed on a card?

A button carries which turn it is about and what is wished for, and nothing else: what is done about it is read from
our own storage (`mainstay.channels.feishu.press`), because what a press says comes from outside.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from mainstay.channels.characters import well_formed
from mainstay.channels.feishu.envelope import Json
from mainstay.channels.feishu.graphemes import border_before
from mainstay.recovery.notices import Language

__all__ = ["MAX_SUGGESTIONS", "feedback_buttons", "kept_suggestions", "retry_button", "stop_button", "suggestions"]

MAX_SUGGESTIONS: Final = 5
_SUGGESTION_CHARS: Final = 60
_RETRY: Final[Mapping[Language, str]] = {"en": "Try again", "zh": "重试"}
_STOP: Final[Mapping[Language, str]] = {"en": "Stop", "zh": "停止"}


def kept_suggestions(texts: Sequence[str]) -> tuple[str, ...]:
    """What of these can be offered: no more than 5, none twice or empty, each on one line and of 60 characters."""
    kept: dict[str, None] = {}
    for text in texts:
        line = " ".join(well_formed(text).split())
        kept[line[: border_before(line, _SUGGESTION_CHARS)]] = None
    kept.pop("", None)
    return tuple(kept)[:MAX_SUGGESTIONS]


def retry_button(turn_id: str, language: Language) -> Json:
    """Asks for another try."""
    return _button("retry", _RETRY[language], {"action": "retry", "turn": turn_id}, kind="primary")


def stop_button(turn_id: str, language: Language) -> Json:
    """Ends an answer that is being written."""
    return _button("stop", _STOP[language], {"action": "stop", "turn": turn_id})


def suggestions(turn_id: str, texts: Sequence[str]) -> list[Json]:
    """One button for each question that may come next."""
    return [
        _button(f"ask{number}", text, {"action": "ask", "turn": turn_id, "choice": str(number)})
        for number, text in enumerate(texts)
    ]


def feedback_buttons(turn_id: str) -> Json:
    """Two, side by side, to say that an answer was good or bad."""
    columns = [
        {
            "tag": "column",
            "width": "auto",
            "elements": [_button(vote, sign, {"action": "feedback", "turn": turn_id, "choice": vote}, kind="text")],
        }
        for vote, sign in (("up", "👍"), ("down", "👎"))
    ]
    return {"tag": "column_set", "element_id": "feedback", "flex_mode": "none", "columns": columns}


def _button(element_id: str, label: str, value: Mapping[str, str], *, kind: str = "default") -> Json:
    return {
        "tag": "button",
        "element_id": element_id,
        "text": {"tag": "plain_text", "content": label},
        "type": kind,
        "behaviors": [{"type": "callback", "value": dict(value)}],
    }
