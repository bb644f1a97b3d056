"""What may pass, what is turned away, and when a message is acknowledged: over real HTTP."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from datetime import timedelta
from urllib.parse import urlsplit

import httpx2
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from tests.channels.feishu.conftest import eventually

from mainstay.bus import Bus
from mainstay.channels.feishu.intake import Intake
from mainstay.channels.feishu.model import Bot, FeishuSettings
from mainstay.channels.feishu.press import Told, answer
from mainstay.channels.feishu.presses import Pressed
from mainstay.channels.feishu.webhook import Webhook
from mainstay.errors import ConfigError, StorageUnavailable
from mainstay.events import Event, MessageRefused, WebhookRejected
from mainstay.messages import turn_id_of
from mainstay.settings import SETTING, Secret
from mainstay.testing.clock import ManualClock

pytestmark = pytest.mark.anyio

KEY, TOKEN, APP = "encrypt-key", "verification-token", "cli_0123456789abcdef"
JSON = {"content-type": "application/json"}
HOUR = 3600.0
HEAD = b"POST /webhook/event HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


def encrypt(body: bytes, key: str = KEY) -> bytes:
    """As the platform does it; written from its documentation, not from the code that is tested."""
    padding = 16 - len(body) % 16
    encryptor = Cipher(
        algorithms.AES(hashlib.sha256(key.encode()).digest()), modes.CBC(bytes(range(16)))
    ).encryptor()
    data = bytes(range(16)) + encryptor.update(body + bytes([padding]) * padding) + encryptor.finalize()
    return json.dumps({"encrypt": base64.b64encode(data).decode()}).encode()


def sign(body: bytes, at_s: float, key: str = KEY) -> dict[str, str]:
    timestamp, nonce = str(int(at_s)), "nonce"
    signature = hashlib.sha256(f"{timestamp}{nonce}{key}".encode() + body).hexdigest()
    return JSON | {
        "X-Lark-Request-Timestamp": timestamp,
        "X-Lark-Request-Nonce": nonce,
        "X-Lark-Signature": signature,
    }


@dataclass
class Door:
    """A webhook that is served, and what came through it."""

    client: httpx2.AsyncClient
    clock: ManualClock
    intake: Intake
    events: list[Event]
    accepted: list = field(default_factory=list)
    recalled: list[str] = field(default_factory=list)
    edited: list[str] = field(default_factory=list)
    own_threads: set[str] = field(default_factory=set)
    pressed: list = field(default_factory=list)
    answered: list = field(default_factory=list)
    outcome: Pressed = field(default_factory=lambda: Pressed(told=Told.TRYING, turn_id="t1"))
    bot: Bot | None = field(default_factory=lambda: Bot(open_id="ou_bot", name="Mainstay"))
    error: Exception | None = None
    storing: asyncio.Event | None = None

    async def accept(self, message) -> bool:
        if self.storing is not None:
            await self.storing.wait()
        if self.error is not None:
            raise self.error
        self.accepted.append(message)
        return True

    async def recall(self, turn_id: str) -> None:
        if self.error is not None:
            raise self.error
        self.recalled.append(turn_id)

    async def edit(self, message_id: str) -> None:
        self.edited.append(message_id)

    async def answered_before(self, turn_id: str) -> bool:
        return turn_id in self.own_threads

    async def press(self, event) -> Pressed:
        if self.storing is not None:
            await self.storing.wait()
        if self.error is not None:
            raise self.error
        self.pressed.append(event)
        return self.outcome

    @property
    def now_s(self) -> float:
        return self.clock.now().timestamp()

    def event(self, *, kind="im.message.receive_v1", token=TOKEN, app=APP, age_s=0.0, **message) -> bytes:
        said = {
            "message_id": "om_1",
            "chat_id": "oc_1",
            "chat_type": "p2p",
            "message_type": "text",
            "content": '{"text":"hello"}',
            "create_time": "1",
        }
        sender = {"sender_id": {"open_id": "ou_ann"}, "sender_type": "user"}
        header = {
            "event_id": "e1",
            "event_type": kind,
            "create_time": str(int((self.now_s - age_s) * 1000)),
            "token": token,
            "app_id": app,
        }
        return json.dumps(
            {"schema": "2.0", "header": header, "event": {"sender": sender, "message": said | message}}
        ).encode()

    async def post(
        self, body: bytes, headers: dict[str, str] | None = None, path="/webhook/event"
    ) -> httpx2.Response:
        return await self.client.post(path, content=body, headers=JSON if headers is None else headers)

    async def signed(self, plain: bytes, *, age_s: float = 0.0, path="/webhook/event") -> httpx2.Response:
        body = encrypt(plain)
        return await self.post(body, sign(body, self.now_s - age_s), path)


@asynccontextmanager
async def a_door(served, **settings) -> AsyncIterator[Door]:
    known = {
        "app_id": APP,
        "app_secret": Secret("s"),
        "encrypt_key": Secret(KEY),
        "verification_token": Secret(TOKEN),
    }
    bus, clock, events = Bus(), ManualClock(), []
    bus.subscribe_all(events.append)
    door: Door
    settings = FeishuSettings(**known | settings)
    intake = Intake(
        "feishu",
        settings,
        bus=bus,
        clock=clock,
        accept=lambda message: door.accept(message),
        recalled=lambda turn_id: door.recall(turn_id),
        edited=lambda message_id: door.edit(message_id),
        answered_before=lambda turn_id: door.answered_before(turn_id),
        pressed=lambda event: door.press(event),
        answered=lambda pressed: door.answered.append(pressed),
        bot=lambda: door.bot,
    )
    webhook = Webhook("feishu", settings, bus=bus, clock=clock, intake=intake)
    async with (
        served([("/webhook/event", webhook.event), ("/webhook/card", webhook.card)]) as origin,
        httpx2.AsyncClient(base_url=origin, trust_env=False) as client,
    ):
        door = Door(client, clock, intake, events)
        yield door


@pytest.fixture
async def door(served) -> AsyncIterator[Door]:
    async with a_door(served) as door:
        yield door


@pytest.fixture
async def plain_door(served) -> AsyncIterator[Door]:
    """Without an encrypt key: the token is all there is."""
    async with a_door(served, encrypt_key=Secret()) as door:
        yield door


def rejected(door: Door, response: httpx2.Response, status: int) -> None:
    """Turned away at once: nothing passed, somebody hears of it, and the sender's own words do not come back."""
    assert response.status_code == status
    assert door.accepted == []
    assert [(type(event), event.status) for event in door.events] == [(WebhookRejected, status)]
    assert "hostile" not in response.text
    assert "hostile" not in door.events[0].reason


