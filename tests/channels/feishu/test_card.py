"""What a card says is what the model said."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.channels.feishu.card import (
    CARD_LIMIT,
    TEXT_LIMIT,
    final_card,
    fits,
    outcome_text,
    presentable,
    safe,
    streamed,
    summary_of,
    text_message,
)
from mainstay.channels.feishu.screen import Screen
from mainstay.messages import Outcome, TextAppended

SAMPLES = [
    "好好学习，天天向上。人人为我，我为人人。谢谢谢谢！",
    "The fox jumps over the the lazy dog.\n\n```python\nfor i in range(3):\n    if i:\n        print(i)\n```\n",
    "| a | b |\n|---|---|\n| 1 | 2 |\n",
    "👩‍👩‍👧‍👦🇨🇳é️ ok 🙂🙂🙂",
    "a < b && c > d <font color='red'>x</font> \\* `<b>`\r\nline\u2028line",
]


def shown(card):
    return {each["element_id"]: each["content"] for each in json.loads(card)["body"]["elements"]}


@given(st.lists(st.sampled_from(SAMPLES), min_size=1, max_size=3).map("".join), st.data())
def test_whatever_the_chunks_the_card_ends_with_the_text_byte_for_byte(text, data):
    screen = Screen(status="")
    position = 0
    while position < len(text):
        size = data.draw(st.integers(1, 40))
        screen.take(TextAppended(text[position : position + size]))
        position += size
        write = screen.next_write()
        if data.draw(st.booleans()) and write is not None:
            assert text.startswith(write[1])
            screen.wrote(*write)
    assert screen.text.encode() == text.encode()
    assert shown(final_card(screen.text, ""))["answer"].encode() == text.encode()


@given(st.text())
def test_only_mentions_are_changed(text):
    assert safe(text).replace("\u200b", "") == text.replace("\u200b", "")
    if "<" not in text:
        assert safe(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "<at id=all></at>",
        "<AT user_id='ou_x'>x</AT>",
        "< at id=all>",
        "<at\nid=all>",
        "<person id='ou_x'/>",
        "</at>",
    ],
)
def test_nobody_is_called_by_what_a_model_wrote(text):
    inert = text.replace("<", "<\u200b")
    assert shown(final_card(text, ""))["answer"] == inert
    assert shown(final_card("", text))["answer"] == inert
    assert json.loads(text_message(text))["text"] == inert
    assert summary_of(text) == " ".join(inert.split())


def test_words_that_only_begin_like_a_mention_stay():
    assert safe("<attr> a<b <atlas>") == "<attr> a<b <atlas>"


TABLE = "| a | b |\n|:--|--:|\n| 1 | 2 |\n"


@pytest.mark.parametrize(
    "text",
    [
        TABLE * 1,
        (TABLE + "\n") * 4,
        "```\n" + (TABLE + "\n") * 9 + "```\n",
        "~~~~\n```\n" + (TABLE + "\n") * 9 + "~~~~",
        "a | b\n\nc | d\n" * 9,
    ],
)
def test_what_a_card_takes_is_not_changed(text):
    assert presentable(text) == text


def test_the_fifth_table_becomes_code():
    text = (TABLE + "\n") * 5 + "end"
    assert presentable(text) == (TABLE + "\n") * 4 + "```\n" + TABLE + "```\n\nend"
    assert presentable((TABLE + "\n") * 4 + TABLE.rstrip()).endswith("```\n" + TABLE + "```\n")


@given(st.text(alphabet='好a"\\\n\x00🙂', max_size=30), st.integers(1, 4000))
def test_what_streams_always_fits_and_begins_the_text(text, times):
    text *= times
    part = streamed(text)
    assert fits(final_card(part, ""))
    assert text.startswith(part.removesuffix("…"))


def test_a_text_that_is_too_long_for_a_message_says_that_its_end_is_missing():
    content = text_message("好" * TEXT_LIMIT)
    assert len(content.encode()) <= TEXT_LIMIT
    text = json.loads(content)["text"]
    assert text.startswith("好" * 40_000)
    assert text.endswith("[The rest did not fit into a message and was cut off here.]")
    assert json.loads(text_message("短"))["text"] == "短"


def test_the_limit_counts_the_whole_card():
    assert fits(final_card("a" * (CARD_LIMIT - 1000), ""))
    assert not fits(final_card("好" * (CARD_LIMIT // 3), ""))


def test_a_summary_is_the_first_hundred_characters():
    assert summary_of("第一行\n第二行 " + "x" * 200) == "第一行 第二行 " + "x" * 92
    assert summary_of("") == ""


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("apologise", [True, False])
@pytest.mark.parametrize("text", ["", "the answer"])
def test_an_outcome_always_says_something(outcome, apologise, text):
    said, notice = outcome_text(outcome, text, "", apologise=apologise)
    assert said or notice
    assert said == ("" if apologise else text)
