"""What does each of the platform's APIs do?

One function for each, and the table of their paths: the limits that concern it, the machine that decides, and the
record's note that something can be seen.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mainstay.sandbox.feishu.elements import Change, batch, parsed
from mainstay.sandbox.feishu.messages import message_json
from mainstay.sandbox.feishu.model import ApiRequest, Json, Moment, Refusal
from mainstay.sandbox.feishu.tenant import Tenant

__all__ = ["OPERATIONS", "Call", "bot_info"]


@dataclass(frozen=True, slots=True)
class Call:
    """One authorized call; ``ids`` are those in its path."""

    tenant: Tenant
    request: ApiRequest
    ids: tuple[str, ...]
    now: Moment


def bot_info(call: Call) -> Json:
    """``GET /bot/v3/info``: the one reply whose data is called "bot"."""
    app = call.tenant.app
    return {
        "activate_status": 2,
        "app_name": app.bot_name,
        "open_id": app.bot_open_id,
        "avatar_url": "",
        "ip_white_list": [],
    }


def _send(call: Call) -> Json:
    chat = call.tenant.messages.receiver(call.request.query, call.request.body)
    call.tenant.limits.chat(chat.chat_id, call.tenant.options, call.now)
    message = call.tenant.messages.send(call.request.query, call.request.body, call.now)
    call.tenant.record.sent(message)
    return message_json(message, call.tenant.app)


def _reply(call: Call) -> Json:
    parent = call.tenant.messages.messages.get(call.ids[0])
    if parent is not None:
        call.tenant.limits.chat(parent.chat_id, call.tenant.options, call.now)
    message = call.tenant.messages.reply(call.ids[0], call.request.body, call.now)
    call.tenant.record.sent(message)
    return message_json(message, call.tenant.app)


def _patch(call: Call) -> None:
    call.tenant.limits.message(call.ids[0], call.tenant.options, call.now)
    call.tenant.messages.patch(call.ids[0], call.request.body, call.now)
    call.tenant.record.touch(call.ids[0])


def _edit(call: Call) -> Json:
    call.tenant.limits.message(call.ids[0], call.tenant.options, call.now)
    message = call.tenant.messages.edit(call.ids[0], call.request.body, call.now)
    call.tenant.record.touch(call.ids[0])
    return message_json(message, call.tenant.app)


def _get(call: Call) -> Json:
    message = call.tenant.messages.messages.get(call.ids[0])
    if message is None:
        raise Refusal(99992354, "these ids not existed")
    known, upper = call.tenant.messages.messages, {"upper_message_id": message.message_id}
    inside = [message_json(known[each], call.tenant.app) | upper for each in message.inside if each in known]
    return {"items": [message_json(message, call.tenant.app), *inside]}


def _history(call: Call) -> Json:
    return call.tenant.messages.page(call.request.query)


def _delete(call: Call) -> None:
    call.tenant.messages.delete(call.ids[0], call.now)
    call.tenant.record.touch(call.ids[0])


def _react(call: Call) -> Json:
    data = call.tenant.messages.react(call.ids[0], call.request.body)
    call.tenant.record.touch(call.ids[0])
    return data


def _unreact(call: Call) -> Json:
    data = call.tenant.messages.unreact(call.ids[0], call.ids[1])
    call.tenant.record.touch(call.ids[0])
    return data


def _card_create(call: Call) -> Json:
    pressable = call.tenant.options.pressable_streams
    return {"card_id": call.tenant.cards.create(call.request.body, call.now, pressable=pressable).card_id}


def _card_stream(call: Call) -> None:
    card = call.tenant.cards.find(call.ids[0], call.now)
    call.tenant.limits.card(card.card_id, call.tenant.options, call.now)
    call.tenant.cards.stream(card, call.ids[1], call.request.body, call.now)
    call.tenant.record.touch(card.message_id)


def _card_settings(call: Call) -> None:
    card = call.tenant.cards.find(call.ids[0], call.now)
    call.tenant.limits.card(card.card_id, call.tenant.options, call.now)
    pressable = call.tenant.options.pressable_streams
    call.tenant.cards.settings(card, call.request.body, call.now, pressable=pressable)
    call.tenant.record.touch(card.message_id)


def _card_replace(call: Call) -> None:
    card = call.tenant.cards.find(call.ids[0], call.now)
    call.tenant.limits.card(card.card_id, call.tenant.options, call.now)
    pressable = call.tenant.options.pressable_streams
    call.tenant.cards.replace(card, call.request.body, call.now, pressable=pressable)
    call.tenant.record.touch(card.message_id)


def _change(call: Call, changes: Sequence[Change]) -> None:
    card = call.tenant.cards.find(call.ids[0], call.now)
    call.tenant.limits.card(card.card_id, call.tenant.options, call.now)
    pressable = call.tenant.options.pressable_streams
    call.tenant.cards.change(card, call.request.body, changes, call.now, pressable=pressable)
    call.tenant.record.touch(card.message_id)


def _batch(call: Call) -> None:
    _change(call, batch(call.request.body.get("actions")))


def _element_add(call: Call) -> None:
    body = call.request.body
    _change(call, [("add_elements", {**body, "elements": parsed(body.get("elements"))})])


def _element_patch(call: Call) -> None:
    changes = parsed(call.request.body.get("partial_element"))
    _change(call, [("partial_update_element", {"element_id": call.ids[1], "partial_element": changes})])


def _element_replace(call: Call) -> None:
    element = parsed(call.request.body.get("element"))
    _change(call, [("update_element", {"element_id": call.ids[1], "element": element})])


def _element_delete(call: Call) -> None:
    _change(call, [("delete_elements", {"element_ids": [call.ids[1]]})])


def _card_by_press(call: Call) -> None:
    call.tenant.record.touch(call.tenant.delayed.update(call.request.body, call.now))


def _path(path: str) -> re.Pattern[str]:
    return re.compile("/open-apis" + path.replace("{}", "([^/]+)"))


_MESSAGES, _CARDS = "/im/v1/messages", "/cardkit/v1/cards"
OPERATIONS: tuple[tuple[str, re.Pattern[str], Callable[[Call], Json | None]], ...] = (
    ("GET", _path("/bot/v3/info/?"), bot_info),
    ("POST", _path(_MESSAGES), _send),
    ("GET", _path(_MESSAGES), _history),
    ("POST", _path(f"{_MESSAGES}/{{}}/reply"), _reply),
    ("PATCH", _path(f"{_MESSAGES}/{{}}"), _patch),
    ("PUT", _path(f"{_MESSAGES}/{{}}"), _edit),
    ("GET", _path(f"{_MESSAGES}/{{}}"), _get),
    ("DELETE", _path(f"{_MESSAGES}/{{}}"), _delete),
    ("POST", _path(f"{_MESSAGES}/{{}}/reactions"), _react),
    ("DELETE", _path(f"{_MESSAGES}/{{}}/reactions/{{}}"), _unreact),
    ("POST", _path(_CARDS), _card_create),
    ("PUT", _path(f"{_CARDS}/{{}}/elements/{{}}/content"), _card_stream),
    ("PATCH", _path(f"{_CARDS}/{{}}/settings"), _card_settings),
    ("PUT", _path(f"{_CARDS}/{{}}"), _card_replace),
    ("POST", _path(f"{_CARDS}/{{}}/batch_update"), _batch),
    ("POST", _path(f"{_CARDS}/{{}}/elements"), _element_add),
    ("PATCH", _path(f"{_CARDS}/{{}}/elements/{{}}"), _element_patch),
    ("PUT", _path(f"{_CARDS}/{{}}/elements/{{}}"), _element_replace),
    ("DELETE", _path(f"{_CARDS}/{{}}/elements/{{}}"), _element_delete),
    ("POST", _path("/interactive/v1/card/update"), _card_by_press),
)