async def test_a_message_is_acknowledged_and_read(door):
    response = await door.signed(door.event())
    assert (response.status_code, response.json()) == (200, {})
    [message] = door.accepted
    assert (message.external_id, message.text, message.bot_id) == ("om_1", "hello", APP)
    assert door.events == []


async def test_a_message_that_is_taken_back_is_told_by_its_turn(door):
    event = json.loads(door.event(kind="im.message.recalled_v1"))
    event["event"] = {"message_id": "om_1", "chat_id": "oc_1", "recall_type": "message_owner"}
    response = await door.signed(json.dumps(event).encode())
    assert (response.status_code, response.json()) == (200, {})
    assert door.recalled == [turn_id_of("feishu", APP, "message", "om_1")]
    assert door.accepted == []


async def change(door, kind, event):
    body = json.loads(door.event(kind=kind))
    return await door.signed(json.dumps(body | {"event": event}).encode())


async def test_a_recall_that_could_not_be_stored_is_to_be_told_again(door):
    door.error = StorageUnavailable("the disk is full")
    assert (await change(door, "im.message.recalled_v1", {"message_id": "om_1"})).status_code == 503
    assert [type(event) for event in door.events] == [MessageRefused]


async def test_of_an_edit_only_the_message_that_it_names_is_believed(door):
    event = {"message": {"message_id": "om_1", "content": '{"text":"forged"}'}, "sender": "anything"}
    assert (await change(door, "im.message.updated_v1", event)).status_code == 200
    assert (await change(door, "im.message.updated_v1", {"message_id": "om_2"})).status_code == 200
    assert door.edited == ["om_1", "om_2"]
    assert door.accepted == []


