"""The provider as the agents' own library sees it."""

from collections.abc import AsyncIterator

import openai
import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, exceptions
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

from mainstay.testing.provider import ServedProvider

pytestmark = pytest.mark.anyio


@pytest.fixture
async def model(provider: ServedProvider) -> AsyncIterator[OpenAIChatModel]:
    async with openai.AsyncOpenAI(
        base_url=provider.url, api_key=provider.token, max_retries=0, timeout=0.3
    ) as client:
        yield OpenAIChatModel(
            "sandbox",
            provider=OpenAICompatibleProvider("primary", openai_client=client),
            profile=OpenAIModelProfile(openai_chat_streaming_requires_finish_reason=True),
        )


async def run(agent: Agent[None, str], prompt: str, *, stream: bool) -> str:
    if not stream:
        return (await agent.run(prompt)).output
    async with agent.run_stream(prompt) as answer:
        return await answer.get_output()


@pytest.mark.parametrize("stream", [True, False])
async def test_tools_run_once_and_their_results_are_in_the_answer(
    provider: ServedProvider, model: OpenAIChatModel, stream: bool
) -> None:
    agent, ran = Agent(model), []

    @agent.tool_plain
    def add(a: int, b: int) -> int:
        ran.append((a, b))
        return a + b

    @agent.tool_plain
    def weather(city: str) -> str:
        ran.append(city)
        return f"sunny in {city}"

    text = 'use add with {"a": 20, "b": 22} and weather with {"city": "巴黎"}, then add {"a": 1, "b": 1}'
    answer = await run(agent, text, stream=stream)
    assert ran[2:] == [(1, 1)]
    assert set(ran[:2]) == {(20, 22), "巴黎"}  # each in a thread of its own
    assert "工具 add 返回：42" in answer
    assert "工具 weather 返回：sunny in 巴黎" in answer
    assert provider.record.total == 3


async def test_a_question_about_a_specialists_subject_reaches_it(model: OpenAIChatModel) -> None:
    okr = Agent(model, name="okr", instructions="You know OKRs.")
    manager = Agent(model, instructions="Answer, or hand over.")

    @manager.tool_plain
    async def hand_over_to_okr(question: str) -> str:
        return (await okr.run(question)).output

    answer = (await manager.run("How are my OKRs?")).output
    assert "You know OKRs." in answer
    assert answer.count("not an AI") == 1
    assert "“How are my OKRs?”" in answer
    assert "hand_over_to_okr" not in (await manager.run("How are you, then?")).output.split("You wrote")[1]


async def test_a_typed_answer_is_filled_in(model: OpenAIChatModel) -> None:
    class Ideas(BaseModel):
        count: int
        first: str

    assert (await Agent(model, output_type=Ideas).run("give me 3")).output == Ideas(count=3, first="give me 3")


async def test_the_library_counts_the_same_tokens(provider: ServedProvider, model: OpenAIChatModel) -> None:
    usage = (await Agent(model).run("count to 20")).usage
    call = await provider.ended(1)
    assert (usage.input_tokens, usage.output_tokens) == (call.prompt_tokens, call.tokens_sent)


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        ("rate-limit", exceptions.ModelRateLimitError),
        ("quota", exceptions.ModelQuotaExceededError),
        ("auth", exceptions.ModelAuthenticationError),
        ("forbidden", exceptions.ModelAuthenticationError),
        ("server-error", exceptions.ModelServerError),
        ("overloaded", exceptions.ModelOverloadedError),
        ("refuse", exceptions.ModelConnectionError),
        ("hang", exceptions.ModelTimeoutError),
        ("hang-first-token", exceptions.ModelTimeoutError),
        ("stall", exceptions.ModelTimeoutError),
        ("cut", exceptions.ModelConnectionError),
        ("truncate", exceptions.ModelAPIError),
        ("malformed", exceptions.ModelAPIError),
        ("error-after-200", exceptions.ModelServerError),
    ],
)
async def test_every_fault_of_a_stream_is_the_error_that_the_library_has_for_it(
    provider: ServedProvider, model: OpenAIChatModel, fault: str, raised: type[exceptions.ModelAPIError]
) -> None:
    provider.faults.inject(fault, retry_after_s=7)
    with pytest.raises(raised) as error:
        await run(Agent(model), "hello", stream=True)
    assert getattr(error.value, "retry_after", None) == (7 if fault == "rate-limit" else None)
