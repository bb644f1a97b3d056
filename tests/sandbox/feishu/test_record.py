"""The judge sees what a person sees."""

import json

import pytest
from tests.sandbox.feishu.conftest import World, button, card_body, card_with, streaming_card


def verdict(world: World, message_id: str) -> tuple[str, int, int]:
    found = world.tenant.record.verdicts(message_id, world.now)[0]
    return found.state, found.outcomes, found.unfinished


def test_a_message_without_a_reply_has_no_outcome(world: World) -> None:
    assert verdict(world, world.said()) == ("none", 0, 0)


def test_a_text_is_an_outcome_and_a_second_one_is_a_second(world: World) -> None:
    said = world.said()
    world.reply(said)
    assert verdict(world, said) == ("final", 1, 0)
    world.reply(said)
    assert verdict(world, said) == ("final", 2, 0)


def test_a_card_is_unfinished_until_the_bot_closes_it(world: World) -> None:
    said, card = world.said(), world.card()
    world.show(said, card)
    assert verdict(world, said) == ("unfinished", 0, 1)
    world.stream(card, "An answer", 1)
    assert verdict(world, said) == ("unfinished", 0, 1)
    world.streaming(card, 2, on=False)
    assert verdict(world, said) == ("final", 1, 0)
    assert world.tenant.record.verdicts(said, world.now)[0].texts == ("An answer",)


def test_a_card_closed_with_its_placeholder_is_no_outcome(world: World) -> None:
    for opening in ("Thinking…", "", "...", " "):
        said, card = world.said(), world.card(streaming_card(opening))
        world.show(said, card)
        world.streaming(card, 1, on=False)
        assert verdict(world, said) == ("unfinished", 0, 1)
        world.wait(1)


def test_a_card_opened_with_the_whole_answer_is_an_outcome_once_closed(world: World) -> None:
    said, card = world.said(), world.card(streaming_card("Yes."))
    world.show(said, card)
    world.streaming(card, 1, on=False)
    assert verdict(world, said) == ("final", 1, 0)


def test_a_card_that_the_platform_had_to_close_is_left_unfinished(world: World) -> None:
    said, card = world.said(), world.card()
    world.show(said, card)
    world.stream(card, "Half an answer", 1)
    world.wait(601)
    assert verdict(world, said) == ("unfinished", 0, 1)
    final = card_body(streaming_card("The answer", streaming=False))
    assert world.code("PUT", f"/cardkit/v1/cards/{card}", {"card": final, "sequence": 2}) == 0
    assert verdict(world, said) == ("final", 1, 0)


def test_a_card_that_was_never_sent_and_a_reply_taken_back_are_invisible(world: World) -> None:
    said = world.said()
    world.card()
    reply = world.reply(said).body["data"]
    assert isinstance(reply, dict)
    assert world.code("DELETE", f"/im/v1/messages/{reply['message_id']}") == 0
    assert verdict(world, said) == ("none", 0, 0)


def test_a_finished_card_beside_one_left_streaming_is_not_final(world: World) -> None:
    said, card = world.said(), world.card()
    world.show(said, card)
    world.reply(said, "Sorry")
    assert verdict(world, said) == ("unfinished", 1, 1)
    assert not world.tenant.record.snapshot(said, world.now).final


GOOD = {"toast": {"type": "info", "content": "Trying again…"}}


def offered(world: World, said: str, *, text: str = "Sorry") -> str:
    """A finished card with a button; returns the message that shows it."""
    shown = world.show(said, world.card(card_with(button("Again"), text=text))).body["data"]
    assert isinstance(shown, dict)
    return str(shown["message_id"])


def press(world: World, message_id: str, answer: object = GOOD, *, status: int = 200) -> None:
    pressed = world.tenant.record.pressed(message_id, "Again", {"do": "Again"})
    world.tenant.record.answered(pressed, status, answer)


def judged(world: World, said: str) -> list[tuple[str, str, int]]:
    found = world.tenant.record.verdicts(said, world.now)
    return [(each.kind, each.state, each.outcomes) for each in found]