@pytest.mark.parametrize("kind", ["im.message.recalled_v1", "im.message.updated_v1"])
@pytest.mark.parametrize("event", [{}, {"message_id": 7}, {"message": []}])
async def test_a_change_that_names_no_message_is_counted_and_changes_nothing(door, kind, event):
    assert (await change(door, kind, event)).status_code == 200
    assert (door.recalled, door.edited) == ([], [])
    assert door.intake.dropped == {kind: 1}


async def test_an_arrival_that_does_not_say_where_is_malformed(served):
    async with a_door(served, welcome="Hello.") as door:
        for kind in ("im.chat.access_event.bot_p2p_chat_entered_v1", "im.chat.member.bot.added_v1"):
            assert (await change(door, kind, {"operator_id": {"open_id": "ou_1"}})).status_code == 400
        assert door.accepted == []


async def test_a_welcome_has_the_day_on_which_somebody_came_also_when_it_is_told_late(served):
    async with a_door(served, welcome="Hello.") as door:
        kind, event = (
            "im.chat.access_event.bot_p2p_chat_entered_v1",
            {"chat_id": "oc_1", "operator_id": {"open_id": "o"}},
        )
        for age_s in (0.0, 7 * 3600.0):
            body = json.loads(door.event(kind=kind, age_s=age_s)) | {"event": event}
            await door.signed(json.dumps(body).encode())
        days = [message.external_id for message in door.accepted]
        made = [door.clock.now() - timedelta(hours=hours) for hours in (0, 7)]
        assert days == [f"welcome:o:{at:%Y-%m-%d}" for at in made]
        assert {(message.kind, message.notice, message.target_id) for message in door.accepted} == {
            ("event", "Hello.", "")
        }


async def test_a_message_is_acknowledged_only_when_it_is_stored(door):
    door.storing = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        posting = tasks.create_task(door.signed(door.event()))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await asyncio.shield(posting)
        door.storing.set()
    assert posting.result().status_code == 200
    assert len(door.accepted) == 1


async def test_a_message_that_could_not_be_stored_is_not_acknowledged(door):
    door.error = StorageUnavailable("hostile disk")
    response = await door.signed(door.event())
    assert response.status_code == 503
    assert [type(event) for event in door.events] == [MessageRefused]
    assert "hostile" not in response.text


async def test_storing_has_a_deadline(served):
    async with a_door(served, ack_timeout=0.05) as door:
        door.storing = asyncio.Event()
        response = await door.signed(door.event())
        assert response.status_code == 503
        assert [type(event) for event in door.events] == [MessageRefused]


@pytest.mark.parametrize("path", ["/webhook/event", "/webhook/card"])
@pytest.mark.parametrize("encrypted", [True, False])
async def test_a_challenge_is_answered(door, path, encrypted):
    challenge = {"type": "url_verification", "token": TOKEN, "challenge": 'a"b\\好'}
    body = json.dumps(challenge).encode()
    response = await door.post(encrypt(body) if encrypted else body, path=path)
    assert (response.status_code, response.json()) == (200, {"challenge": 'a"b\\好'})


async def test_the_documented_challenge_is_answered(served):
    encrypted = (
        "AAECAwQFBgcICQoLDA0OD/noQ9d6e50LkL6UDuOcIf0F09+qYGJ7oOYXevDSk36lp3A7B+lpiDHBZKofCPMt5U4dQiTNrQzTXN4DrTvCsLNa8HAq"
        "2zfWv17giHEFcvebxbZU87kzXtxHpzQoYq11Eg=="
    )
    key, token = Secret("sandbox-encrypt-key-001"), Secret("vtok_0123456789abcdefABCDEF")
    async with a_door(served, encrypt_key=key, verification_token=token) as door:
        response = await door.post(json.dumps({"encrypt": encrypted}).encode())
        assert (response.status_code, response.text) == (200, '{"challenge":"ajls384kdj1234"}')


