"""The text that a card shows is the model's text, however it comes and whatever the platform refuses on the way."""

import asyncio
import json
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType

import httpx2
import pytest
from tests.mutants import mutant

from mainstay.bus import Bus
from mainstay.channels.characters import well_formed
from mainstay.channels.feishu import screen
from mainstay.channels.feishu.card import final_cards, streaming_card
from mainstay.channels.feishu.channel import FeishuChannel
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.channels.feishu.tables import HEAD
from mainstay.clock import SystemClock
from mainstay.messages import Finished, Message, Outcome, TextAppended, TextReplaced
from mainstay.recovery.breaker.model import BreakerSettings
from mainstay.recovery.breaker.permits import Breaker
from mainstay.sandbox.feishu.cards import CardKit
from mainstay.sandbox.feishu.model import ApiRequest, App, Moment, Options
from mainstay.sandbox.feishu.platform import Platform
from mainstay.sandbox.feishu.tenant import Tenant
from mainstay.settings import Secret
from mainstay.storage.migrate import upgrade
from mainstay.storage.model import StorageSettings
from mainstay.storage.sqlite import Storage
from mainstay.testing.clock import ManualClock

SAMPLES = [
    "好好学习，天天向上。人人为我，我为人人。谢谢谢谢！\n\n",
    "The fox jumps over the the lazy dog. aaaa bbbb  cc\n",
    "\n```python\nfor i in range(3):\n    if i:\n        print(i, i)\n\n\n```\n",
    "| a | b |\n|---|---|\n| 1 | 1 |\n\n",
    "👩‍👩‍👧‍👦🇨🇳🇨🇳é️ ok 🙂🙂🙂 שָׁלוֹם العربية ",
    "a < b && c > d <font color='red'>x</font> \\* `<b>`\r\nline\u2028line\n",
    "> quote\n> > quote\n\n# 标题\n\n- a\n  - a\n1. b\n[l](https://e.org/?a=b&a=b)\n",
]


def chunks(rng: random.Random) -> list[str]:
    """A text as a model sends it: in pieces of any length, also between the halves of a character."""
    text = "".join(rng.choice(SAMPLES) for _ in range(rng.randint(1, 6)))
    units = text.encode("utf-16-le")
    position, pieces = 0, []
    while position < len(units):
        size = 2 * rng.choice((1, 1, 2, 3, 8, 40))
        pieces.append(units[position : position + size].decode("utf-16-le", "surrogatepass"))
        position += size
    return pieces


def whole(pieces: list[str]) -> str:
    return "".join(pieces).encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def follows(shown: str, text: str) -> bool:
    """Whether it is a beginning of the text, but for the end of its code and the half of a character."""
    beginnings = {shown, *(shown.removesuffix(end) for end in ("\n```", "```"))}
    return any(text.startswith((each, each.rstrip("\ufffd"))) for each in beginnings)


def wrongly_shown(seed: int, screens: ModuleType = screen) -> str:
    """Play one answer against the platform's own card; returns what was shown and should not have been."""
    rng = random.Random(seed)
    pieces, kit, now_s, sequence = chunks(rng), CardKit(rng), 0.0, 0

    def now() -> Moment:
        return Moment(now_s, now_s, ManualClock().now())

    card = kit.create({"type": "card_json", "data": streaming_card("Thinking…")}, now())
    shown = screens.Screen(status="Thinking…")
    for piece in pieces:
        now_s += 1.0
        shown.take(TextAppended(piece))
        write = shown.next_write()
        if write is None or rng.random() < 0.3:
            continue
        sequence += 1
        kit.stream(card, write[0], {"content": write[1], "sequence": sequence}, now())
        if rng.random() < 0.9:  # else the answer was lost, and it is written again
            shown.wrote(*write)
    text = whole(pieces)
    [final] = final_cards(well_formed(shown.text), "")
    said = [said for _, _, said in card.history[1:]]
    kit.replace(card, {"card": {"type": "card_json", "data": final}, "sequence": sequence + 1}, now())
    wrong = [each for each in said if not follows(each, text)]
    return card.history[-1][2] if card.history[-1][2] != text else "".join(wrong[:1])


def test_in_a_thousand_ways_to_cut_a_text_each_card_shows_it_byte_for_byte() -> None:
    assert [seed for seed in range(1000) if wrongly_shown(seed)] == []


