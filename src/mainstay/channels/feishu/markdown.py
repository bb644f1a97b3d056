"""What of a model's Markdown does a card take, and where is it cut when it does not fit?

The platform's Markdown is the usual one, with tags of its own: some call people, some look like buttons. What a
model or a stranger wrote calls nobody and imitates nothing, so those tags are made inert by a zero-width space
behind the ``<``, which works in cards, posts and texts alike (an HTML entity would show as such in the latter). A
card takes pictures only by a key that the platform has given out, so that a picture by its address becomes a link.
Everything else arrives byte for byte. What stands in code is left alone, but for mentions.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import orjson

from mainstay.channels.feishu.containers import NOWHERE, Place, ends_code, placed
from mainstay.channels.feishu.graphemes import border_before

__all__ = ["Page", "closed", "head", "literal", "pages", "presentable", "safe", "size_of"]

MAX_TABLES: Final = 4
"""In one Markdown element; the platform takes five in a card."""
_MENTION: Final = re.compile(r"<(?=[\s\x00-\x1f]*(?:/[\s\x00-\x1f]*)?(?:at|person)\b)", re.IGNORECASE)
_TAG: Final = re.compile(
    r"<(?=/?(?:a|audio|button|form|img|input|link|local_datetime|number_tag|record|text_tag)\b)", re.IGNORECASE
)
_PICTURE: Final = re.compile(r"!\[(?P<words>[^\]\n]{0,200})\](?P<address>\(\s*<?https?://)", re.IGNORECASE)
_CODE_SPAN: Final = re.compile(r"((?<![`\\])(`+)(?!`).*?(?<!`)\2(?!`))")
_BULLET: Final = re.compile(r"[-+*](?=[ \t])|\d{1,9}[.)]")
_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")
"""What else Unicode takes for the end of a line is none in Markdown: what follows it is not the start of code."""
_TABLE_RULE: Final = re.compile(r"\|?\s*:?-+:?(\s*\|\s*:?-+:?)+\s*\|?|\|\s*:?-+:?\s*\|")
_LONGEST_OPENING: Final = 1024
"""Bytes; a longer first line of code, or head of a table, is not repeated on the next page."""
_ENDING: Final = 64
"""Bytes that are kept free for the end of a code block."""


def safe(text: str) -> str:
    """The text with its mention tags made inert, wherever they stand."""
    return _MENTION.sub("<\u200b", text)


def literal(text: str) -> str:
    """A line of ours that may name what somebody wrote: it is shown as it is, with tags and pictures inert."""
    return _TAG.sub("<\u200b", safe(text)).replace("![", "!\u200b[")


def presentable(text: str) -> str:
    """What of a Markdown text one element of a card takes; from the fifth on its tables are shown as code."""
    return "".join(_shown(safe(text)))


def _shown(text: str) -> Iterator[str]:
    tables, in_doubt = 0, False
    for block in _blocks(text):
        tables += block.kind == "table"
        if block.kind == "table" and tables > MAX_TABLES:
            yield "```\n" + block.text + ("" if block.text.endswith("\n") else "\n") + "```\n"
        elif block.kind == "code":
            yield block.text
        else:
            is_line = block.kind == "text"
            yield _inert(block.text, spans=is_line and not in_doubt)
            in_doubt = is_line and bool(block.text.strip()) and (in_doubt or _leaves_code_open(block.text))


def _leaves_code_open(line: str) -> bool:
    """Whether a span of code may begin in this line, and end in a later one of the same paragraph."""
    return "`" in line and any("`" in part for part in _CODE_SPAN.split(line)[::3])


def _inert(text: str, *, spans: bool) -> str:
    """Tags and pictures, outside of spans of code where it is certain which these are."""
    if "<" not in text and "![" not in text:
        return text
    parts = _CODE_SPAN.split(text) if spans else [text]  # text, span, its backticks, text, …
    for index in range(0, len(parts), 3):
        parts[index] = _TAG.sub("<\u200b", _PICTURE.sub(_link, parts[index]).replace("![", "!\u200b["))
    del parts[2::3]
    return "".join(parts)


def _link(picture: re.Match[str]) -> str:
    return f"[{picture['words'] or 'image'}]{picture['address']}"


class _Block(NamedTuple):
    """Some lines of a text.

    Attributes:
        kind: ``"text"`` is one line.
        opening: the first line of code, or the head of a table with the rule under it.
        closing: what ends code that the text does not end; empty otherwise.
    """

    kind: str
    text: str
    opening: str = ""
    closing: str = ""


def _blocks(text: str) -> Iterator[_Block]:
    lines = _LINE.findall(text)
    position, place = 0, NOWHERE
    has_fences = "```" in text or "~~~" in text
    while position < len(lines):
        line = lines[position]
        place = placed(line, place) if has_fences else NOWHERE
        end = position + 1
        if place.fence:
            end, is_ended = _code_end(lines, position, place)
            before = _BULLET.sub(lambda bullet: " " * len(bullet[0]), line[: line.index(place.fence)])
            closing = "" if is_ended else before + place.fence
            opening = line if line.endswith("\n") else line + "\n"
            yield _Block("code", "".join(lines[position:end]), opening, closing)
        elif _begins_table(lines, position):
            place, end = _table_end(lines, position, place)
            yield _Block("table", "".join(lines[position:end]), "".join(lines[position : position + 2]))
        else:
            yield _Block("text", line)
        position = end


def _code_end(lines: list[str], position: int, place: Place) -> tuple[int, bool]:
    """The line after the code that starts here, and whether the text ends it, as the end of a quote does."""
    for number in range(position + 1, len(lines)):
        has_ended, ends = ends_code(lines[number], place)
        if has_ended or ends:
            return number + (not has_ended), True
    return len(lines), False


def _begins_table(lines: list[str], position: int) -> bool:
    starts = position + 1 < len(lines) and "|" in lines[position]
    rule = lines[position + 1].strip().lstrip("> ") if starts else ""
    return bool(_TABLE_RULE.fullmatch(rule[:_LONGEST_OPENING]))


def _table_end(lines: list[str], position: int, place: Place) -> tuple[Place, int]:
    """Where the last line of the table that starts here stands, and the number of the one after it."""
    place, end = placed(lines[position + 1], place), position + 2
    while end < len(lines) and "|" in lines[end]:
        following = placed(lines[end], place)
        if following.fence:
            break
        place, end = following, end + 1
    return replace(place, in_paragraph=False), end


def closed(text: str) -> str:
    """The text with an end to its last block of code, so that it shows as code while it is being written."""
    closing = next((block.closing for block in _blocks(text) if block.closing), "")
    return text + ("" if text.endswith("\n") else "\n") + closing if closing else text


def size_of(text: str) -> int:
    """The bytes of a text as JSON."""
    return len(orjson.dumps(text))


def head(text: str, limit: int, shown: Callable[[str], str] = str) -> str:
    """The longest beginning that takes no more than so many bytes as it is ``shown``; no character is cut."""
    longest = _fitting(text[:limit], limit, str)  # most texts take no more as they are shown
    if size_of(shown(text[:longest])) > limit:
        longest = _fitting(text[:longest], limit, shown)
    return text[: border_before(text, longest)] or text[:longest]


def _fitting(text: str, limit: int, shown: Callable[[str], str]) -> int:
    low, high = 0, len(text)
    if size_of(shown(text)) <= limit:
        return high
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if size_of(shown(text[:middle])) <= limit else (low, middle - 1)
    return low


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a text, as long as a card can show. The bodies of all pages are the text.

    Attributes:
        opening: what was begun on the page before and goes on here: the first line of code, the head of a table.
        closing: what ends code that goes on on the next page.
    """

    body: str
    opening: str = ""
    closing: str = ""

    @property
    def content(self) -> str:
        """As it is shown."""
        return presentable(self.opening + self.body + self.closing)


