"""When the first model fails, how soon is the second one asked, and is a half answer told as a whole one?

The two models are the sandbox's, in a process of their own (``python -m bench.failover``): when the failed attempt
ended and when the second model's request arrived is told by one clock, which is not the client's.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from bench.harness import Row, Table

__all__ = ["Contender", "Endpoint", "tables"]

QUESTION = "count to 100"
TIMEOUT_S = 1.0
TRUNCATED_AFTER = 20
ROUNDS = 7
LONG_ENOUGH_MS = 4000.0
FAULTS: Mapping[str, Mapping[str, object]] = {
    "429, Retry-After 1 s": {"name": "rate-limit", "retry_after_s": 1.0},
    "500": {"name": "server-error"},
    f"no answer; timeout {TIMEOUT_S:g} s": {"name": "hang"},
}


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a model is reached, as an OpenAI-compatible server."""

    url: str
    token: str


class Contender(Protocol):
    """Asks the first model, and the second if that fails; gives the text of the answer, streamed."""

    def __call__(self, primary: Endpoint, fallback: Endpoint) -> Awaitable[str]: ...


def tables() -> Iterator[Table]:
    contenders, missing = _installed()
    with _Models() as models:
        for label, fault in FAULTS.items():
            rows = _hops(models, fault, contenders)
            title = f"{label}: from the end of the first attempt to the second model's request, streamed"
            yield Table(title=title, unit="ms", rows=[*rows, *missing], notes=["By the models' own clock."])
        fault = {"name": "truncate", "after_tokens": TRUNCATED_AFTER}
        contenders |= {"pydantic-ai, told to require a finish reason": partial(_pydantic_ai, finish_reason=True)}
        rows = [_told(models, fault, each, contender) for each, contender in contenders.items()]
        title = f"A stream that ends after {TRUNCATED_AFTER} tokens, in the middle and without a finish reason"
        yield Table(title=title, unit="", rows=[*rows, *missing])


def _hops(models: "_Models", fault: Mapping[str, object], contenders: Mapping[str, Contender]) -> list[Row]:
    """All contenders in each round; who waits for seconds is not asked seven times."""
    values: dict[str, list[float]] = {label: [] for label in contenders}
    notes = dict.fromkeys(contenders, "")
    for _ in range(ROUNDS):
        for label, contender in contenders.items():
            if sum(values[label]) >= LONG_ENOUGH_MS:
                continue
            said = models.ask(fault, contender)
            hop_ms = models.hop_ms()
            if hop_ms is None:
                notes[label] = f"the second one is not asked: {said}"
                continue
            values[label].append(hop_ms)
            if models.attempts() > 1:
                notes[label] = f"{models.attempts()} attempts at the first"
    return [Row(label=label, values=values[label], note=notes[label]) for label in contenders]


def _told(models: "_Models", fault: Mapping[str, object], label: str, contender: Contender) -> Row:
    said = models.ask(fault, contender)
    asked = "the second one is asked" if models.hop_ms() is not None else "the second one is not asked"
    return Row(label=label, note=f"{said}; {asked}")


# The contenders.


def _installed() -> tuple[dict[str, Contender], list[Row]]:
    contenders: dict[str, Contender] = _ours() | {
        "by hand: openai, except, openai": _by_hand,
        "pydantic-ai FallbackModel, SDK retries off": _pydantic_ai,
        "pydantic-ai FallbackModel, as it comes": partial(_pydantic_ai, retries=2),
    }
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else importing it asks the network for prices
    try:
        import litellm

        litellm.suppress_debug_info = True
    except ImportError:
        return contenders, [Row(label="LiteLLM Router", note="not installed")]
    litellm_too: dict[str, Contender] = {
        "LiteLLM Router, retries off": partial(_litellm, retries=0),
        "LiteLLM Router, as it comes": partial(_litellm, retries=None),
    }
    return contenders | litellm_too, []