@pytest.mark.parametrize("challenge", ["", "x" * 1001, 7, None])
async def test_a_challenge_that_is_none_is_not_echoed(plain_door, challenge):
    body = json.dumps({"type": "url_verification", "token": TOKEN, "challenge": challenge}).encode()
    rejected(plain_door, await plain_door.post(body), 400)


async def test_a_challenge_with_a_wrong_token_is_refused(door):
    body = json.dumps({"type": "url_verification", "token": "hostile", "challenge": "hostile"}).encode()
    rejected(door, await door.post(body), 401)


async def test_an_unencrypted_challenge_needs_a_token_to_compare(served):
    async with a_door(served, verification_token=Secret()) as door:
        body = json.dumps({"type": "url_verification", "token": "", "challenge": "hostile"}).encode()
        rejected(door, await door.post(body), 401)


async def test_with_a_key_nothing_passes_unencrypted_even_with_the_right_token(door):
    rejected(door, await door.post(door.event()), 401)


async def test_with_a_key_nothing_passes_unsigned(door):
    rejected(door, await door.post(encrypt(door.event())), 401)


@pytest.mark.parametrize("name", ["X-Lark-Signature", "X-Lark-Request-Timestamp", "X-Lark-Request-Nonce"])
@pytest.mark.parametrize("value", [None, "", "é", "0" * 64, "hostile"])
async def test_a_forged_or_missing_header_is_refused(door, name, value):
    body = encrypt(door.event())
    headers = sign(body, door.now_s)
    del headers[name]
    if value is not None:
        headers[name] = value
    sent = [(key.encode(), text.encode("latin-1")) for key, text in headers.items()]
    rejected(door, await door.client.post("/webhook/event", content=body, headers=sent), 401)


async def test_a_signature_of_other_bytes_is_refused(door):
    body = encrypt(door.event())
    rejected(door, await door.post(body + b" ", sign(body, door.now_s)), 401)


async def test_a_signature_with_another_key_is_refused(door):
    body = encrypt(door.event(), "other")
    rejected(door, await door.post(body, sign(body, door.now_s, "other")), 401)


async def test_a_wrong_token_is_refused_even_when_signed(door):
    rejected(door, await door.signed(door.event(token="hostile")), 401)


async def test_an_event_of_another_app_is_refused(door):
    rejected(door, await door.signed(door.event(app="cli_hostile")), 403)


@pytest.mark.parametrize("form", ["AbC", "UPPER", "lower"])
async def test_the_case_of_headers_does_not_matter(door, form):
    body = encrypt(door.event())
    change = {"AbC": str.title, "UPPER": str.upper, "lower": str.lower}[form]
    headers = {change(name): value for name, value in sign(body, door.now_s).items()}
    assert (await door.post(body, headers)).status_code == 200


@pytest.mark.parametrize(("age_s", "status"), [(7.5 * HOUR, 200), (-200, 200), (8.1 * HOUR, 401), (-400, 401)])
async def test_a_repeat_within_eight_hours_passes_and_older_or_future_ones_do_not(door, age_s, status):
    assert (await door.signed(door.event(), age_s=age_s)).status_code == status
    assert len(door.accepted) == (status == 200)


@pytest.mark.parametrize(("age_s", "status"), [(7.5 * HOUR, 200), (8.1 * HOUR, 401), (-400, 401)])
async def test_without_a_key_the_event_tells_its_age(plain_door, age_s, status):
    assert (await plain_door.post(plain_door.event(age_s=age_s))).status_code == status


@pytest.mark.parametrize("token", ["", "hostile", TOKEN + " ", TOKEN[:-1]])
async def test_without_a_key_the_token_must_be_right(plain_door, token):
    rejected(plain_door, await plain_door.post(plain_door.event(token=token)), 401)


