"""The judge sees what a person sees."""

import json

from tests.sandbox.feishu.conftest import World, card_body, streaming_card


def verdict(world: World, message_id: str) -> tuple[str, int, int]:
    found = world.tenant.record.verdict(message_id, world.now)
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
    assert world.tenant.record.verdict(said, world.now).texts == ("An answer",)


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
    said, card = world.said(), world.card()
    world.show(said, card)
    reply = world.tenant.record.snapshot(said, world.now).replies[0]
    assert (reply.text, reply.status, reply.actions) == ("Thinking…", "Routing", ("More",))
    assert reply.parts == {"answer": "Thinking…", "status": "Routing", "more": "More"}


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