def _ours() -> dict[str, Contender]:
    return {"mainstay Fallback on the openai SDK": _mainstay, "mainstay agents": _agents}


async def _mainstay(primary: Endpoint, fallback: Endpoint) -> str:
    from openai import AsyncOpenAI

    from mainstay.recovery.call.candidate import Candidate
    from mainstay.recovery.call.fallback import Fallback
    from mainstay.recovery.call.model import GaveUp, Hopped, Item, Limits

    async with AsyncExitStack() as stack:
        candidates = []
        for name, each in (("primary", primary), ("fallback", fallback)):
            client = AsyncOpenAI(base_url=each.url, api_key=each.token, max_retries=0)
            await stack.enter_async_context(client)
            limits = Limits(first_token_s=TIMEOUT_S, idle_s=TIMEOUT_S)
            candidates.append(Candidate(name, partial(_chunks, client), limits=limits))
        chain = Fallback(candidates, complete=lambda chunk: bool(chunk.choices and chunk.choices[0].finish_reason))
        said = ""
        async with aclosing(chain.stream()) as events:
            async for event in events:
                match event:
                    case Item(chunk):
                        said += (chunk.choices[0].delta.content or "") if chunk.choices else ""
                    case Hopped():
                        said = ""
                    case GaveUp(failure=failure):
                        raise RuntimeError(failure.message)
        return said


async def _chunks(client: Any) -> AsyncGenerator[Any, None]:  # noqa: ANN401  openai's, which this file imports late
    async with await client.chat.completions.create(
        model="sandbox", messages=[{"role": "user", "content": QUESTION}], stream=True
    ) as stream:
        async for chunk in stream:
            yield chunk


async def _agents(primary: Endpoint, fallback: Endpoint) -> str:
    from datetime import UTC, datetime

    from mainstay.agents.model import AgentSettings
    from mainstay.agents.responder import build
    from mainstay.bus import Bus
    from mainstay.clock import SystemClock
    from mainstay.messages import Message, Outcome
    from mainstay.models.http import model_client
    from mainstay.models.model import ModelSettings
    from mainstay.settings import Secret
    from mainstay.testing.turns import ask, collect

    models = {
        name: ModelSettings(
            base_url=each.url, model="sandbox", api_key=Secret(each.token), first_token_timeout=TIMEOUT_S
        )
        for name, each in (("primary", primary), ("fallback", fallback))
    }
    message = Message(
        channel="bench",
        bot_id="bench",
        external_id="1",
        chat_id="1",
        sender_id="1",
        text=QUESTION,
        sent_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    async with model_client() as http:
        manager = AgentSettings(models=("primary", "fallback"))
        responder = build({"manager": manager}, models, bus=Bus(), clock=SystemClock(), http=http)
        _, final = await collect(ask(responder, message, clock=SystemClock()))
    if final.outcome is not Outcome.ANSWERED:
        raise RuntimeError(final.notice)
    return final.text


async def _by_hand(primary: Endpoint, fallback: Endpoint) -> str:
    from openai import AsyncOpenAI, OpenAIError

    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                AsyncOpenAI(base_url=each.url, api_key=each.token, max_retries=0, timeout=TIMEOUT_S)
            )
            for each in (primary, fallback)
        ]
        for client in clients[:-1]:
            try:
                return await _streamed_by_openai(client)
            except OpenAIError:
                continue
        return await _streamed_by_openai(clients[-1])


async def _streamed_by_openai(client: Any) -> str:  # noqa: ANN401  openai's, which this file imports late
    said = ""
    async with await client.chat.completions.create(
        model="sandbox", messages=[{"role": "user", "content": QUESTION}], stream=True
    ) as stream:
        async for chunk in stream:
            said += (chunk.choices[0].delta.content or "") if chunk.choices else ""
    return said


