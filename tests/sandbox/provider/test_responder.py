import json

import pytest

from mainstay.sandbox.provider.model import Answer, ChatMessage, ChatRequest, Tool
from mainstay.sandbox.provider.responder import respond
from mainstay.sandbox.provider.tokens import split

NOT_AN_AI = "a small program, not an AI"


def user(text: str) -> ChatMessage:
    return ChatMessage(role="user", text=text)


def assistant(text: str) -> ChatMessage:
    return ChatMessage(role="assistant", text=text)


def ask(text: str, *before: ChatMessage, **rest: object) -> Answer:
    return respond(ChatRequest(model="m", digest="d" * 24, messages=(*before, user(text)), **rest))  # type: ignore[arg-type]


def after_tools(request: ChatRequest, *results: str) -> ChatRequest:
    """The next request of an agent that ran what was called."""
    calls = respond(request).calls
    ran = ChatMessage(role="assistant", text="", calls=calls)
    told = (
        ChatMessage(role="tool", text=result, call_id=call.id) for call, result in zip(calls, results, strict=True)
    )
    return ChatRequest(model="m", digest="e" * 24, messages=(*request.messages, ran, *told), tools=request.tools)


ADD = Tool(
    name="add",
    parameters={
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
)
NOW = Tool(name="now", parameters={"type": "object", "properties": {}})
OKR = Tool(
    name="hand_over_to_okr",
    parameters={"type": "object", "properties": {"question": {"type": "string"}}, "required": ["question"]},
)
TRANSFER = Tool(
    name="transfer",
    parameters={"type": "object", "properties": {"agent": {"enum": ["okr", "leave"]}}, "required": ["agent"]},
)


def called(answer: Answer) -> list[tuple[str, object]]:
    return [(call.name, json.loads(call.arguments)) for call in answer.calls]


def test_the_first_answer_says_that_it_is_not_an_ai_and_what_it_heard() -> None:
    answer = ask("hello", ChatMessage(role="system", text="You know everything."), tools=(ADD,))
    assert NOT_AN_AI in answer.text
    assert "“hello”" in answer.text
    assert "You know everything." in answer.text
    assert "add" in answer.text


def test_later_answers_know_what_was_said_before() -> None:
    answer = ask("and now?", user("remember the milk"), assistant("Yes."))
    assert NOT_AN_AI not in answer.text
    assert "“remember the milk”" in answer.text


def test_chinese_is_answered_in_chinese() -> None:
    answer = ask("你好，我的 OKR 怎么样")
    assert "不是人工智能" in answer.text
    assert "You wrote" not in answer.text


def test_the_same_messages_get_the_same_answer() -> None:
    assert ask("add 1 and 2", tools=(ADD,)) == ask("add 1 and 2", tools=(ADD,))


@pytest.mark.parametrize("text", ["please say nothing", "什么都别说"])
def test_the_answer_can_be_empty(text: str) -> None:
    assert ask(text) == Answer()


@pytest.mark.parametrize("text", ["count to 50", "数到50"])
def test_it_counts(text: str) -> None:
    assert " ".join(str(number) for number in range(1, 51)) in ask(text).text
    assert "51" not in ask(text).text


@pytest.mark.parametrize(("text", "least"), [("a long answer", 400), ("300 words", 300), ("写300字", 300)])
def test_its_length_can_be_chosen(text: str, least: int) -> None:
    assert least <= len(split(ask(text).text)) < least + 100


@pytest.mark.parametrize("text", ["count to 999999", "999999 words"])
def test_its_length_has_a_bound(text: str) -> None:
    assert len(split(ask(text).text)) < 2100


@pytest.mark.parametrize(("text", "slow"), [("slow please", True), ("慢慢说", True), ("slowest", False)])
def test_it_can_be_slow(text: str, slow: bool) -> None:
    assert (ask(text).slowness > 1) is slow


@pytest.mark.parametrize(
    "text",
    ['use the tool add with {"a": 1, "b": 2}', 'call add {"a":1,"b":2} please', '调用 add，参数 {"a": 1, "b": 2}'],
)
def test_a_tool_is_called_with_the_arguments_in_the_text(text: str) -> None:
    assert called(ask(text, tools=(ADD, NOW))) == [("add", {"a": 1, "b": 2})]


@pytest.mark.parametrize(
    "text", ["add 7", "add {oops 7", 'add [7] and a lot of other words that stand before {"a": 1}']
)
def test_arguments_that_are_not_in_the_text_are_filled_from_the_schema(text: str) -> None:
    assert called(ask(text, tools=(ADD,))) == [("add", {"a": 7, "b": 7})]


def test_only_a_whole_name_asks_for_a_tool() -> None:
    assert ask("address me", tools=(ADD,)).calls == ()
    assert ask("add-on", tools=(ADD,)).calls == ()


def test_several_tools_are_called_at_once_with_different_ids() -> None:
    answer = ask('add {"a": 1, "b": 2} and now and add {"a": 3, "b": 4}', tools=(ADD, NOW))
    assert [name for name, _ in called(answer)] == ["add", "now", "add"]
    assert len({call.id for call in answer.calls}) == 3


def test_tools_after_then_are_called_when_the_first_results_are_there() -> None:
    messages = (user('add {"a": 1, "b": 2} then now'),)
    first = ChatRequest(model="m", digest="d" * 24, messages=messages, tools=(ADD, NOW))
    assert called(respond(first)) == [("add", {"a": 1, "b": 2})]
    second = after_tools(first, "3")
    assert called(respond(second)) == [("now", {})]
    assert respond(first).calls[0].id != respond(second).calls[0].id
    last = respond(after_tools(second, "noon"))
    assert last.calls == ()
    assert "add returned: 3" in last.text
    assert "now returned: noon" in last.text


@pytest.mark.parametrize(("text", "tool"), [("How is my OKR?", OKR), ("我的OKR进展", OKR), ("My OKRs", TRANSFER)])
def test_a_specialist_that_is_mentioned_gets_the_conversation(text: str, tool: Tool) -> None:
    arguments = {"question": text} if tool is OKR else {"agent": "okr"}
    assert called(ask(text, tools=(NOW, tool))) == [(tool.name, arguments)]


@pytest.mark.parametrize("text", ["ask the travel desk", "to travel_desk: hello"])
def test_a_specialist_of_several_words_is_found_by_all_of_them(text: str) -> None:
    tool = Tool(name="transfer_to_travel_desk")
    assert called(ask(text, tools=(tool,))) == [("transfer_to_travel_desk", {})]
    assert ask("my desk", tools=(tool,)).calls == ()


def test_a_specialist_that_is_not_mentioned_does_not() -> None:
    assert ask("How is the weather?", tools=(OKR, TRANSFER)).calls == ()


def test_after_a_hand_over_the_specialists_answer_is_told_once() -> None:
    first = ChatRequest(model="m", digest="d" * 24, messages=(user("my okr"),), tools=(OKR,))
    answer = respond(after_tools(first, "All green."))
    assert answer.calls == ()
    assert "All green." in answer.text


def test_no_tool_is_called_when_the_client_forbids_it() -> None:
    assert ask("call now", tools=(NOW,), tool_choice="none").calls == ()


def test_a_tool_is_called_when_the_client_requires_it() -> None:
    assert called(ask("hello", tools=(NOW, ADD), tool_choice="add")) == [("add", {"a": 1, "b": 1})]
    assert called(ask("hello", tools=(NOW, ADD), tool_choice="required")) == [("now", {})]
    assert called(ask("add 2", tools=(NOW, ADD), tool_choice="required")) == [("add", {"a": 2, "b": 2})]


def test_a_schema_for_the_answer_is_kept_to() -> None:
    ideas = {"type": "array", "items": {"type": "string"}, "minItems": 3}
    schema = {"type": "object", "properties": {"ideas": ideas}, "required": ["ideas"]}
    assert json.loads(ask("more", response_schema=schema).text) == {"ideas": ["more"] * 3}


def test_a_conversation_without_a_user_is_answered() -> None:
    request = ChatRequest(model="m", digest="d" * 24, messages=(ChatMessage(role="system", text="Greet."),))
    assert NOT_AN_AI in respond(request).text