def pages(text: str, limit: int) -> Iterator[Page]:
    """The text in parts whose content takes no more than so many bytes as JSON; an empty text is one page."""
    page, following = _page(text, "", limit)
    yield page
    while text := text[len(page.body) :]:
        page, following = _page(text, following, limit)
        yield page


def _page(text: str, opening: str, limit: int) -> tuple[Page, str]:
    """The next page, and what the one after it begins with."""
    body = head(text, limit - _ENDING, lambda body: presentable(opening + body))
    if len(body) == len(text):
        return Page(body, opening), ""
    page, following = _ended(text, _best_cut(opening, body), opening, limit)
    while size_of(page.content) > limit and len(page.body) > 1:  # what was cut through means something else
        cut = border_before(text, len(page.body) * 3 // 4) or 1
        page, following = _ended(text, cut, opening, limit)
    return page, following


def _ended(text: str, cut: int, opening: str, limit: int) -> tuple[Page, str]:
    body = text[:cut]
    *_, last = _blocks(opening + body)
    rest = _LINE.findall(text[cut : cut + _ENDING])
    if last.closing and rest and body.endswith("\n") and rest[0].strip() == last.closing.strip():
        return Page(body + rest[0], opening), ""
    short = size_of(last.opening) <= min(_LONGEST_OPENING, limit // 4)  # it leaves room for the rest
    if last.closing:
        closing = ("" if body.endswith("\n") else "\n") + last.closing
        return Page(body, opening, closing), last.opening if short else last.closing + "\n"
    goes_on = last.kind == "table" and body.endswith("\n") and "|" in text[cut:].split("\n", 1)[0]
    return Page(body, opening), last.opening if goes_on and short else ""


def _best_cut(opening: str, body: str) -> int:
    """Where to end a page that can not hold more: between paragraphs, else lines, else words; never too early."""
    least, start, blank = len(body) // 2, -len(opening), False
    paragraph = line = inner_line = 0
    for block in _blocks(opening + body):
        if start >= least:
            line = start
            paragraph = start if blank else paragraph
        blank = not block.text.strip()
        start += len(block.text)
        if block.kind != "text" and start >= least:
            inner_line = body.rfind("\n", least, start) + 1
    found = paragraph or line or inner_line
    return found or body.rfind("\n", least) + 1 or body.rfind(" ", least) + 1 or len(body)