async def _pydantic_ai(
    primary: Endpoint, fallback: Endpoint, *, retries: int = 0, finish_reason: bool = False
) -> str:
    from openai import AsyncOpenAI
    from pydantic_ai import Agent
    from pydantic_ai.models.fallback import FallbackModel
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.profiles.openai import OpenAIModelProfile
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

    profile = OpenAIModelProfile(openai_chat_streaming_requires_finish_reason=True) if finish_reason else None
    async with AsyncExitStack() as stack:
        models = []
        for name, each in (("primary", primary), ("fallback", fallback)):
            client = AsyncOpenAI(base_url=each.url, api_key=each.token, max_retries=retries, timeout=TIMEOUT_S)
            await stack.enter_async_context(client)
            provider = OpenAICompatibleProvider(name, openai_client=client)
            models.append(OpenAIChatModel("sandbox", provider=provider, profile=profile))
        async with Agent(FallbackModel(*models)).run_stream(QUESTION) as run:
            return "".join([piece async for piece in run.stream_text(delta=True)])


async def _litellm(primary: Endpoint, fallback: Endpoint, *, retries: int | None) -> str:
    from litellm import Router

    models = [
        {
            "model_name": name,
            "litellm_params": {"model": "openai/sandbox", "api_base": each.url, "api_key": each.token},
        }
        for name, each in (("primary", primary), ("fallback", fallback))
    ]
    router = Router(
        model_list=models, fallbacks=[{"primary": ["fallback"]}], num_retries=retries, timeout=TIMEOUT_S
    )
    stream = await router.acompletion(
        model="primary", messages=[{"role": "user", "content": QUESTION}], stream=True
    )
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


# The two models.


class _Models:
    """The process that serves them, and what it recorded of the last question."""

    def __enter__(self) -> "_Models":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.failover"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._endpoints = [Endpoint(**each) for each in self._read()]
        self._calls: dict[str, list[dict[str, float]]] = {}
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def ask(self, fault: Mapping[str, object], contender: Contender) -> str:
        """Let the first model fail as said, ask, and tell in words what came of it."""
        self._command({"fault": fault})
        told = asyncio.run(_outcome(contender, *self._endpoints))
        self._calls = self._command({"fault": None})
        return told

    def attempts(self) -> int:
        return len(self._calls["primary"])

    def hop_ms(self) -> float | None:
        """From the end of the first attempt to the arrival at the second model."""
        if not self._calls["fallback"]:
            return None
        return 1000 * (self._calls["fallback"][0]["began"] - self._calls["primary"][0]["ended"])

    def _command(self, command: Mapping[str, object]) -> Any:  # noqa: ANN401  JSON
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Any:  # noqa: ANN401  JSON
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


async def _outcome(contender: Contender, primary: Endpoint, fallback: Endpoint) -> str:
    async with asyncio.timeout(60):
        try:
            said = await contender(primary, fallback)
        except Exception as error:  # noqa: BLE001  how it fails is what is compared
            return f"fails with {type(error).__name__}"
    return f"a success, {len(said.split())} words"


async def _serve() -> None:
    from mainstay.testing.provider import ServedProvider, served_provider

    def calls(provider: ServedProvider, seen: int) -> list[dict[str, float]]:
        return [
            {"began": call.at.timestamp(), "ended": call.at.timestamp() + call.seconds}
            for call in provider.record.calls[seen:]
        ]

    async with served_provider("primary") as primary, served_provider("fallback") as fallback:
        providers, seen = {"primary": primary, "fallback": fallback}, {"primary": 0, "fallback": 0}
        print(json.dumps([{"url": each.url, "token": each.token} for each in providers.values()]), flush=True)
        async for command in _commands():
            primary.faults.clear()
            if fault := command["fault"]:
                primary.faults.inject(**fault)
            print(json.dumps({name: calls(each, seen[name]) for name, each in providers.items()}), flush=True)
            seen = {name: each.record.total for name, each in providers.items()}


async def _commands() -> AsyncGenerator[dict[str, Any], None]:
    while line := await asyncio.to_thread(sys.stdin.readline):
        yield json.loads(line)


if __name__ == "__main__":
    asyncio.run(_serve())
