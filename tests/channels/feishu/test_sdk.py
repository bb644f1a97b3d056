"""The platform's official SDK reads what we answer to a press, and builds the button that we build."""

import json
import types
from importlib import import_module

import pytest

from mainstay.channels.feishu.buttons import retry_button
from mainstay.channels.feishu.card import final_cards
from mainstay.channels.feishu.press import Told, answer, read_press


@pytest.mark.parametrize("told", list(Told))
def test_its_callback_response_is_our_answer(lark: types.ModuleType, told: Told) -> None:
    model = import_module("lark_oapi.event.callback.model.p2_card_action_trigger")
    read = model.P2CardActionTriggerResponse(answer(told))
    assert json.loads(lark.JSON.marshal(read)) == answer(told)
    assert {read.toast.type} <= {"info", "success", "warning", "error"}


def test_its_card_builder_makes_the_card_with_our_button(lark: types.ModuleType) -> None:
    button = retry_button("a-turn", "en")
    [behavior] = button["behaviors"]  # type: ignore[misc, attr-defined]
    [card] = final_cards("half", "The model is away.", buttons=[button])
    ours = json.loads(card)
    new_card = import_module("lark_oapi.channel.card").new_card
    built = new_card().markdown("half").markdown("The model is away.").raw(dict(button)).build().data
    assert [each["tag"] for each in built["body"]["elements"]] == [each["tag"] for each in ours["body"]["elements"]]
    assert built["body"]["elements"][-1] == ours["body"]["elements"][-1]
    assert built["schema"] == ours["schema"]
    theirs = new_card().button("Try again", action=behavior["value"], style="primary").build().data
    [plain] = theirs["body"]["elements"]
    assert plain == {"value": behavior["value"]} | {name: button[name] for name in ("tag", "text", "type")}


def test_what_its_callback_event_says_of_a_press_is_what_we_read(lark: types.ModuleType) -> None:
    model = import_module("lark_oapi.event.callback.model.p2_card_action_trigger")
    [behavior] = retry_button("a-turn", "zh")["behaviors"]  # type: ignore[misc, attr-defined]
    context = {"open_message_id": "om_1", "open_chat_id": "oc_1"}
    event = {"action": {"tag": "button", "value": behavior["value"]}, "context": context, "host": "im_message"}
    read = model.P2CardActionTriggerData(event)
    press = read_press(json.loads(lark.JSON.marshal(read)))
    assert press is not None
    assert press.turn_id == read.action.value["turn"] == "a-turn"
    assert (press.chat_id, press.message_id) == (read.context.open_chat_id, read.context.open_message_id)
