"""What a press is taken for, and what it may lead to."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mainstay.channels.feishu.buttons import retry_button
from mainstay.channels.feishu.model import Offer, Offered
from mainstay.channels.feishu.press import (
    Already,
    Dropped,
    Press,
    Told,
    answer,
    other_try,
    read_press,
)
from mainstay.messages import Message

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WINDOW_S = 3600.0
MESSAGE = Message(
    channel="feishu",
    bot_id="b",
    external_id="om_asked",
    chat_id="oc_home",
    thread_id="om_asked",
    chat_type="group",
    sender_id="ou_ann",
    text="hello",
    sent_at=NOW,
    reply_in_thread=True,
)
KNOWN = Offered(message=MESSAGE, offer=Offer.MADE, created_at=NOW, card_message_id="om_card")
PRESS = Press(turn_id=MESSAGE.turn_id, chat_id="oc_home", message_id="om_card")


def pressed(button: object, *, older: bool = False) -> dict[str, object]:
    """The event of a press on this button, as the platform writes it."""
    assert isinstance(button, dict)
    [behavior] = button["behaviors"]
    action = {"tag": "button", "value": behavior["value"], "timezone": "Asia/Shanghai"}
    if older:
        return {"open_id": "ou_bob", "open_message_id": "om_card", "token": "c-1", "action": action}
    context = {"open_message_id": "om_card", "open_chat_id": "oc_home"}
    return {"operator": {"open_id": "ou_bob"}, "token": "c-1", "action": action, "context": context}


def decide(press: Press = PRESS, known: Offered | None = KNOWN, *, age_s: float = 0.0) -> object:
    return other_try(press, known, now=NOW + timedelta(seconds=age_s), window_s=WINDOW_S)


def test_a_button_is_read_back_in_both_forms() -> None:
    button = retry_button(MESSAGE.turn_id, "en")
    assert read_press(pressed(button)) == replace(PRESS, person="ou_bob")
    assert read_press(pressed(button, older=True)) == replace(PRESS, chat_id="", person="ou_bob")


@pytest.mark.parametrize(("language", "label"), [("en", "Try again"), ("zh", "重试")])
def test_a_button_speaks_the_language_of_the_notice(language: str, label: str) -> None:
    button = retry_button("t", language)  # type: ignore[arg-type]
    assert button["text"] == {"tag": "plain_text", "content": label}


def test_another_try_is_the_same_message_of_the_same_person_under_the_failed_turn_s_name() -> None:
    message = decide()
    assert isinstance(message, Message)
    assert (message.kind, message.retry_of, message.reply_to) == ("callback", MESSAGE.turn_id, "om_asked")
    assert MESSAGE.turn_id in message.external_id
    unchanged = {"kind": "message", "external_id": "om_asked", "retry_of": "", "reply_to": ""}
    assert replace(message, **unchanged) == MESSAGE  # type: ignore[arg-type]


def test_whoever_presses_asks_for_the_same_one() -> None:
    from_the_card = decide(replace(PRESS, chat_id=""))
    assert decide() == decide() == from_the_card


def test_the_other_try_of_another_try_is_one_more_and_answers_the_first_message() -> None:
    first = decide()
    assert isinstance(first, Message)
    second = decide(replace(PRESS, turn_id=first.turn_id), replace(KNOWN, message=first))
    assert isinstance(second, Message)
    assert second.retry_of == first.turn_id
    assert (second.reply_to, second.lane, second.asked_turn_id) == ("om_asked", MESSAGE.lane, MESSAGE.turn_id)
    assert len({MESSAGE.turn_id, first.turn_id, second.turn_id}) == 3


@pytest.mark.parametrize(
    ("press", "known", "age_s", "reason"),
    [
        (PRESS, None, 0.0, "press_unknown_turn"),
        (replace(PRESS, chat_id="oc_elsewhere"), KNOWN, 0.0, "press_elsewhere"),
        (replace(PRESS, chat_id="", message_id="om_other"), KNOWN, 0.0, "press_elsewhere"),
        (replace(PRESS, chat_id="", message_id=""), replace(KNOWN, card_message_id=""), 0.0, "press_elsewhere"),
        (PRESS, replace(KNOWN, offer=Offer.NONE), 0.0, "press_not_offered"),
        (PRESS, KNOWN, WINDOW_S + 1, "press_too_late"),
    ],
)
def test_what_can_not_be_tried_again_is_dropped_for_a_reason(
    press: Press, known: Offered | None, age_s: float, reason: str
) -> None:
    assert decide(press, known, age_s=age_s) == Dropped(reason)  # type: ignore[arg-type]


@pytest.mark.parametrize("offer", [Offer.TAKEN, Offer.WITHDRAWN])
@pytest.mark.parametrize("age_s", [0.0, 10 * WINDOW_S])
def test_what_was_taken_up_is_not_accepted_once_more_however_long_ago_it_was(offer: Offer, age_s: float) -> None:
    assert decide(known=replace(KNOWN, offer=offer), age_s=age_s) == Already()


@pytest.mark.parametrize("told", list(Told))
def test_who_pressed_is_told_in_the_language_of_their_client(told: Told) -> None:
    toast = answer(told)["toast"]
    assert isinstance(toast, dict)
    assert toast["type"] in {"info", "success", "warning", "error"}
    assert toast["content"] == toast["i18n"]["en_us"] != toast["i18n"]["zh_cn"]


Decide = Callable[..., Message | Already | Dropped]
PRUNED_AFTER_S = 24 * 3600.0


def promised_twice(steps: list[str], decide: Decide) -> bool:
    """Play these steps in a small world, and say whether it came to more than one try, or to one it must not have.

    The world: an inbox that knows a message until it is pruned; a process that may die before it has noted that it
    accepted; presses at home, elsewhere, and long after.
    """
    known, now, inbox, accepted = KNOWN, NOW, dict[str, datetime](), list[str]()
    for step in steps:
        inbox = {name: at for name, at in inbox.items() if (now - at).total_seconds() < PRUNED_AFTER_S}
        match step:
            case "time passes":
                now += timedelta(seconds=PRUNED_AFTER_S)
            case "noted" if inbox:
                known = replace(known, offer=Offer.TAKEN)
            case "withdrawn" if known.offer is Offer.TAKEN:
                known = replace(known, offer=Offer.WITHDRAWN)
            case "press" | "press elsewhere" | "press and die":
                press = replace(PRESS, chat_id="oc_elsewhere") if step == "press elsewhere" else PRESS
                wanted = decide(press, known, now=now, window_s=WINDOW_S)
                if isinstance(wanted, Message) and wanted.turn_id not in inbox:
                    inbox[wanted.turn_id] = now
                    accepted.append(step)
                if isinstance(wanted, Message) and step != "press and die":
                    known = replace(known, offer=Offer.TAKEN)
    return len(accepted) > 1 or "press elsewhere" in accepted


STEPS = st.lists(
    st.sampled_from(["press", "press", "press elsewhere", "press and die", "noted", "withdrawn", "time passes"]),
    max_size=20,
)


@given(STEPS)
def test_however_it_is_pressed_there_is_one_try_at_most(steps: list[str]) -> None:
    assert not promised_twice(steps, other_try)


def named_by_the_event() -> Decide:
    numbers = iter(range(10_000))

    def decide(press: Press, known: Offered, **more: Any) -> Message | Already | Dropped:  # noqa: ANN401
        wanted = other_try(press, replace(known, offer=Offer.MADE), **more)
        return replace(wanted, external_id=f"event {next(numbers)}") if isinstance(wanted, Message) else wanted

    return decide


def for_ever(press: Press, known: Offered, **more: Any) -> Message | Already | Dropped:  # noqa: ANN401
    return other_try(press, known, **more | {"window_s": 1e9})


def whatever_was_taken(press: Press, known: Offered, **more: Any) -> Message | Already | Dropped:  # noqa: ANN401
    return other_try(press, replace(known, offer=Offer.MADE), **more | {"window_s": 1e9})


def anywhere(press: Press, known: Offered, **more: Any) -> Message | Already | Dropped:  # noqa: ANN401
    return other_try(replace(press, chat_id=known.message.chat_id), known, **more)


@pytest.mark.parametrize("mutant", [named_by_the_event(), for_ever, whatever_was_taken, anywhere])
def test_a_worse_rule_would_be_noticed(mutant: Decide) -> None:
    @settings(database=None, derandomize=True, max_examples=500, phases=[Phase.generate])
    @given(STEPS)
    def noticed(steps: list[str]) -> None:
        assert not promised_twice(steps, mutant)

    with pytest.raises(AssertionError):
        noticed()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["retry", "button"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["action", "value", "turn", "context", "open_chat_id", "open_message_id", "tag"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["action", "context", "open_chat_id", "open_message_id"]), values))
def test_no_press_is_too_odd_to_be_read(event: dict[str, object]) -> None:
    press = read_press(event)
    assert press is None or (isinstance(press.turn_id, str) and press.turn_id)