def test_what_is_said_after_a_press_is_the_outcome_of_the_press(world: World) -> None:
    said = world.said()
    first = offered(world, said)
    assert world.tenant.record.snapshot(said, world.now).final
    press(world, first)
    assert judged(world, said) == [("message", "final", 1), ("press", "none", 0)]
    assert not world.tenant.record.snapshot(said, world.now).final
    second = offered(world, said, text="Sorry again")
    assert judged(world, said) == [("message", "final", 1), ("press", "final", 1)]
    press(world, second)
    world.reply(said, "The answer")
    assert judged(world, said) == [("message", "final", 1), ("press", "final", 1), ("press", "final", 1)]
    assert world.tenant.record.snapshot(said, world.now).final
    verdicts = world.tenant.record.verdicts(said, world.now)
    assert [each.message_id for each in verdicts] == [said, first, second]
    assert [each.said for each in verdicts] == ["hello", "Again", "Again"]
    assert verdicts[2].texts == ("The answer",)


def test_the_same_button_pressed_again_asks_for_nothing_more(world: World) -> None:
    said = world.said()
    first = offered(world, said)
    press(world, first)
    press(world, first)
    world.reply(said, "The answer")
    press(world, first)
    assert judged(world, said) == [("message", "final", 1), ("press", "final", 1)]


def test_two_answers_to_one_press_are_two_outcomes_of_it(world: World) -> None:
    said = world.said()
    press(world, offered(world, said))
    world.reply(said, "The answer")
    world.reply(said, "The answer")
    assert judged(world, said) == [("message", "final", 1), ("press", "final", 2)]


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, {}),
        (200, {"toast": {"type": "warning", "content": "no"}}),
        (200, {"toast": {"type": "error", "content": "no"}}),
        (200, {"toast": "no"}),
        (500, GOOD),
    ],
)
def test_a_press_that_the_bot_does_not_take_up_asks_for_nothing(world: World, status: int, answer: object) -> None:
    said = world.said()
    press(world, offered(world, said), answer, status=status)
    assert judged(world, said) == [("message", "final", 1)]
    assert world.tenant.record.snapshot(said, world.now).final
    world.reply(said, "unasked")
    assert judged(world, said) == [("message", "final", 2)]


def test_what_follows_a_press_that_nobody_answered_is_its_outcome_and_need_not_come(world: World) -> None:
    said = world.said()
    first = offered(world, said)
    press(world, first, "ReadTimeout", status=0)
    assert judged(world, said) == [("message", "final", 1)]
    assert world.tenant.record.snapshot(said, world.now).final
    world.reply(said, "The answer")
    assert judged(world, said) == [("message", "final", 1), ("press", "final", 1)]
    press(world, first, None, status=503)
    assert judged(world, said) == [("message", "final", 1), ("press", "final", 1)]
    press(world, first)
    assert judged(world, said) == [("message", "final", 1), ("press", "final", 1)]


def test_a_message_whose_card_was_pressed_and_gave_way_to_another_has_its_outcome_there(world: World) -> None:
    said = world.said()
    first = offered(world, said)
    press(world, first, "ReadTimeout", status=0)
    world.tenant.messages.delete(first, world.now)
    world.reply(said, "The answer")
    assert judged(world, said) == [("message", "final", 1)]


def test_an_answer_that_comes_while_the_press_is_answered_belongs_to_the_press(world: World) -> None:
    said = world.said()
    pressed = world.tenant.record.pressed(offered(world, said), "Again", {"do": "Again"})
    world.reply(said, "The answer")
    world.tenant.record.answered(pressed, 200, GOOD)
    assert judged(world, said) == [("message", "final", 1), ("press", "final", 1)]


def test_a_press_on_what_answers_nobody_has_no_verdict(world: World) -> None:
    said = world.said()
    body = {"receive_id": "ou_u1", "msg_type": "text", "content": json.dumps({"text": "news"})}
    sent = world.call("POST", "/im/v1/messages", body, receive_id_type="open_id").body["data"]
    assert isinstance(sent, dict)
    press(world, sent["message_id"])
    assert judged(world, said) == [("message", "none", 0)]


def test_every_text_that_was_shown_is_kept_with_its_time_and_sequence(world: World) -> None:
    said, card = world.said(), world.card()
    world.show(said, card)
    for number, text in enumerate(("a", "ab", "abc"), 1):
        world.wait(1)
        world.stream(card, text, number)
    history = world.tenant.record.snapshot(said, world.now, history=True).replies[0].history
    assert [(each.at_s, each.sequence, each.text) for each in history] == [
        (0.0, 0, "Thinking…"),
        (1.0, 1, "a"),
        (2.0, 2, "ab"),
        (3.0, 3, "abc"),
    ]


