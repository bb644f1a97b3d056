"""In which quotes and lists does a line of Markdown stand, and does code begin there?

As CommonMark has it: how far a line may be indented depends on what it stands in, and what is indented by four more
is no fence, and no end of one. Pure.
"""

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["NOWHERE", "Place", "ends_code", "placed"]

_QUOTE: Final = 0
_ITEM: Final = re.compile(r"(?:[-+*]|(?P<number>\d{1,9})[.)])(?= |$)", re.ASCII)
_RULE: Final = re.compile(r"(?:(?:- *){3,}|(?:\* *){3,}|(?:_ *){3,})$")
_HEADING: Final = re.compile(r"#{1,6}(?: |$)")
_FENCE: Final = re.compile(r"`{3,32}(?!.*`)|~{3,32}")
_MOST: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a line stands.

    Attributes:
        containers: from the outside in: 0 is a quote, else by how much the content of a list's item is indented.
        fence: what opens code in this line; empty if nothing does.
        in_paragraph: whether the next line may go on with what this one says, without standing in the same.
        is_empty: whether it only begins an item.
    """

    containers: tuple[int, ...] = ()
    fence: str = ""
    in_paragraph: bool = False
    is_empty: bool = False


NOWHERE: Final = Place()
_PARAGRAPH: Final = Place(in_paragraph=True)
_MARKS: Final = frozenset(" \t>-+*#`~_0123456789")
"""What a line begins with that may be more than a paragraph; others are most, and are looked at often."""


def placed(line: str, before: Place) -> Place:
    """Where a line stands that is not in code, after one that stands there."""
    if not before.containers and line[0] not in _MARKS:
        return NOWHERE if line[0] in "\r\n" else _PARAGRAPH
    count, left = _within(line, before.containers)
    is_inside = count == len(before.containers)
    goes_on = before.in_paragraph and is_inside
    containers, left = _begun(left, goes_on=goes_on)
    text = left.lstrip(" ")
    if not text and not containers:
        count -= before.is_empty and is_inside  # an item that begins with an empty line, and has no other
        return Place(containers=before.containers[:count])
    is_indented = len(left) - len(text) > 3
    fence = None if is_indented else _FENCE.match(text)
    is_other = not is_indented and bool(fence or _HEADING.match(text) or _RULE.match(text))
    if before.in_paragraph and not containers and not is_other:
        return Place(containers=before.containers, in_paragraph=True)
    return Place(
        containers=(*before.containers[:count], *containers),
        fence=fence[0] if fence else "",
        in_paragraph=bool(text) and not is_indented and not is_other,
        is_empty=not text,
    )


def ends_code(line: str, place: Place) -> tuple[bool, bool]:
    """Whether code that was opened there has ended before this line, and whether it ends with it."""
    count, left = _within(line, place.containers)
    text = left.strip(" ")
    is_fence = len(text) >= len(place.fence) and not text.strip(place.fence[0])
    is_indented = len(left) - len(left.lstrip(" ")) > 3
    return count < len(place.containers), is_fence and not is_indented


def _within(line: str, containers: tuple[int, ...]) -> tuple[int, str]:
    """In how many of these a line stands, and what is left of it there."""
    left = line.rstrip("\r\n").expandtabs(4)
    for count, each in enumerate(containers):
        text = left.lstrip(" ")
        indent = len(left) - len(text)
        if each == _QUOTE and indent <= 3 and text.startswith(">"):
            left = text[1:].removeprefix(" ")
        elif each == _QUOTE or (text and indent < each):
            return count, left
        else:
            left = left[each:]
    return len(containers), left


def _begun(left: str, *, goes_on: bool) -> tuple[list[int], str]:
    """The containers that begin in this part of a line, and what is left of it there.

    ``goes_on``: it may as well go on with a paragraph, which not every item ends.
    """
    begun: list[int] = []
    while len(begun) < _MOST:
        text = left.lstrip(" ")
        indent = len(left) - len(text)
        item = _ITEM.match(text) if indent <= 3 and not _RULE.match(text) else None
        if indent <= 3 and text.startswith(">"):
            begun.append(_QUOTE)
            left = text[1:].removeprefix(" ")
        elif item and not (goes_on and (item["number"] not in (None, "1") or item.end() == len(text.rstrip(" ")))):
            after = text[item.end() :]
            said = after.lstrip(" ")
            spaces = len(after) - len(said)
            width = spaces if said and spaces <= 4 else 1
            begun.append(indent + item.end() + width)
            left = after[width:]
        else:
            break
        goes_on = False
    return begun, left
