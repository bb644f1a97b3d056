"""What does a card say, and is it well formed?

Walks card JSON of either schema. The rules are those of the documentation of card JSON 2.0 and of CardKit: 200
elements, identifiers that are unique and of 20 characters at most, 30 KB, 4 tables in a Markdown element, 5 table
components in a card, 100 characters on a button. Two more were met by those who sent cards: schema 2.0 takes no
element of 1.0 that it has dropped (200861), and a card that streams nothing that can be pressed (99992402); about
the latter the documentation is milder, and the stricter rule holds here.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from mainstay.sandbox.feishu.model import Json, Refusal

__all__ = [
    "MAX_BYTES",
    "Element",
    "buttons",
    "check_size",
    "check_still",
    "check_tables",
    "check_v2",
    "elements",
    "is_continued",
    "parse",
    "summary",
    "tagged",
    "template",
    "wants_streaming",
    "words",
]

MAX_BYTES = 30 * 1024
_MAX_ELEMENTS = 200
_MAX_TABLES_IN_MARKDOWN = 4
_MAX_TABLES = 5
_ELEMENT_ID = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,19}")
_TABLE_RULE = re.compile(r"\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)+\|?\s*")
_TEXT_TAGS = {"markdown", "plain_text", "lark_md"}
_ACTION_TAGS = {"button", "overflow", "select_static", "multi_select_static", "input", "checker"}
_DROPPED_TAGS = {"action", "note"}
_BUTTON_TYPES = {"default", "primary", "danger", "text", "laser"} | {
    f"{colour}_{form}" for colour in ("primary", "danger") for form in ("text", "filled")
}
_BUTTON_CHARS = 100
_CONTINUED = "continued"


@dataclass(frozen=True, slots=True)
class Element:
    """One thing in a card that says something.

    Attributes:
        element_id: its own, or that of the nearest element around it that has one.
        node: the JSON object itself, to be changed by a stream.
        action: it stands on something to press.
    """

    element_id: str
    tag: str
    text: str
    node: Json
    action: bool


def parse(text: object) -> Json:
    """The card in this JSON string. Raises Refusal 200220 when there is none."""
    try:
        card = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        card = None
    if not isinstance(card, dict):
        raise Refusal(200220, "Failed to generate card content")
    return card


def elements(card: Json) -> list[Element]:
    """Every text in the card's body, in reading order; the header's title is none of them."""
    body = card.get("body", card)
    inner = body.get("elements") if isinstance(body, dict) else None
    return list(_walk(inner, "", action=False))


def _walk(node: object, around: str, *, action: bool) -> Iterator[Element]:
    if isinstance(node, list):
        for each in node:
            yield from _walk(each, around, action=action)
    elif isinstance(node, dict):
        own = node.get("element_id")
        element_id = own if isinstance(own, str) else around
        tag = str(node.get("tag", ""))
        if tag in _TEXT_TAGS:
            yield Element(element_id, tag, str(node.get("content", "")), node, action)
            return
        for key, each in node.items():
            if key not in {"placeholder", "confirm", "value", "behaviors"}:
                yield from _walk(each, element_id, action=action or tag in _ACTION_TAGS)


def words(card: Json) -> tuple[str, str, tuple[str, ...]]:
    """What it says, its status line, and the labels of what can be pressed; not that it `is_continued`."""
    said, status, actions = [], [], []
    for each in elements(card):
        if each.action:
            actions.append(each.text)
        elif each.element_id.startswith("status"):
            status.append(each.text)
        elif each.element_id.startswith(_CONTINUED):
            continue
        elif each.text.strip():
            said.append(each.text)
    return "\n".join(said), "\n".join(status), tuple(actions)


def is_continued(card: Json) -> bool:
    """Whether it says that what it says goes on in the next message."""
    return any(each.element_id.startswith(_CONTINUED) and each.text.strip() for each in elements(card))


def buttons(card: Json) -> list[tuple[str, object]]:
    """Label and value of each button that calls back when it is pressed, in reading order."""
    return [
        (_label(node), value)
        for node in tagged(card)
        if node.get("tag") == "button" and node.get("disabled") is not True
        for value in _values(node)
    ]


def _label(button: Json) -> str:
    text = button.get("text")
    return str(text.get("content", "")) if isinstance(text, dict) else ""


def _values(button: Json) -> Iterator[object]:
    """What it sends: in schema 2.0 among its behaviors, in 1.0 its own value."""
    if "value" in button:
        yield button["value"]
    for behavior in _objects(button.get("behaviors")):
        if behavior.get("type") == "callback":
            yield behavior.get("value")


def _objects(given: object) -> list[Json]:
    return [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []


def _inner(card: Json, *path: str) -> str:
    node: object = card
    for key in path:
        node = node.get(key) if isinstance(node, dict) else None
    return node if isinstance(node, str) else ""


def wants_streaming(card: object) -> bool | None:
    """Whether it is to stream; None where it does not say it."""
    config = card.get("config") if isinstance(card, dict) else None
    wanted = config.get("streaming_mode") if isinstance(config, dict) else None
    return wanted if isinstance(wanted, bool) else None


def template(card: Json) -> str:
    """The colour of the header."""
    return _inner(card, "header", "template")


def summary(card: Json) -> str:
    """The line that the list of chats shows."""
    return _inner(card, "config", "summary", "content")


def check_v2(card: Json, *, pressable: bool = False) -> None:
    """Refuse what CardKit refuses when a card is created or replaced; ``pressable``: see `Options`."""
    if not card:
        raise Refusal(300307, "The card DSL is empty")
    if card.get("schema") != "2.0":
        raise Refusal(300303, "Only schema 2.0 is supported")
    config = card.get("config")
    if isinstance(config, dict) and config.get("update_multi") is False:
        raise Refusal(300302, "update_multi property is false")
    body = card.get("body")
    if not isinstance(body, dict) or not isinstance(body.get("elements"), list):
        raise Refusal(200220, "Failed to generate card content")
    _check_elements(card)
    for node in tagged(card):
        _check_tag(node)
    streaming = isinstance(config, dict) and config.get("streaming_mode") is True
    check_still(card, streaming=streaming and not pressable)
    check_size(card)
    check_tables(card)


def _check_tag(node: Json) -> None:
    tag = str(node["tag"])
    if tag in _DROPPED_TAGS:
        raise Refusal(
            200861, f"cards of schema V2 no longer support this capability; ErrorValue: unsupported tag {tag}; "
        )
    if tag == "button" and not _is_button(node):
        raise Refusal(200220, "Failed to generate card content")


def _is_button(node: Json) -> bool:
    text, behaviors = node.get("text", {"content": ""}), node.get("behaviors", [])
    if str(node.get("type", "default")) not in _BUTTON_TYPES or not isinstance(text, dict):
        return False
    if not isinstance(text.get("content"), str) or len(_label(node)) > _BUTTON_CHARS:
        return False
    kinds = {str(each.get("type")) for each in _objects(behaviors)}
    well_formed = isinstance(behaviors, list) and len(_objects(behaviors)) == len(behaviors)
    return well_formed and kinds <= {"callback", "open_url"} and all(map(_is_value, _values(node)))


def _is_value(value: object) -> bool:
    return isinstance(value, str | dict)


def check_still(card: Json, *, streaming: bool) -> None:
    """Refuse a card that streams and has something to press."""
    if streaming and any(str(node["tag"]) in _ACTION_TAGS for node in tagged(card)):
        raise Refusal(99992402, "field validation failed")


def _check_elements(card: Json) -> None:
    nodes = list(tagged(card))
    if len(nodes) > _MAX_ELEMENTS:
        raise Refusal(300305, "The number of card components exceeds 200")
    seen: set[str] = set()
    for node in nodes:
        element_id = node.get("element_id")
        if element_id is None:
            continue
        if not isinstance(element_id, str) or not _ELEMENT_ID.fullmatch(element_id):
            raise Refusal(10002, "Your request contains an invalid request parameter. element_id")
        if element_id in seen:
            raise Refusal(300301, "Duplicate element_id in card component.")
        seen.add(element_id)


def tagged(node: object) -> Iterator[Json]:
    """Every object of the card that has a tag: what the limit of 200 counts."""
    if isinstance(node, list):
        for each in node:
            yield from tagged(each)
    elif isinstance(node, dict):
        if "tag" in node:
            yield node
        for key, each in node.items():
            if key != "value":  # the bot's own, whatever it looks like
                yield from tagged(each)


def check_size(card: Json) -> None:
    """Refuse a card of more than 30 KB."""
    if len(json.dumps(card, ensure_ascii=False, separators=(",", ":")).encode()) > MAX_BYTES:
        raise Refusal(200860, "Card content exceeds limit.")


def check_tables(card: Json) -> None:
    """Refuse a card with more tables than are allowed."""
    components = sum(node.get("tag") == "table" for node in tagged(card))
    in_text = max((_tables(each.text) for each in elements(card) if each.tag != "plain_text"), default=0)
    if components > _MAX_TABLES or in_text > _MAX_TABLES_IN_MARKDOWN:
        raise Refusal(
            230099,
            "Failed to create card content, ext=ErrCode: 11310; ErrMsg: card table number over limit; "
            "ErrorValue: table; ",
        )


def _tables(markdown: str) -> int:
    count, fenced, before = 0, False, ""
    for line in markdown.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and "|" in before and _TABLE_RULE.fullmatch(line):
            count += 1
        before = line
    return count