def test_text_status_and_buttons_are_told_apart(world: World) -> None:
    said, card = world.said(), world.card(card_with(button()))
    world.show(said, card)
    reply = world.tenant.record.snapshot(said, world.now).replies[0]
    assert (reply.text, reply.status, reply.actions) == ("The answer", "Routing", ("More",))
    assert reply.parts == {"answer": "The answer", "status": "Routing", "more": "More"}


def test_a_reply_to_a_reply_belongs_to_what_the_person_said(world: World) -> None:
    said = world.said()
    first = world.reply(said, "part 1").body["data"]
    assert isinstance(first, dict)
    world.reply(first["message_id"], "part 2")
    assert verdict(world, said) == ("final", 2, 0)


def test_what_the_bot_says_unasked_is_no_answer_to_anybody(world: World) -> None:
    said = world.said()
    body = {"receive_id": "ou_u1", "msg_type": "text", "content": json.dumps({"text": "news"})}
    assert world.code("POST", "/im/v1/messages", body, receive_id_type="open_id") == 0
    assert verdict(world, said) == ("none", 0, 0)
    assert [world.tenant.record.reply(each, world.now).text for each in world.tenant.record.unprompted] == ["news"]


def test_every_change_makes_a_newer_revision_of_that_message_only(world: World) -> None:
    said, other = world.said(), world.said()
    before = world.tenant.record.snapshot(other, world.now).revision
    revisions = [world.tenant.record.snapshot(said, world.now).revision]
    card = world.card()
    world.show(said, card)
    revisions.append(world.tenant.record.snapshot(said, world.now).revision)
    world.stream(card, "a", 1)
    revisions.append(world.tenant.record.snapshot(said, world.now).revision)
    assert revisions == sorted(set(revisions))
    assert world.tenant.record.snapshot(other, world.now).revision == before


def test_a_post_says_what_its_parts_say(world: World) -> None:
    said = world.said()
    post = {"zh_cn": {"title": "t", "content": [[{"tag": "text", "text": "a"}, {"tag": "a", "text": "b"}], []]}}
    world.reply(said, msg_type="post", content=json.dumps(post))
    assert world.tenant.record.snapshot(said, world.now).text == "ab\n"


def continued(text: str) -> dict[str, object]:
    """A finished card that says that it goes on in the next message."""
    going_on = {"tag": "markdown", "element_id": "continued", "content": "Continued below"}
    return card_with(going_on, text=text)


def test_messages_that_continue_one_another_are_one_outcome(world: World) -> None:
    said = world.said()
    world.show(said, world.card(continued("The first, ")))
    assert verdict(world, said) == ("unfinished", 0, 1)
    world.show(said, world.card(continued("the second, ")))
    assert verdict(world, said) == ("unfinished", 0, 1)
    world.show(said, world.card(card_with(text="the last.")))
    assert verdict(world, said) == ("final", 1, 0)
    [found] = world.tenant.record.verdicts(said, world.now)
    assert found.texts == ("The first, the second, the last.",)
    assert [reply.continued for reply in world.tenant.record.snapshot(said, world.now).replies] == [
        True,
        True,
        False,
    ]


def test_what_comes_after_the_end_of_an_answer_is_a_second_one(world: World) -> None:
    said = world.said()
    world.show(said, world.card(continued("The first, ")))
    world.show(said, world.card(card_with(text="the last.")))
    world.reply(said)
    assert verdict(world, said) == ("final", 2, 0)


def test_an_answer_whose_continuation_is_still_being_written_is_unfinished(world: World) -> None:
    said = world.said()
    world.show(said, world.card(continued("The first, ")))
    world.show(said, world.card())
    assert verdict(world, said) == ("unfinished", 0, 1)


def test_a_toast_of_success_owes_nothing_and_one_of_information_does(world: World) -> None:
    said = world.said()
    card = world.card(card_with(button("Good"), text="The answer"))
    world.show(said, card)
    reply = world.tenant.record.snapshot(said, world.now).replies[0].message_id
    for kind, verdicts in (("success", 1), ("info", 2)):
        press = world.tenant.record.pressed(reply, kind, {"do": kind})
        world.tenant.record.answered(press, 200, {"toast": {"type": kind, "content": "ok"}})
        assert len(world.tenant.record.verdicts(said, world.now)) == verdicts