MALFORMED = [
    b"",
    b"hostile",
    b"[]",
    b"null",
    b"\xff\xfe",
    b"{}",
    b'{"schema":"2.0"}',
    b'{"schema":"2.0","header":{"token":"%s"},"event":{}}' % TOKEN.encode(),
    b'{"schema":"3.0","event":{}}',
    b'{"encrypt":7}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
async def test_what_is_malformed_is_refused_as_such_only_once_it_is_signed(door, body):
    rejected(door, await door.post(body, sign(body, door.now_s)), 400)
    door.events.clear()
    rejected(door, await door.signed(body), 400)
    door.events.clear()
    rejected(door, await door.post(body), 401)
    door.events.clear()
    rejected(door, await door.post(encrypt(body)), 401)


@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
async def test_without_a_key_what_is_malformed_is_refused(plain_door, body):
    rejected(plain_door, await plain_door.post(body), 400)


async def test_a_message_without_its_parts_is_malformed(door):
    rejected(door, await door.signed(door.event(message_id="")), 400)


async def test_the_answer_to_what_is_unsigned_does_not_tell_bad_padding_from_bad_content(door):
    good = json.loads(encrypt(door.event()))["encrypt"]
    answers = set()
    for byte in range(256):
        data = bytearray(base64.b64decode(good))
        data[-17] = byte
        response = await door.post(json.dumps({"encrypt": base64.b64encode(data).decode()}).encode())
        answers.add((response.status_code, response.text))
    assert len(answers) == 1


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_only_posts_are_taken(door, method):
    response = await door.client.request(method, "/webhook/event")
    rejected(door, response, 405)
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "headers",
    [{"content-type": "text/plain"}, {"content-type": "multipart/form-data"}, JSON | {"content-encoding": "gzip"}],
    ids=["text", "form", "gzip"],
)
async def test_only_json_is_taken(door, headers):
    rejected(door, await door.post(b"{}", headers), 415)


async def test_json_with_a_charset_is_json(door):
    body = encrypt(door.event())
    headers = sign(body, door.now_s) | {"content-type": "application/json; charset=utf-8"}
    assert (await door.post(body, headers)).status_code == 200


async def test_what_says_that_it_is_too_large_is_not_read(door):
    head = HEAD + b"content-length: 99999999\r\n\r\n"
    assert b" 413 " in await raw(door, head)
    assert [event.status for event in door.events] == [413]


async def test_what_turns_out_too_large_is_not_read_to_its_end(served):
    async with a_door(served, body_limit=1000) as door:

        async def chunks():
            for _ in range(11):
                yield b"x" * 100

        rejected(door, await door.client.post("/webhook/event", content=chunks(), headers=JSON), 413)


async def test_who_sends_too_slowly_is_sent_away(served):
    async with a_door(served, ack_timeout=0.1) as door:
        head = HEAD + b"content-length: 10\r\n\r\n{"
        assert b" 408 " in await raw(door, head)
        assert [event.status for event in door.events] == [408]


