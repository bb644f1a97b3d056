"""What becomes of a card when parts of it are added, changed or taken away?

The operations of CardKit on elements, alone or several in one batch; each changes the content that it is given, and
`mainstay.sandbox.feishu.cards` throws that away when one is refused.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from mainstay.sandbox.feishu.cardtext import tagged, wants_streaming
from mainstay.sandbox.feishu.model import Json, Refusal

__all__ = ["Change", "apply", "batch", "parsed"]

Change = tuple[str, Mapping[str, object]]
"""The name of an action, and what it is given."""

_INVALID: Final = (10002, "Your request contains an invalid request parameter.")
_NOT_ADDED: Final = (300315, "Failed to add element")
_NOT_DELETED: Final = (300314, "Failed to delete element")
_NOT_CHANGED: Final = (300313, "Failed to update element properties")
_NOT_REPLACED: Final = (300121, "Failed to replace element")


def batch(text: object) -> list[Change]:
    """The changes that this JSON asks for. Raises Refusal 10002."""
    given, changes = parsed(text), list[Change]()
    for each in given if isinstance(given, list) else ():
        params = each.get("params") if isinstance(each, dict) else None
        if not isinstance(params, dict) or each.get("action") not in _ACTIONS:
            raise Refusal(*_INVALID)
        changes.append((str(each["action"]), params))
    if not changes:
        raise Refusal(*_INVALID)
    return changes


def parsed(text: object) -> object:
    """What a field says that holds JSON. Raises Refusal 10002."""
    try:
        return json.loads(text) if isinstance(text, str) else None
    except ValueError:
        raise Refusal(*_INVALID) from None


def apply(content: Json, changes: Sequence[Change]) -> bool | None:
    """Make these changes, in order; returns whether the card is to stream, None where they do not say it."""
    wanted = None
    for action, params in changes:
        _ACTIONS[action](content, params)
        told = wants_streaming(params.get("settings"))
        wanted = wanted if told is None else told
    return wanted


def _add(content: Json, params: Mapping[str, object]) -> None:
    """``type`` says where: before or after the target, or at the end of it; without a target at the end of all."""
    how, target, new = params.get("type"), params.get("target_element_id"), params.get("elements")
    if not isinstance(new, list) or not new or not all(isinstance(each, dict) for each in new):
        raise Refusal(*_NOT_ADDED)
    if how not in ("append", "insert_before", "insert_after"):
        raise Refusal(*_NOT_ADDED)
    if target and how != "append":
        siblings, position = _place(content, target, _NOT_ADDED)
        position += how == "insert_after"
        siblings[position:position] = new
        return
    around = _element(content, target, _NOT_ADDED) if target else content.get("body")
    inside = around.get("elements") if isinstance(around, dict) else None
    if not isinstance(inside, list):
        raise Refusal(*_NOT_ADDED)
    inside.extend(new)


def _delete(content: Json, params: Mapping[str, object]) -> None:
    """``element_ids``; with what is inside of them."""
    gone = params.get("element_ids")
    if not isinstance(gone, list) or not gone:
        raise Refusal(*_NOT_DELETED)
    for element_id in gone:
        siblings, position = _place(content, element_id, _NOT_DELETED)
        del siblings[position]


def _partial(content: Json, params: Mapping[str, object]) -> None:
    """Some properties of ``element_id``; its tag can not be changed."""
    changes, element = params.get("partial_element"), _element(content, params.get("element_id"), _NOT_CHANGED)
    if not isinstance(changes, dict):
        raise Refusal(*_NOT_CHANGED)
    if changes.get("tag", element.get("tag")) != element.get("tag"):
        raise Refusal(300312, "Unable to update element tag")
    element.update(changes)


def _replace(content: Json, params: Mapping[str, object]) -> None:
    """Another element in the place of ``element_id``."""
    element = params.get("element")
    siblings, position = _place(content, params.get("element_id"), _NOT_REPLACED)
    if not isinstance(element, dict):
        raise Refusal(*_NOT_REPLACED)
    siblings[position] = element


def _settings(content: Json, params: Mapping[str, object]) -> None:
    settings = params.get("settings")
    config = settings.get("config") if isinstance(settings, dict) else None
    if not isinstance(config, dict):
        raise Refusal(300122, "Failed to update card configuration")
    before = content.get("config")
    content["config"] = {**(before if isinstance(before, dict) else {}), **config}


_ACTIONS: Final[Mapping[str, Callable[[Json, Mapping[str, object]], None]]] = {
    "partial_update_setting": _settings,
    "add_elements": _add,
    "delete_elements": _delete,
    "partial_update_element": _partial,
    "update_element": _replace,
}
"""What a batch can do, by the names of its actions."""


def _element(content: Json, element_id: object, otherwise: tuple[int, str]) -> Json:
    found = (node for node in tagged(content) if node.get("element_id") == element_id and element_id)
    node = next(found, None)
    if node is None:
        raise Refusal(*otherwise)
    return node


def _place(content: Json, element_id: object, otherwise: tuple[int, str]) -> tuple[list[Json], int]:
    """The list that an element stands in, and where."""
    wanted, unseen = _element(content, element_id, otherwise), [content.get("body")]
    while unseen:
        node = unseen.pop()
        if isinstance(node, list):
            for position, each in enumerate(node):
                if each is wanted:
                    return node, position
        unseen.extend(node.values() if isinstance(node, dict) else node if isinstance(node, list) else ())
    raise Refusal(*otherwise)
