"""Which messages a running service answers, how often, and how soon it acknowledges them."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import pytest
from tests.process.conftest import (
    BOT,
    BY_WEBHOOK,
    end_of,
    event,
    inbox,
    nobody,
    now_ms,
    run_with,
    seen_but_not_meant,
    send_event,
    turn_of,
    verdict_on,
    visiting,
)

from mainstay.sandbox.feishu.crypto import sign
from mainstay.sandbox.model import SaidMessage, SandboxSettings
from mainstay.testing.project import Project, project

pytestmark = pytest.mark.anyio

PLATFORM_WINDOW_S = 3.0
REMEMBERING = """
[agents.manager]
person_memory = true
"""
TO_BOT = {"key": "@_user_1", "id": {"open_id": BOT}, "name": "sandbox"}
TO_OTHER = {"key": "@_user_2", "id": {"open_id": "ou_colleague"}, "name": "Colleague"}


@pytest.fixture(scope="module")
async def module_project(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Project]:
    brisk = SandboxSettings(tokens_per_second=500)
    async with project(tmp_path_factory.mktemp("messages"), REMEMBERING, sandbox=brisk) as made:
        (made.directory / ".env").write_text(BY_WEBHOOK)
        await made.start()
        yield made


@pytest.fixture
async def made(module_project: Project) -> Project:
    """The service as it is configured for most."""
    await run_with(module_project, "")
    return module_project


def about(made: Project, said: SaidMessage, sender: str, **message: object) -> dict[str, Any]:
    """The event of a message that the sandbox knows, with other content."""
    known = {"message_id": said.message_id, "chat_id": said.chat_id, "chat_type": said.chat_type}
    content = event(made, known | message)
    content["event"]["sender"]["sender_id"]["open_id"] = sender
    return content


def text(said: str) -> dict[str, object]:
    return {"content": json.dumps({"text": said})}


POST = {
    "message_type": "post",
    "content": json.dumps(
        {
            "title": "A report",
            "content": [
                [{"tag": "at", "user_id": "@_user_1", "user_name": "sandbox"}, {"tag": "text", "text": " look"}],
                [{"tag": "a", "text": "here", "href": "https://example.com/x"}],
            ],
        }
    ),
}

MEANT = {
    "the bot": (text("@_user_1 ahoy") | {"mentions": [TO_BOT]}, "You wrote: “ahoy”."),
    "the bot and somebody else": (
        text("@_user_2 meet @_user_1 ahoy") | {"mentions": [TO_OTHER, TO_BOT]},
        "You wrote: “@Colleague meet ahoy”.",
    ),
    "the bot in rich text": (POST | {"mentions": [TO_BOT]}, "A report look [here](https://example.com/x)"),
    "the bot and everybody": (text("@_all @_user_1 ahoy") | {"mentions": [TO_BOT]}, "@all ahoy"),
}

NOT_MEANT = {
    "somebody else": text("@_user_2 ahoy") | {"mentions": [TO_OTHER]},
    "somebody of the same name": text("@_user_2 ahoy") | {"mentions": [TO_OTHER | {"name": "sandbox"}]},
    "everybody": text("@_all ahoy"),
    "nobody": text("ahoy"),
}


@pytest.mark.parametrize("whom", MEANT)
async def test_in_a_group_whoever_speaks_to_the_bot_is_answered(made: Project, whom: str) -> None:
    message, expected = MEANT[whom]
    said = await seen_but_not_meant(made)
    response = await send_event(made, about(made, said, nobody(), **message))
    assert (response.status_code, response.json()) == (200, {})
    shown = await end_of(made, said.message_id)
    assert expected in " ".join(shown.text.split())
    assert (await verdict_on(made, said.message_id)).outcomes == 1
    assert shown.replies[0].in_thread


@pytest.mark.parametrize("whom", NOT_MEANT)
async def test_in_a_group_whoever_speaks_to_others_is_acknowledged_and_left_alone(made: Project, whom: str) -> None:
    said = await seen_but_not_meant(made)
    response = await send_event(made, about(made, said, nobody(), **NOT_MEANT[whom]))
    assert (response.status_code, response.json()) == (200, {})
    assert turn_of(made, said.message_id) not in inbox(made)
    assert (await verdict_on(made, said.message_id)).state == "none"


@pytest.mark.parametrize("sender", [BOT, "ou_another_bot"])
async def test_apps_are_never_answered_not_even_in_a_private_chat(made: Project, sender: str) -> None:
    said = await seen_but_not_meant(made)
    content = about(made, said, sender, chat_type="p2p")
    content["event"]["sender"]["sender_type"] = "app"
    assert (await send_event(made, content)).status_code == 200
    assert turn_of(made, said.message_id) not in inbox(made)


@pytest.mark.parametrize(
    "kind", ["im.chat.member.user.added_v1", "im.message.reaction.created_v1", "x.unheard_of_v9"]
)
async def test_an_event_of_another_kind_is_acknowledged_and_dropped(made: Project, kind: str) -> None:
    said = await seen_but_not_meant(made)
    content = about(made, said, nobody(), **text("ahoy"))
    content["header"]["event_type"] = kind
    response = await send_event(made, content)
    assert (response.status_code, response.json()) == (200, {})
    assert turn_of(made, said.message_id) not in inbox(made)


async def test_in_a_thread_of_others_the_bot_answers_when_spoken_to_and_keeps_to_it(made: Project) -> None:
    root = await seen_but_not_meant(made, "a discussion")
    aside = await seen_but_not_meant(made, "not for you", thread=root.message_id)
    first = await made.sandbox.say("first", thread=root.message_id, sender=nobody(), chat_type="group")
    shown = await end_of(made, first.message_id)
    assert shown.replies[0].in_thread
    second = await made.sandbox.say("second", thread=root.message_id, sender=nobody(), chat_type="group")
    before = "Before that you wrote: “[In reply to this message:] > a discussion first”."
    assert before in (await end_of(made, second.message_id)).text
    lanes = inbox(made)
    assert turn_of(made, aside.message_id) not in lanes
    assert lanes[turn_of(made, first.message_id)].endswith(f":{root.message_id}")
    assert (await verdict_on(made, aside.message_id)).state == "none"


async def test_what_is_remembered_belongs_to_who_spoke_and_not_to_who_was_mentioned(made: Project) -> None:
    spoke, said = nobody(), await seen_but_not_meant(made)
    note = json.dumps({"note": "likes tea"})
    mentions = {"mentions": [TO_OTHER, TO_BOT]}
    wish = text(f"@_user_2 and @_user_1: call remember {note}") | mentions
    assert (await send_event(made, about(made, said, spoke, **wish))).status_code == 200
    await end_of(made, said.message_id)
    with closing(sqlite3.connect(made.directory / ".mainstay" / "mainstay.db")) as database:
        notes = database.execute("select person, note from memory_notes").fetchall()
    assert notes == [(f"feishu:{made.sandbox.address.app_id}:{spoke}", "likes tea")]


async def test_everybody_is_answered_when_everybody_is_spoken_to_and_that_is_switched_on(made: Project) -> None:
    await run_with(made, "[channels.feishu]\nanswer_all = true\n")
    said = await seen_but_not_meant(made)
    assert (await send_event(made, about(made, said, nobody(), **text("@_all ahoy")))).status_code == 200
    assert "You wrote: “@all ahoy”." in (await end_of(made, said.message_id)).text


ENCRYPTED_CHALLENGE = (
    "AAECAwQFBgcICQoLDA0OD/noQ9d6e50LkL6UDuOcIf0F09+qYGJ7oOYXevDSk36lp3A7B+lpiDHBZKofCPMt5U4dQiTNrQzTXN4DrTvCsLNa8HAq"
    "2zfWv17giHEFcvebxbZU87kzXtxHpzQoYq11Eg=="
)
DOCUMENTED_KEY, DOCUMENTED_TOKEN = "sandbox-encrypt-key-001", "vtok_0123456789abcdefABCDEF"


def with_credentials(made: Project, **more: str) -> str:
    address = made.sandbox.address
    known = {"app_id": address.app_id, "app_secret": address.app_secret, "domain": address.feishu_url}
    lines = (f'{name} = "{value}"' for name, value in (known | more).items())
    return "\n".join(["[channels.feishu]", *lines, ""])


async def test_a_bot_with_credentials_of_its_own_passes_the_published_vectors(made: Project) -> None:
    """With the sandbox's models, which need no key: nobody has both kinds of credentials on the first day."""
    keys = {"encrypt_key": DOCUMENTED_KEY, "verification_token": DOCUMENTED_TOKEN}
    await run_with(made, with_credentials(made, **keys))
    body = json.dumps({"encrypt": ENCRYPTED_CHALLENGE}).encode()
    challenge = {"challenge": "ajls384kdj1234", "token": DOCUMENTED_TOKEN, "type": "url_verification"}
    async with visiting(made) as http:
        for content in (body, json.dumps(challenge).encode()):
            answer = await http.post("/webhook/event", content=content)
            assert (answer.status_code, answer.json()) == (200, {"challenge": "ajls384kdj1234"})
        old = {"X-Lark-Request-Timestamp": "1700000000", "X-Lark-Request-Nonce": "123456789"}
        signature = sign("1700000000", "123456789", DOCUMENTED_KEY, body)
        stale = await http.post("/webhook/event", content=body, headers=old | {"X-Lark-Signature": signature})
        assert stale.status_code == 401


async def test_an_unencrypted_event_passes_by_its_token_where_there_is_no_key(made: Project) -> None:
    await run_with(made, with_credentials(made, verification_token=DOCUMENTED_TOKEN))
    said = await made.sandbox.say("hello", sender=nobody())  # which this bot gets, but can not read
    content = about(made, said, nobody(), **text("ahoy"), create_time=now_ms())
    content["header"]["token"] = DOCUMENTED_TOKEN
    async with visiting(made) as http:
        assert (await http.post("/webhook/event", json=content)).status_code == 200
        content["header"]["token"] = "another"
        assert (await http.post("/webhook/event", json=content)).status_code == 401
    assert "You wrote: “ahoy”." in (await end_of(made, said.message_id)).text