async def raw(door: Door, data: bytes) -> bytes:
    address = urlsplit(str(door.client.base_url))
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(data)
    await writer.drain()
    try:
        async with asyncio.timeout(10):
            return await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_who_hangs_up_is_forgotten(door):
    address = urlsplit(str(door.client.base_url))
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(HEAD + b"content-length: 10\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await door.signed(door.event())).status_code == 200
    assert door.events == []


async def test_an_unknown_event_is_acknowledged_counted_and_dropped(door):
    for _ in range(2):
        assert (await door.signed(door.event(kind="im.chat.updated_v1"))).status_code == 200
    assert door.accepted == []
    assert door.intake.dropped == {"im.chat.updated_v1": 2}


async def test_names_of_unknown_events_do_not_fill_the_memory(door):
    for number in range(120):
        await door.signed(door.event(kind=f"unknown_{number}"))
    assert len(door.intake.dropped) == 101
    assert door.intake.dropped.total() == 120


async def test_who_is_not_spoken_to_does_not_answer(door):
    assert (await door.signed(door.event(chat_type="group"))).status_code == 200
    assert door.accepted == []
    assert door.intake.dropped == {"not_mentioned": 1}


async def test_a_mention_that_can_not_be_told_yet_comes_again(door):
    door.bot = None
    mentions = [{"key": "@_user_1", "id": {"open_id": "ou_bot"}, "name": "Mainstay"}]
    said = door.event(chat_type="group", mentions=mentions)
    assert (await door.signed(said)).status_code == 503
    assert [type(event) for event in door.events] == [MessageRefused]
    door.bot = Bot(open_id="ou_bot", name="Mainstay")
    assert (await door.signed(said)).status_code == 200
    assert len(door.accepted) == 1


@pytest.mark.parametrize("path", ["/webhook/event", "/webhook/card"])
@pytest.mark.parametrize("kind", ["card.action.trigger", "card.action.trigger_v1"])
async def test_a_press_is_answered_with_what_came_of_it_and_only_then_followed_up(door, kind, path):
    response = await door.signed(door.event(kind=kind), path=path)
    assert (response.status_code, response.json()) == (200, answer(Told.TRYING))
    assert [event["message"]["message_id"] for event in door.pressed] == ["om_1"]

    async def followed_up() -> bool:
        return door.answered == [door.outcome]

    await eventually(followed_up)
    assert (door.accepted, door.intake.dropped) == ([], {})


async def test_a_press_that_leads_to_nothing_is_counted(door):
    door.outcome = Pressed(told=Told.NO_MORE, dropped="press_elsewhere")
    response = await door.signed(door.event(kind="card.action.trigger"))
    assert (response.status_code, response.json()) == (200, answer(Told.NO_MORE))
    assert door.intake.dropped == {"press_elsewhere": 1}


async def test_who_pressed_is_told_when_it_could_not_be_stored(door):
    door.error = StorageUnavailable("hostile disk")
    response = await door.signed(door.event(kind="card.action.trigger"))
    assert (response.status_code, response.json()) == (200, answer(Told.NOT_NOW))
    assert [type(event) for event in door.events] == [MessageRefused]


async def test_who_pressed_is_told_before_the_platform_gives_up(served):
    async with a_door(served, ack_timeout=0.05) as door:
        door.storing = asyncio.Event()
        response = await door.signed(door.event(kind="card.action.trigger"))
        assert (response.status_code, response.json()) == (200, answer(Told.NOT_NOW))
        assert [type(event) for event in door.events] == [MessageRefused]
        assert door.answered == []


OLDER = {
    "open_id": "ou_ann",
    "open_message_id": "om_1",
    "token": "c-1",
    "action": {"tag": "button", "value": {"a": 1}},
}


def sign_older(body: bytes, at_s: float, token: str = TOKEN) -> dict[str, str]:
    signature = hashlib.sha1(f"{int(at_s)}nonce{token}".encode() + body).hexdigest()
    return sign(body, at_s) | {"X-Lark-Signature": signature}


@pytest.mark.parametrize("encrypted", [True, False])
async def test_a_press_in_its_older_form_is_signed_with_the_token(door, encrypted):
    body = json.dumps(OLDER).encode()
    body = encrypt(body) if encrypted else body
    response = await door.post(body, sign_older(body, door.now_s), "/webhook/card")
    assert (response.status_code, response.json()) == (200, answer(Told.TRYING))
    assert door.pressed == [OLDER]


async def test_without_a_key_a_press_in_its_older_form_is_taken_too(plain_door):
    body = json.dumps(OLDER).encode()
    response = await plain_door.post(body, sign_older(body, plain_door.now_s), "/webhook/card")
    assert response.status_code == 200
    assert plain_door.pressed == [OLDER]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"X-Lark-Signature": "0" * 40}, 401),
        ({"X-Lark-Signature": None}, 401),
        ({"X-Lark-Request-Nonce": "hostile"}, 401),
    ],
)
async def test_a_press_in_its_older_form_that_is_forged_is_refused(door, change, status):
    body = json.dumps(OLDER).encode()
    headers = sign_older(body, door.now_s) | change
    headers = {name: value for name, value in headers.items() if value is not None}
    rejected(door, await door.post(body, headers, "/webhook/card"), status)
    assert door.pressed == []


