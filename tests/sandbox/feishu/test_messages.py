"""Messages are stored, threaded, deduplicated and refused as documented."""

import json
from typing import Any

from tests.sandbox.feishu.conftest import World, entity, streaming_card

from mainstay.sandbox.feishu.model import ApiReply
from mainstay.sandbox.feishu.tenant import GROUP, P2P


def data(reply: ApiReply) -> dict[str, Any]:
    assert reply.code == 0, reply.body
    found = reply.body["data"]
    assert isinstance(found, dict)
    return found


def send(world: World, **more: object) -> ApiReply:
    body = {"receive_id": P2P, "msg_type": "text", "content": '{"text":"x"}', **more}
    return world.call("POST", "/im/v1/messages", body, receive_id_type="chat_id")


def test_a_reply_knows_its_parent_and_the_root_of_the_conversation(world: World) -> None:
    said = world.said()
    first = data(world.reply(said))
    second = data(world.reply(first["message_id"]))
    assert (first["root_id"], first["parent_id"]) == (said, said)
    assert (second["root_id"], second["parent_id"]) == (said, first["message_id"])
    assert "thread_id" not in first


def test_a_reply_in_a_thread_opens_it_and_replies_to_it_stay_in_it(world: World) -> None:
    said = world.said(chat_type="group")
    first = data(world.reply(said, reply_in_thread=True))
    second = data(world.reply(first["message_id"]))
    assert first["thread_id"] == second["thread_id"] == world.tenant.messages.messages[said].thread_id
    answer = world.tenant.say("more", world.now, reply_to=first["message_id"])
    assert (answer.thread_id, answer.chat_id) == (first["thread_id"], GROUP)


def test_one_uuid_makes_one_message_within_an_hour(world: World) -> None:
    said = world.said()
    first = data(world.reply(said, "one", uuid="u"))["message_id"]
    world.wait(3599)
    assert data(world.reply(said, "two", uuid="u"))["message_id"] == first
    assert len(world.tenant.record.snapshot(said, world.now).replies) == 1
    world.wait(1)
    assert data(world.reply(said, "three", uuid="u"))["message_id"] != first


def test_a_refused_message_does_not_use_up_its_uuid(world: World) -> None:
    said = world.said()
    assert world.reply(said, "x" * 160_000, uuid="u").code == 230025
    assert world.reply(said, "short", uuid="u").code == 0


def test_a_uuid_is_50_characters_at_most(world: World) -> None:
    assert world.reply(world.said(), uuid="u" * 51).code == 230001


def test_a_text_is_150_kilobytes_at_most_and_a_post_30(world: World) -> None:
    said = world.said()
    assert world.reply(said, "x" * (150 * 1024 - 12)).code == 0
    assert world.reply(said, "x" * (150 * 1024)).code == 230025
    post = json.dumps({"zh_cn": {"content": [[{"tag": "text", "text": "x" * 31_000}]]}})
    assert world.reply(said, msg_type="post", content=post).code == 230025
    assert (
        world.reply(said, msg_type="interactive", content=json.dumps(streaming_card("x" * 31_000))).code == 230025
    )


def test_a_recalled_message_can_not_be_replied_to(world: World) -> None:
    said = world.said()
    world.tenant.recall(said, world.now)
    assert world.reply(said).code == 230011


def test_unknown_ids_have_their_codes(world: World) -> None:
    assert world.reply("om_none").code == 99992354
    assert world.code("PATCH", "/im/v1/messages/om_none", {"content": "{}"}) == 230001
    assert world.code("PUT", "/im/v1/messages/om_none", {"msg_type": "text"}) == 230001
    assert send(world, receive_id="oc_none").code == 230002
    assert send(world, receive_id="").code == 230001


def test_content_that_is_no_json_object_is_refused(world: World) -> None:
    said = world.said()
    for content in ("plain", "[]", "", '{"text":"  "}', None):
        assert world.reply(said, content=content).code == 230001
    world.wait(1)
    assert world.reply(said, msg_type="poem").code == 230001
    for post in ("{}", '{"zh_cn":{}}', '{"zh_cn":{"content":["line"]}}', '{"content":null}'):
        world.wait(1)
        assert world.reply(said, msg_type="post", content=post).code == 230001


def test_the_bot_changes_only_its_own_messages(world: World) -> None:
    said = world.said()
    assert world.code("PUT", f"/im/v1/messages/{said}", {"msg_type": "text", "content": '{"text":"y"}'}) == 230017
    assert world.code("DELETE", f"/im/v1/messages/{said}") == 230017


def test_a_text_is_edited_twenty_times(world: World) -> None:
    path = f"/im/v1/messages/{data(world.reply(world.said()))['message_id']}"
    for number in range(20):
        assert world.code("PUT", path, {"msg_type": "text", "content": f'{{"text":"{number}"}}'}) == 0
        world.wait(1)
    assert world.code("PUT", path, {"msg_type": "text", "content": '{"text":"no"}'}) == 230072
    items = data(world.call("GET", path))["items"]
    assert (items[0]["body"]["content"], items[0]["updated"]) == ('{"text":"19"}', True)