MUTANTS = {
    "what seems to be there already is left out": (
        "self.text += text",
        "self.text += text[1:] if self.text.endswith(text[:1]) else text",
    ),
    "halves of a character are dropped": (
        "return streamed(well_formed(self.text))",
        'return streamed(self.text.encode("utf-8", "ignore").decode().replace("🙂🙂", "🙂"))',
    ),
    "the end is trimmed": ("self.text += text", "self.text += text.rstrip()"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_screen_that_loses_text_would_be_noticed(name: str) -> None:
    wrong = mutant(screen, *MUTANTS[name])
    assert any(wrongly_shown(seed, wrong) for seed in range(200))


class Hastened(SystemClock):
    """The clock of this machine, which each request to the platform moves on."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead_s)


class InProcess(httpx2.AsyncBaseTransport):
    """The platform without a network between; ``trouble`` says what becomes of a request."""

    def __init__(self, platform: Platform, clock: Hastened, trouble: Callable[[str, str], str]) -> None:
        self._platform = platform
        self._clock = clock
        self._trouble = trouble

    @property
    def now(self) -> Moment:
        return Moment(self._clock.monotonic(), self._clock.monotonic(), self._clock.now())

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self._clock.ahead_s += 0.2  # below every limit
        trouble = self._trouble(request.method, request.url.path)
        if trouble.isdecimal():
            return httpx2.Response(400, json={"code": int(trouble), "msg": "trouble"})
        body = await request.aread()
        asked = ApiRequest(
            method=request.method,
            path=request.url.path,
            query=dict(request.url.params),
            bearer=request.headers.get("authorization", "").removeprefix("Bearer "),
            body=json.loads(body) if body else {},
        )
        reply = self._platform.call(asked, self.now)
        if trouble == "lost":
            raise httpx2.ReadTimeout("the answer was lost")
        return httpx2.Response(reply.status, json=reply.body, headers=dict(reply.headers))


TROUBLE = {
    "POST /cardkit/v1/cards": ("99991400", "lost"),
    "POST /reply": ("230020", "lost", "230049"),
    "PUT /content": ("99991400", "200850", "300309", "300317", "200810", "200740", "300311", "lost", "1500"),
    "PUT /cards/": ("99991400", "300317", "200810", "200750", "lost"),
    "PATCH /settings": ("lost", "300317", "300309"),
    "DELETE /messages/": ("99991400", "lost"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("seed", range(4))
async def test_whatever_the_platform_refuses_each_answer_ends_as_one_outcome_that_is_the_text(
    tmp_path: Path, seed: int
) -> None:
    rng, clock = random.Random(seed), Hastened()

    def trouble(method: str, path: str) -> str:
        kinds = next((kinds for key, kinds in TROUBLE.items() if _fits(key, method, path)), ())
        return rng.choice(kinds) if kinds and rng.random() < 0.15 else ""

    app = App(app_id="cli_a000000000000001", app_secret="s", encrypt_key="k" * 16, verification_token="v")
    tenant = Tenant(app, Options(), rng)
    transport = InProcess(Platform(tenant, rng), clock, trouble)
    settings = FeishuSettings(
        app_id=app.app_id,
        app_secret=Secret("s"),
        encrypt_key=Secret("k" * 16),
        update_interval=0.0,
        retry_base=0.001,
        retry_cap=0.002,
        reopen_after=3.0,
        deliver_wait=60.0,
    )
    url = f"sqlite:///{tmp_path / 'feishu.db'}"
    upgrade(url, ["mainstay.channels.feishu"])
    storage = Storage(StorageSettings(url=url, synchronous="normal"), clock=clock)
    await storage.open({"feishu": HEAD})
    async with httpx2.AsyncClient(transport=transport) as http:
        channel = FeishuChannel(
            "feishu",
            settings,
            storage=storage,
            bus=Bus(),
            clock=clock,
            accept=lambda _message: asyncio.sleep(0, True),
            recalled=lambda _turn_id: asyncio.sleep(0),
            answered_before=lambda _turn_id: asyncio.sleep(0, False),
            retry_window_s=3600.0,
            http=http,
            guard=Breaker("channel:feishu", BreakerSettings(open_time=0.001, longest_open=0.001)),
        )
        running = asyncio.get_running_loop().create_task(channel.run())
        asked = {f"ou_{number}": chunks(rng) for number in range(12)}
        messages = {sender: _said(tenant, transport, app, sender) for sender in asked}

        async def answer(sender: str) -> None:
            message, pieces, attempt = messages[sender], asked[sender], 1
            replier = channel.replier(message, message.turn_id, attempt)
            for number, piece in enumerate(pieces):
                replier.show(TextAppended(piece))
                await asyncio.sleep(0.001 if rng.random() < 0.5 else 0)
                if rng.random() < 0.05:  # the worker has lost the message, and another goes on
                    attempt += 1
                    replier = channel.replier(message, message.turn_id, attempt)
                    replier.show(TextReplaced("".join(pieces[: number + 1])))
            final = Finished(outcome=Outcome.ANSWERED, text=whole(pieces))
            await storage.write(lambda tx: replier.post(tx, final))
            await replier.deliver()

        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            for sender in asked:
                tasks.create_task(answer(sender))
        running.cancel()
        await asyncio.wait({running})
    await storage.close()
    for sender, message in messages.items():
        [verdict] = tenant.record.verdicts(message.external_id, transport.now)
        assert (verdict.outcomes, verdict.unfinished) == (1, 0)
        assert verdict.texts == (whole(asked[sender]),)
        for reply in tenant.record.snapshot(message.external_id, transport.now, history=True).replies:
            wrong = [shown.text for shown in reply.history if not follows(shown.text, whole(asked[sender]))]
            assert set(wrong) <= {"…"}


def _fits(key: str, method: str, path: str) -> bool:
    wanted, part = key.split()
    return method == wanted and part in path


def _said(tenant: Tenant, transport: InProcess, app: App, sender: str) -> Message:
    said = tenant.say("hello", transport.now)
    return Message(
        channel="feishu",
        bot_id=app.app_id,
        external_id=said.message_id,
        chat_id=said.chat_id,
        thread_id=said.message_id,
        sender_id=sender,
        text="hello",
        sent_at=transport.now.at,
    )