async def test_a_press_in_its_older_form_grows_stale(door):
    body = json.dumps(OLDER).encode()
    rejected(door, await door.post(body, sign_older(body, door.now_s - 9 * HOUR), "/webhook/card"), 401)


async def test_the_older_signature_opens_no_other_address_and_no_other_event(door):
    body = json.dumps(OLDER).encode()
    rejected(door, await door.post(body, sign_older(body, door.now_s)), 401)
    door.events.clear()
    message = door.event()
    response = await door.post(message, sign_older(message, door.now_s), "/webhook/card")
    assert (response.json(), door.accepted) == (
        answer(Told.TRYING),
        [],
    )  # whatever it says, it is taken for a press


async def test_without_a_token_nothing_is_signed_with_it(served):
    async with a_door(served, verification_token=Secret()) as door:
        body = json.dumps(OLDER).encode()
        rejected(door, await door.post(body, sign_older(body, door.now_s, ""), "/webhook/card"), 401)


async def test_a_message_that_comes_to_the_address_for_cards_is_answered_too(door):
    assert (await door.signed(door.event(), path="/webhook/card")).status_code == 200
    assert len(door.accepted) == 1


async def test_a_press_is_verified_as_a_message_is(door):
    body = encrypt(door.event(kind="card.action.trigger"))
    rejected(door, await door.post(body, sign(body, door.now_s, "hostile"), "/webhook/card"), 401)


async def test_schema_1_is_verified_and_answered(door):
    event = {
        "type": "message",
        "app_id": APP,
        "open_chat_id": "oc_1",
        "chat_type": "private",
        "msg_type": "text",
        "open_id": "ou_ann",
        "open_message_id": "om_1",
        "text": "hello",
    }
    envelope = {"uuid": "u", "token": TOKEN, "ts": f"{door.now_s:.6f}", "type": "event_callback", "event": event}
    assert (await door.signed(json.dumps(envelope).encode())).status_code == 200
    [message] = door.accepted
    assert (message.text, message.sent_at) == ("hello", door.clock.now())
    response = await door.signed(json.dumps(envelope | {"token": "hostile"}).encode())
    assert response.status_code == 401


def test_a_channel_that_anybody_could_speak_to_can_not_be_made():
    with pytest.raises(ConfigError, match=r"encrypt_key .* or verification_token"):
        FeishuSettings(mode="webhook", app_id=APP, app_secret=Secret("s")).validate("feishu")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"app_id": ""}, "FEISHU_APP_ID"),
        ({"app_secret": Secret()}, "FEISHU_APP_SECRET"),
        ({"ack_timeout": 3.0}, "ack_timeout must be under 3s"),
        ({"queue_wait": 60.0}, "queue_wait must be less than delivery_timeout"),
        ({"domain": "http://open.feishu.cn"}, "is not a domain"),
        ({"domain": "https://open.feishu.cn/x"}, "is not a domain"),
        ({"domain": "open.feishu.cn"}, "is not a domain"),
    ],
)
def test_settings_that_can_not_work_are_refused_with_what_to_do(change, problem):
    known = {"app_id": APP, "app_secret": Secret("s"), "encrypt_key": Secret(KEY)}
    FeishuSettings(**known).validate("feishu")
    with pytest.raises(ConfigError, match=problem) as error:
        FeishuSettings(**known | change).validate("other")
    assert str(error.value).startswith("channels.other: ")


def test_a_domain_is_written_in_one_way_and_a_rate_within_what_is_allowed():
    parsers = {field.name: field.metadata[SETTING].parse for field in fields(FeishuSettings)}
    assert parsers["domain"]("https://open.larksuite.com/") == "https://open.larksuite.com"
    assert parsers["domain"]("http://127.0.0.1:8000") == "http://127.0.0.1:8000"
    assert parsers["calls_per_second"]("5") == 5.0
    with pytest.raises(ValueError, match=r"from 0.1 to 50"):
        parsers["calls_per_second"]("0")