def test_a_card_is_patched_for_fourteen_days_and_only_when_shared(world: World) -> None:
    shared = '{"config":{"update_multi":true},"elements":[{"tag":"markdown","content":"new"}]}'
    alone = '{"elements":[{"tag":"markdown","content":"new"}]}'
    said = world.said()
    path = f"/im/v1/messages/{data(world.reply(said, msg_type='interactive', content=shared))['message_id']}"
    assert world.code("PATCH", path, {"content": alone}) == 230001
    assert world.code("PATCH", path, {"content": shared}) == 0
    world.wait(14 * 86400 + 1)
    assert world.code("PATCH", path, {"content": shared}) == 230031


def test_a_text_is_not_patched(world: World) -> None:
    path = f"/im/v1/messages/{data(world.reply(world.said()))['message_id']}"
    assert world.code("PATCH", path, {"content": '{"elements":[]}'}) == 230001


def test_history_comes_in_pages_and_in_both_orders(world: World) -> None:
    ids = []
    for number in range(5):
        ids.append(world.said(f"number {number}"))
        world.wait(1)
    query = {"container_id_type": "chat", "container_id": P2P, "page_size": "2"}
    seen, token = [], ""
    while True:
        page = data(world.call("GET", "/im/v1/messages", **query, page_token=token))
        seen += [each["message_id"] for each in page["items"]]
        token = page["page_token"]
        if not page["has_more"]:
            break
    assert seen == ids
    newest = data(world.call("GET", "/im/v1/messages", **query, sort_type="ByCreateTimeDesc"))["items"]
    assert newest[0]["message_id"] == ids[-1]
    assert world.code("GET", "/im/v1/messages", **{**query, "page_size": "51"}) == 230001


def test_history_can_be_cut_by_time(world: World) -> None:
    world.said("old")
    world.wait(100)
    start = int(world.now.at.timestamp())
    new = world.said("new")
    page = data(
        world.call("GET", "/im/v1/messages", container_id_type="chat", container_id=P2P, start_time=str(start))
    )
    assert [each["message_id"] for each in page["items"]] == [new]


def test_a_groups_history_lists_threads_by_their_root_only(world: World) -> None:
    said = world.said(chat_type="group")
    thread = data(world.reply(said, reply_in_thread=True))
    page = data(world.call("GET", "/im/v1/messages", container_id_type="chat", container_id=GROUP))
    assert [each["message_id"] for each in page["items"]] == [said]
    inside = data(
        world.call("GET", "/im/v1/messages", container_id_type="thread", container_id=thread["thread_id"])
    )
    assert [each["message_id"] for each in inside["items"]] == [said, thread["message_id"]]
    later = {"container_id_type": "thread", "container_id": thread["thread_id"], "start_time": "99999999999"}
    assert data(world.call("GET", "/im/v1/messages", **later)) == inside  # a thread is not cut by time


def test_a_reaction_comes_and_goes(world: World) -> None:
    said = world.said()
    path = f"/im/v1/messages/{said}/reactions"
    reaction = data(world.call("POST", path, {"reaction_type": {"emoji_type": "OnIt"}}))["reaction_id"]
    assert world.tenant.record.snapshot(said, world.now).reactions == ("OnIt",)
    assert world.code("DELETE", f"{path}/{reaction}") == 0
    assert world.code("DELETE", f"{path}/{reaction}") == 231011
    assert world.code("POST", path, {}) == 231001


def test_a_card_entity_is_sent_once(world: World) -> None:
    said, card = world.said(), world.card()
    assert world.show(said, card).code == 0
    assert world.show(said, card).code == 230099
    assert world.reply(said, msg_type="interactive", content=entity("7999")).code == 230099


def test_the_same_uuid_gets_the_first_message_even_for_a_card_that_is_sent_already(world: World) -> None:
    said, card = world.said(), world.card()
    first = data(world.reply(said, msg_type="interactive", content=entity(card), uuid="u"))
    again = data(world.reply(said, msg_type="interactive", content=entity(card), uuid="u"))
    assert first["message_id"] == again["message_id"]


def test_a_card_with_too_many_tables_is_refused_in_the_platforms_words(world: World) -> None:
    table = "| a | b |\n|---|---|\n| 1 | 2 |\n\n"
    content = json.dumps(streaming_card(table * 5))
    reply = world.reply(world.said(), msg_type="interactive", content=content)
    assert reply.code == 230099
    assert "ErrCode: 11310; ErrMsg: card table number over limit; ErrorValue: table;" in str(reply.body["msg"])


def test_the_oldest_of_very_many_conversations_is_forgotten_with_its_replies(world: World) -> None:
    first = world.said("first")
    reply = data(world.reply(first, uuid="u"))["message_id"]
    for number in range(20_000):
        world.said(f"{number}")
    held = world.tenant.messages.messages
    assert first not in held
    assert reply not in held
    assert len(world.tenant.record.messages()) == 20_000
    assert world.reply(first, uuid="u").code == 99992354
