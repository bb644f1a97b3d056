"""What does a card say, and what does it say when the platform would not take it?

A card has up to six elements: ``answer`` (the model's Markdown, but for what `mainstay.channels.feishu.markdown`
changes), ``continued`` (only where the answer goes on in the next message), ``notice`` (one line of ours, only in
an outcome), ``status`` (what is going on; in an outcome who answered, if that is wanted), and what can be pressed.

An answer that is too long for a card goes on in further cards. Where the platform takes no card it is a post, which
shows Markdown too, or else one text, which can hold 150 KB; beyond that the end is cut off, and the text says so.
While it streams, a card shows as much of the answer as it can hold.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

import orjson

from mainstay.channels.feishu.envelope import Json
from mainstay.channels.feishu.graphemes import border_before
from mainstay.channels.feishu.markdown import closed, head, literal, pages, presentable, safe
from mainstay.messages import Outcome
from mainstay.recovery.notices import Language

__all__ = [
    "ANSWER",
    "CARD_LIMIT",
    "STATUS",
    "TEXT_LIMIT",
    "card_message",
    "ended_card",
    "final_cards",
    "fits",
    "footer_of",
    "outcome_text",
    "part_of",
    "post_message",
    "streamed",
    "streaming_card",
    "streaming_settings",
    "summary_of",
    "text_message",
]

ANSWER: Final = "answer"
STATUS: Final = "status"
CARD_LIMIT: Final = 28 * 1024
TEXT_LIMIT: Final = 140 * 1024
"""Bytes of JSON; a margin under the platform's 30 KB and 150 KB."""

_FRAME: Final = 6 * 1024
"""Bytes of a card that are kept free for what is in no text: the settings, the summary, whatever can be pressed."""
_MAX_CARDS: Final = 12
_EMPTY: Final = "…"
_CUT: Final[Mapping[Language, str]] = {
    "en": "\n\n[The rest did not fit into a message and was cut off here.]",
    "zh": "\n\n[内容过长，其余部分已省略。]",
}
_CONTINUED: Final[Mapping[Language, str]] = {"en": "Continued below ↓", "zh": "下接下一条 ↓"}
_POLICY: Final[Mapping[Language, str]] = {
    "en": "The answer can not be shown: the platform's content policy refused it.",
    "zh": "回答无法显示：未通过平台的内容审核。",
}
_STOPPED: Final[Mapping[Language, str]] = {"en": "Stopped, as you asked.", "zh": "已按您的要求停止。"}
_FAILED: Final[Mapping[Language, str]] = {
    "en": "Sorry, this could not be answered.",
    "zh": "抱歉，这条消息未能得到回答。",
}
_NOTHING: Final[Mapping[Language, str]] = {"en": "There is nothing to add.", "zh": "没有需要补充的内容。"}


def summary_of(text: str) -> str:
    """The line in the list of chats: the first 100 characters."""
    line = " ".join(safe(text[:400]).split())
    return line[: border_before(line, 100)]


def streaming_card(
    status: str, *, answer: str = "", frequency_ms: int = 70, step: int = 1, buttons: Sequence[Json] = ()
) -> str:
    """A card that is being written; before there is an answer it says so with dots."""
    config = {
        "streaming_mode": True,
        "update_multi": True,
        "summary": {"content": summary_of(answer or status)},
        "streaming_config": {
            "print_frequency_ms": {"default": frequency_ms},
            "print_step": {"default": step},
            "print_strategy": "fast",
        },
    }
    return _card(config, [(ANSWER, answer or _EMPTY), (STATUS, safe(status) or _EMPTY)], buttons)


