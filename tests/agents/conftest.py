"""A responder between real HTTP peers: two models that misbehave on command, and one that says what it is told."""

import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mainstay.agents.mcp.server import McpServer
from mainstay.agents.model import AgentSettings, Tier
from mainstay.agents.responder import build
from mainstay.bus import Bus
from mainstay.clock import Clock, SystemClock
from mainstay.events import Event
from mainstay.messages import AnswerEvent, Exchange, Finished, Message, Responder
from mainstay.models.budget.ledger import Ledger
from mainstay.models.budget.model import BudgetSettings
from mainstay.models.http import model_client
from mainstay.models.model import ModelSettings, Price
from mainstay.recovery.breaker.registry import Breakers
from mainstay.recovery.model import RecoverySettings
from mainstay.settings import Secret
from mainstay.testing.provider import ServedProvider, served_provider
from mainstay.testing.turns import NotebookInMemory, StepsInMemory, ask, collect

CLOCK = SystemClock()
ONCE = RecoverySettings(retries=0)
"""Each model is asked once in a call."""


def message(text: str, chat: str = "chat") -> Message:
    return Message(
        channel="console",
        bot_id="bot",
        external_id=text,
        chat_id=chat,
        sender_id="somebody",
        text=text,
        sent_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


@dataclass
class Bench:
    """Everything around a responder."""

    primary: ServedProvider
    fallback: ServedProvider
    http: httpx2.AsyncClient
    bus: Bus = field(default_factory=Bus)
    heard: list[Event] = field(default_factory=list)
    recovery: RecoverySettings = ONCE
    breakers: Breakers = field(default_factory=Breakers)
    servers: Mapping[str, McpServer] = field(default_factory=dict)
    tier: Tier = "auto"
    limits: dict[str, object] = field(default_factory=dict)
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    changed: dict[str, ModelSettings] = field(default_factory=dict)
    ledger: Ledger = field(init=False)

    @property
    def models(self) -> dict[str, ModelSettings]:
        """Both providers' and those that a test has changed or added."""
        return {"primary": self.model(self.primary), "fallback": self.model(self.fallback)} | self.changed

    def model(self, provider: ServedProvider) -> ModelSettings:
        usual = ModelSettings(
            base_url=provider.url,
            model="m",
            api_key=Secret(provider.token),
            first_token_timeout=0.4,
            idle_timeout=0.4,
            total_timeout=5.0,
            price=Price(input=Decimal(1), output=Decimal(2)),
        )
        return replace(usual, **self.limits)

    def responder(self, models: Sequence[str] = ("primary", "fallback"), **agents: AgentSettings) -> Responder:
        manager = agents.pop("manager", AgentSettings())
        self.ledger = Ledger(self.budget, self.models, bus=self.bus, clock=CLOCK)
        return build(
            {"manager": manager if manager.models else replace(manager, models=tuple(models)), **agents},
            self.models,
            bus=self.bus,
            clock=CLOCK,
            http=self.http,
            servers=self.servers,
            recovery=self.recovery,
            breakers=self.breakers,
            ledger=self.ledger,
            tier=self.tier,
        )

    async def ask(
        self,
        responder: Responder,
        text: str,
        *,
        steps: StepsInMemory | None = None,
        notebook: NotebookInMemory | None = None,
        history: Sequence[Exchange] = (),
        timeout_s: float = 30.0,
        chat: str = "chat",
    ) -> tuple[list[AnswerEvent], Finished]:
        return await collect(self.begin(responder, text, steps, notebook, history, timeout_s, chat))

    def begin(
        self,
        responder: Responder,
        text: str,
        steps: StepsInMemory | None = None,
        notebook: NotebookInMemory | None = None,
        history: Sequence[Exchange] = (),
        timeout_s: float = 30.0,
        chat: str = "chat",
    ) -> AsyncGenerator[AnswerEvent, None]:
        return ask(
            responder,
            message(text, chat),
            clock=CLOCK,
            steps=steps,
            notebook=notebook,
            history=history,
            timeout_s=timeout_s,
        )

    def heard_of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.heard if type(event) is kind]


@pytest.fixture
async def bench() -> AsyncGenerator[Bench, None]:
    async with served_provider() as primary, served_provider("fallback") as fallback, model_client() as http:
        bench = Bench(primary, fallback, http)
        bench.bus.subscribe_all(bench.heard.append)
        yield bench


@dataclass
class Dictated:
    """A model that answers each request with the next of these streams; ``asked`` has the requests."""

    streams: list[list[dict[str, object] | str]] = field(default_factory=list)
    asked: list[dict[str, object]] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        self.asked.append(await request.json())
        lines = [each if isinstance(each, str) else json.dumps(each) for each in self.streams.pop(0)]
        return Response("".join(f"data: {line}\n\n" for line in lines), media_type="text/event-stream")

    def says(self, *texts: str, finish: str = "stop", **usage: int) -> None:
        """Queue a stream of these pieces of text."""
        self.streams.append(
            [*(chunk({"content": text}) for text in texts), chunk({}, finish, usage or None), "[DONE]"]
        )

    def calls(self, *calls: tuple[str, str, str], text: str = "") -> None:
        """Queue a stream that calls these tools: id, name, arguments."""
        parts = [
            {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for index, (call_id, name, arguments) in enumerate(calls)
        ]
        begin = [chunk({"content": text})] if text else []
        self.streams.append([*begin, chunk({"tool_calls": parts}), chunk({}, "tool_calls"), "[DONE]"])


def chunk(delta: object, finish: str | None = None, usage: dict[str, int] | None = None) -> dict[str, object]:
    return {
        "id": "1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **({"usage": usage} if usage else {}),
    }


@dataclass
class Told:
    """A responder whose only model is `Dictated`."""

    model: Dictated
    build: Callable[..., Responder]
    heard: list[Event]
    allow: tuple[str, ...] = ()

    async def ask(
        self, text: str, *, steps: StepsInMemory | None = None, history: Sequence[Exchange] = (), **settings: object
    ) -> tuple[list[AnswerEvent], Finished]:
        return await collect(self.begin(text, steps=steps, history=history, **settings))

    def begin(
        self,
        text: str,
        *,
        steps: StepsInMemory | None = None,
        history: Sequence[Exchange] = (),
        clock: Clock = CLOCK,
        **settings: object,
    ) -> AsyncGenerator[AnswerEvent, None]:
        responder = self.build(allow=self.allow, clock=clock, **settings)
        return ask(responder, message(text), clock=clock, steps=steps, history=history)


@pytest.fixture
async def told() -> AsyncGenerator[Told, None]:
    model, bus, heard = Dictated(), Bus(), list[Event]()
    bus.subscribe_all(heard.append)
    app = Starlette(routes=[Route("/v1/chat/completions", model.answer, methods=["POST"])])
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app)) as http:

        def make(
            *,
            model: ModelSettings | None = None,
            allow: tuple[str, ...] = (),
            servers: Mapping[str, McpServer] | None = None,
            clock: Clock = CLOCK,
            **settings: object,
        ) -> Responder:
            settings.setdefault("models", ("only",))
            chosen = model or ModelSettings(base_url="http://dictated/v1", model="m")
            ledger = Ledger(BudgetSettings(allow=allow), {"only": chosen}, bus=bus, clock=clock)
            return build(
                {"manager": AgentSettings(**settings)},  # type: ignore[arg-type]
                {"only": chosen},
                bus=bus,
                clock=clock,
                http=http,
                servers=servers,
                recovery=ONCE,
                ledger=ledger,
            )

        yield Told(model, make, heard)
