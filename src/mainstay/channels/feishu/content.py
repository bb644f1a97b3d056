"""What does a message say, in words?

Text and rich text are read as Markdown. Of what else the platform knows, some has words in it (a place, a task, a
vote, a card), and the rest is named in its place, so that whoever answers knows that it was there. What a person
wrote stays text: it is never run, and nobody is mentioned by it.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from mainstay.channels.feishu.envelope import mapping_at, read_json, text_at
from mainstay.channels.feishu.wording import marker, on_one_line

__all__ = ["FORWARDED", "Said", "read_content"]

FORWARDED: Final = "merge_forward"
_PLACEHOLDER: Final = re.compile(r"@_user_\d+|@_all\b")
_IN_POSTS: Final = {"img": "image", "media": "media"}
_DEPTH: Final = 8  # of a card that was forwarded


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a message says.

    Attributes:
        text: Markdown; what can not be read is named in its place.
        words: whether there is more to it than what can not be read.
        unread: the kinds of what can not be read, each once.
        to_all: it speaks to everybody.
    """

    text: str
    words: bool
    unread: tuple[str, ...] = ()
    to_all: bool = False


class _Names:
    """Puts names in the place of the platform's placeholders, and notices whether everybody is meant."""

    def __init__(self, mentions: dict[str, tuple[str, str]], own_id: str) -> None:
        self._mentions = mentions
        self._own_id = own_id
        self.to_all = False

    def of(self, key: str) -> str:
        """The name with an @ before it; empty for the bot itself, the placeholder where nobody is known."""
        if key == "@_all":
            self.to_all = True
            return "@all"
        open_id, name = self._mentions.get(key, ("", ""))
        name = on_one_line(name)
        if self._own_id and open_id == self._own_id:
            return ""
        return f"@{name}" if name else key

    def in_text(self, text: str) -> str:
        """The text with all its placeholders replaced."""
        return _PLACEHOLDER.sub(lambda match: self.of(match[0]), text)


def read_content(kind: str, content: str, mentions: dict[str, tuple[str, str]], own_id: str) -> Said:
    """Read the ``content`` of a message of this type.

    Args:
        kind: the platform's type of message.
        content: JSON, as text.
        mentions: placeholder to open_id and name.
        own_id: the bot's own open_id; empty while it is not known.

    Raises:
        MalformedEvent: if it is no JSON.
    """
    data = read_json(content or "{}", "the content of a message")
    names = _Names(mentions, own_id)
    markers: list[tuple[str, str]] = []

    def unreadable(what: str, name: str) -> str:
        markers.append((what, marker(what, name)))
        return markers[-1][1]

    match kind:
        case "text":
            text = names.in_text(text_at(data, "text"))
        case "post":
            text = _post(data, names, unreadable)
        case _:
            text = _other(kind, data, names, unreadable)
    words = _letters(text) > sum(_letters(each) for _, each in markers)
    unread = tuple(dict.fromkeys(what for what, _ in markers))
    return Said(text=text.strip(), words=words, unread=unread, to_all=names.to_all)


def _letters(text: str) -> int:
    return sum(len(word) for word in text.split())


def _other(kind: str, data: object, names: _Names, unreadable: Callable[[str, str], str]) -> str:
    """A message that is neither text nor rich text."""
    match kind:
        case "location":
            where = ", ".join(text_at(data, name) for name in ("latitude", "longitude") if text_at(data, name))
            parts = [text_at(data, "name"), f"({where})" if where else ""]
        case "todo":
            task = _post(mapping_at(data, "summary"), names, unreadable)
            parts = [task.strip(), _when(text_at(data, "due_time"), "due ")]
        case "vote":
            options = mapping_at(data).get("options")
            listed = [each for each in options if isinstance(each, str)] if isinstance(options, list) else []
            parts = [text_at(data, "topic"), " / ".join(listed)]
        case "share_calendar_event" | "calendar" | "general_calendar":
            parts = [text_at(data, "summary"), _when(text_at(data, "start_time"), "from ")]
            parts.append(_when(text_at(data, "end_time"), "to "))
        case "interactive":
            parts = ["\n".join([text_at(data, "title"), *_card_lines(mapping_at(data).get("elements"), _DEPTH)])]
        case _ if kind == FORWARDED:
            return "[forwarded messages]"
        case _:
            return unreadable(kind or "unknown", text_at(data, "file_name"))
    said = " ".join(part for part in parts if part.strip()).strip()
    return f"[{kind}: {said}]" if said else unreadable(kind, "")


def _when(milliseconds: str, before: str) -> str:
    try:
        at = datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return f"{before}{at:%Y-%m-%d %H:%M} UTC"


def _card_lines(elements: object, depth: int) -> Iterator[str]:
    """The texts of a card as the platform hands it on: rows of elements, some with elements of their own."""
    for each in elements if isinstance(elements, list) and depth else []:
        if isinstance(each, list):
            yield from _card_lines(each, depth - 1)
            continue
        if text_at(each, "tag") not in ("button", "at") and text_at(each, "text").strip():
            yield text_at(each, "text")
        yield from _card_lines(mapping_at(each).get("elements"), depth - 1)


def _post(content: object, names: _Names, unreadable: Callable[[str, str], str]) -> str:
    """Rich text as Markdown: a title, and paragraphs of runs. Some clients put it under a locale first."""
    post = mapping_at(content)
    if "content" not in post:
        post = next((each for each in post.values() if isinstance(each, dict)), {})
    paragraphs = post.get("content")
    lines = [text_at(post, "title")] if text_at(post, "title") else []
    known = paragraphs if isinstance(paragraphs, list) else []
    lines.extend("".join(_runs(paragraph, names, unreadable)).rstrip() for paragraph in known)
    return "\n".join(lines)


def _runs(paragraph: object, names: _Names, unreadable: Callable[[str, str], str]) -> Iterator[str]:
    for run in paragraph if isinstance(paragraph, list) else []:
        text = text_at(run, "text")
        match text_at(run, "tag"):
            case "at":
                key = text_at(run, "user_id")
                said = names.of("@_all" if key == "all" else key)
                yield said if said != key else f"@{on_one_line(text_at(run, 'user_name')) or key}"
            case "a":
                href = text_at(run, "href")
                yield f"[{text}]({href})" if text and text != href else href
            case "code_block":
                yield f"\n```{text_at(run, 'language').lower()}\n{text.rstrip()}\n```\n"
            case "emotion":
                yield f"[{text_at(run, 'emoji_type')}]"
            case "hr":
                yield "\n---\n"
            case "text" | "md":
                yield names.in_text(text)
            case tag if tag in _IN_POSTS:
                yield unreadable(_IN_POSTS[tag], "")
            case other:
                yield text or unreadable(other or "unknown", "")