def final_cards(
    text: str, notice: str, *, footer: str = "", buttons: Sequence[Json] = (), language: Language = "en"
) -> list[str]:
    """The cards that show an outcome, and promise nothing more; most often it is one.

    What stands under an answer stands under the end of it.

    Args:
        text: the answer.
        notice: a line of ours about it, or in its place.
        footer: who has answered.
        buttons: what can be pressed.
        language: of the lines that say that there is a next card, or that the end was cut off.
    """
    first, _, others = ("", "", notice) if text else notice.partition("\n\n")
    ending = [(ANSWER, safe(first)), ("notice", safe(others)), (STATUS, safe(footer))]
    frame = _FRAME + len(_card({}, ending).encode())  # whatever buttons come and go: a card is written alone, too
    parts = [page.content for page in pages(text, CARD_LIMIT - frame)] if text else []
    if len(parts) > _MAX_CARDS:
        parts[_MAX_CARDS:] = []
        parts[-1] += _CUT[language]
    cards = [_card(_config(part), [(ANSWER, part), ("continued", _CONTINUED[language])]) for part in parts[:-1]]
    last = [(ANSWER, part) for part in parts[-1:]]
    return [*cards, _card(_config(parts[-1] if parts else notice), [*last, *ending], buttons)]


def part_of(text: str, part: int) -> str:
    """What about this one of several cards has of an answer: its borders depend on what stands under the last."""
    *_, found = islice(pages(text, CARD_LIMIT - _FRAME), part + 1)
    return found.body


def ended_card(card: str, line: str) -> str:
    """What one of the `final_cards` has of an answer, with a line of ours under it in the place of all else."""
    elements = orjson.loads(card)["body"]["elements"]
    said = next(each["content"] for each in elements if each.get("element_id") == ANSWER)
    return _card(_config(said), [(ANSWER, said), ("notice", safe(line))])


def _config(said: str) -> Json:
    return {"streaming_mode": False, "update_multi": True, "summary": {"content": summary_of(said)}}


def _card(config: Json, texts: Sequence[tuple[str, str]], buttons: Sequence[Json] = ()) -> str:
    elements: list[Json] = [
        {"tag": "markdown", "element_id": name, "content": content}
        | ({} if name == ANSWER else {"text_size": "notation"})
        for name, content in texts
        if content
    ]
    body = {"elements": [*elements, *buttons]}
    return orjson.dumps({"schema": "2.0", "config": config, "body": body}).decode()


def streaming_settings(summary: str, *, streaming: bool) -> str:
    """The settings that open or close streaming."""
    return orjson.dumps({"config": {"streaming_mode": streaming, "summary": {"content": summary}}}).decode()


def fits(card: str) -> bool:
    """Whether the platform takes a post of this size. Its JSON is quoted once more inside of a request."""
    return len(card.encode()) <= CARD_LIMIT


def streamed(text: str) -> str:
    """As much of the text as a streaming card can show."""
    shown = head(text, CARD_LIMIT - _FRAME, lambda part: closed(presentable(part)))
    return closed(presentable(shown)) + (_EMPTY if len(shown) < len(text) else "")


def footer_of(agent: str, model: str, seconds: float) -> str:
    """The small line under an outcome."""
    return " · ".join(part for part in (agent, model, f"{seconds:.1f} s") if part)


def card_message(card_id: str) -> str:
    """The content of a message that shows a card."""
    return orjson.dumps({"type": "card", "data": {"card_id": card_id}}).decode()


def post_message(text: str) -> str:
    """The content of a rich text."""
    line = [{"tag": "md", "text": presentable(text)}]
    return orjson.dumps({"zh_cn": {"title": "", "content": [line]}}).decode()


def text_message(text: str, language: Language = "en") -> str:
    """The content of a plain text message; its end is cut off, with a word about it, if it is too long."""
    content = orjson.dumps({"text": safe(text)})
    if len(content) <= TEXT_LIMIT:
        return content.decode()
    return orjson.dumps({"text": head(safe(text), TEXT_LIMIT - 200) + _CUT[language]}).decode()


def outcome_text(
    outcome: Outcome, text: str, notice: str, *, apologise: bool, language: Language = "en"
) -> tuple[str, str]:
    """Text and notice of an outcome; never both empty, because an outcome has to be seen."""
    if apologise:
        return "", _POLICY[language]
    if outcome is Outcome.CANCELLED:
        return text, "\n\n".join(line for line in (_STOPPED[language], literal(notice)) if line)
    if text or notice:
        return text, literal(notice)
    match outcome:
        case Outcome.FAILED:
            return "", _FAILED[language]
        case Outcome.ANSWERED:
            return "", _NOTHING[language]
