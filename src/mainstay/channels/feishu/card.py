"""What does a card say, and what does it say when the platform would not take it?

A card has up to four elements: ``answer`` (the model's Markdown, byte for byte but for what `safe` and
`presentable` change), ``notice`` (one line of ours under it, only in an outcome), ``status`` (what is going on,
only before) and a button (only in the outcome of a turn that may be tried again: the platform refuses one on a card
that streams).

An answer that is too long for a card is sent as one text message, because a card can hold 30 KB and a text 150 KB;
beyond that the end is cut off, and the text says so. While it streams, such a card shows its beginning.
"""

import re
from collections.abc import Iterator
from typing import Final

import orjson

from mainstay.channels.feishu.envelope import Json
from mainstay.messages import Outcome

__all__ = [
    "ANSWER",
    "CARD_LIMIT",
    "STATUS",
    "TEXT_LIMIT",
    "card_message",
    "final_card",
    "fits",
    "outcome_text",
    "presentable",
    "safe",
    "streamed",
    "streaming_card",
    "streaming_settings",
    "summary_of",
    "text_message",
    "well_formed",
]

ANSWER: Final = "answer"
STATUS: Final = "status"
CARD_LIMIT: Final = 28 * 1024
TEXT_LIMIT: Final = 140 * 1024
"""Bytes of JSON; a margin under the platform's 30 KB and 150 KB."""

_MAX_TABLES: Final = 4
_EMPTY: Final = "…"
_CUT: Final = "\n\n[The rest did not fit into a message and was cut off here.]"
_POLICY: Final = "The answer can not be shown: the platform's content policy refused it."
_STOPPED: Final = "Stopped, as you asked."
_FAILED: Final = "Sorry, this could not be answered."
_NOTHING: Final = "There is nothing to add."
_MENTION: Final = re.compile(r"<(?=\s*/?\s*(?:at|person)\b)", re.IGNORECASE)
_FENCE: Final = re.compile(r"\s*(```+|~~~+)")
_TABLE_RULE: Final = re.compile(r"\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)+\|?\s*|\s*\|\s*:?-+:?\s*\|\s*")


def well_formed(text: str) -> str:
    """The text as Unicode: halves of a pair that a model sent apart are joined, a lone half becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def safe(text: str) -> str:
    """The text with its mention tags made inert: nobody is to be called by what a model or a stranger wrote.

    A zero-width space after the ``<`` does it in cards and in plain text messages alike; an HTML entity would
    show as such in the latter.
    """
    return _MENTION.sub("<\u200b", text)


def presentable(text: str) -> str:
    """What of a Markdown text a card takes: mentions inert, and no more than 4 tables; further ones become code."""
    return "".join(_limit_tables(safe(text)))


def _limit_tables(text: str) -> Iterator[str]:
    lines = text.splitlines(keepends=True)
    fence, tables, position = "", 0, 0
    while position < len(lines):
        line = lines[position]
        opening = _FENCE.match(line)
        if opening and (not fence or opening[1].startswith(fence)):
            fence = "" if fence else opening[1]
        end = _table_end(lines, position) if not fence else position
        tables += end > position
        if end > position and tables > _MAX_TABLES:
            body = "".join(lines[position:end])
            yield "```\n" + body + ("" if body.endswith("\n") else "\n") + "```\n"
        else:
            end = max(end, position + 1)
            yield from lines[position:end]
        position = end


def _table_end(lines: list[str], position: int) -> int:
    """The line after the table that starts here; ``position`` if none does."""
    starts = position + 1 < len(lines) and "|" in lines[position]
    if not starts or not _TABLE_RULE.fullmatch(lines[position + 1].rstrip("\r\n")):
        return position
    end = position + 2
    while end < len(lines) and "|" in lines[end]:
        end += 1
    return end


def summary_of(text: str) -> str:
    """The line in the list of chats: the first 100 characters."""
    return " ".join(safe(text[:400]).split())[:100]


def streaming_card(status: str) -> str:
    """A card before there is an answer."""
    config = {
        "streaming_mode": True,
        "update_multi": True,
        "summary": {"content": summary_of(status)},
        "streaming_config": {
            "print_frequency_ms": {"default": 70},
            "print_step": {"default": 1},
            "print_strategy": "fast",
        },
    }
    return _card(config, (ANSWER, _EMPTY), (STATUS, safe(status) or _EMPTY))


def final_card(text: str, notice: str, button: Json | None = None) -> str:
    """A card that shows an outcome, and promises nothing more; ``button`` stands under it."""
    config = {"streaming_mode": False, "update_multi": True, "summary": {"content": summary_of(text or notice)}}
    if not text:
        return _card(config, (ANSWER, safe(notice)), button=button)
    if not notice:
        return _card(config, (ANSWER, presentable(text)), button=button)
    return _card(config, (ANSWER, presentable(text)), ("notice", safe(notice)), button=button)


def _card(config: Json, *texts: tuple[str, str], button: Json | None = None) -> str:
    elements: list[Json] = [
        {"tag": "markdown", "element_id": name, "content": content}
        | ({} if name == ANSWER else {"text_size": "notation"})
        for name, content in texts
    ]
    if button is not None:
        elements.append(button)
    return orjson.dumps({"schema": "2.0", "config": config, "body": {"elements": elements}}).decode()


def streaming_settings(summary: str, *, streaming: bool) -> str:
    """The settings that open or close streaming."""
    return orjson.dumps({"config": {"streaming_mode": streaming, "summary": {"content": summary}}}).decode()


def fits(card: str) -> bool:
    """Whether the platform takes a card of this size. Its JSON is quoted once more inside of a request."""
    return len(card.encode()) <= CARD_LIMIT


def streamed(text: str) -> str:
    """As much of the text as a streaming card can show."""
    shown = presentable(text)
    head = _head(shown, CARD_LIMIT - 1024)
    return shown if len(head) == len(shown) else head + "…"


def _head(text: str, limit: int) -> str:
    """The longest beginning that is no more than so many bytes of JSON."""
    if len(text) * 6 <= limit:
        return text
    low, high = 0, min(len(text), limit)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(orjson.dumps(text[:middle])) <= limit else (low, middle - 1)
    return text[:low]


def card_message(card_id: str) -> str:
    """The content of a message that shows a card."""
    return orjson.dumps({"type": "card", "data": {"card_id": card_id}}).decode()


def text_message(text: str) -> str:
    """The content of a plain text message; its end is cut off, with a word about it, if it is too long."""
    content = orjson.dumps({"text": safe(text)})
    if len(content) <= TEXT_LIMIT:
        return content.decode()
    return orjson.dumps({"text": _head(safe(text), TEXT_LIMIT - 200) + _CUT}).decode()


def outcome_text(outcome: Outcome, text: str, notice: str, *, apologise: bool) -> tuple[str, str]:
    """Text and notice of an outcome; never both empty, because an outcome has to be seen."""
    if apologise:
        return "", _POLICY
    if text or notice:
        return text, notice
    match outcome:
        case Outcome.CANCELLED:
            return "", _STOPPED
        case Outcome.FAILED:
            return "", _FAILED
        case Outcome.ANSWERED:
            return "", _NOTHING
