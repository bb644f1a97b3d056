"""What a card says is what the model said."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.channels.feishu.buttons import feedback_buttons, kept_suggestions, retry_button, suggestions
from mainstay.channels.feishu.card import (
    CARD_LIMIT,
    TEXT_LIMIT,
    final_cards,
    fits,
    footer_of,
    outcome_text,
    post_message,
    streamed,
    streaming_card,
    summary_of,
    text_message,
)
from mainstay.channels.feishu.markdown import presentable, safe
from mainstay.messages import Outcome
from mainstay.recovery import notices
from mainstay.sandbox.feishu import cardtext


def only(*outcome, **how):
    [card] = final_cards(*outcome, **how)
    return card


def shown(card):
    return {
        each["element_id"]: each["content"] for each in json.loads(card)["body"]["elements"] if "content" in each
    }


@pytest.mark.parametrize("said", [0, 500, 1300, 4000])
@pytest.mark.parametrize("chars", [21000, 22050, 44100])
def test_an_answer_ends_on_the_same_cards_at_the_same_places_whatever_can_be_pressed(said, chars):
    emoji = kept_suggestions([f"{number}{'🙂' * 80}" for number in range(5)])
    pressable = [*suggestions("t" * 36, emoji), retry_button("t" * 36, "zh"), feedback_buttons("t" * 36)]
    plain = final_cards("word " * (chars // 5), "名" * said, footer="agent · model")
    cards = final_cards("word " * (chars // 5), "名" * said, footer="agent · model", buttons=pressable)
    assert [shown(card).get("answer") for card in cards] == [shown(card).get("answer") for card in plain]
    assert all(map(fits, cards))


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
    assert shown(only(text, ""))["answer"] == inert
    assert shown(only("", text))["answer"] == inert
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


@settings(deadline=None)
@given(st.text(alphabet='好a"\\\n\x00🙂', max_size=30), st.integers(1, 1500))
def test_what_streams_always_fits_and_begins_the_text(text, times):
    text *= times
    part = streamed(text)
    assert fits(streaming_card("", answer=part))
    assert text.startswith(part.removesuffix("…"))


def test_a_text_that_is_too_long_for_a_message_says_that_its_end_is_missing():
    content = text_message("好" * TEXT_LIMIT)
    assert len(content.encode()) <= TEXT_LIMIT
    text = json.loads(content)["text"]
    assert text.startswith("好" * 40_000)
    assert text.endswith("[The rest did not fit into a message and was cut off here.]")
    assert json.loads(text_message("短"))["text"] == "短"


@settings(deadline=None)
@given(st.text(alphabet='好a"\\\n\x00🙂|`', max_size=30), st.integers(1, 1500))
def test_whatever_its_length_each_card_of_an_answer_is_one_that_the_platform_takes(text, times):
    text = text * times or "?"
    cards = final_cards(text, "a notice", footer="manager · 1.0 s", buttons=[{"tag": "button", "element_id": "b"}])
    for card in cards:
        cardtext.check_v2(json.loads(card))
    assert all(len(card.encode()) <= CARD_LIMIT for card in cards)
    assert [cardtext.is_continued(json.loads(card)) for card in cards] == [True] * (len(cards) - 1) + [False]
    assert "".join(shown(card)["answer"] for card in cards if "answer" in shown(card)).startswith(text[:50])


def test_where_there_is_no_answer_only_the_first_of_our_lines_stands_in_its_place():
    [card] = final_cards("", "The model failed.\n\nThis also answers: “two”")
    assert shown(card) == {"answer": "The model failed.", "notice": "This also answers: “two”"}


def test_what_was_stopped_keeps_its_text_and_says_so_before_what_else_there_is_to_say():
    said = outcome_text(Outcome.CANCELLED, "well", "Also stopped: “two”", apologise=False)
    assert said == ("well", "Stopped, as you asked.\n\nAlso stopped: “two”")


def test_what_stands_under_an_answer_stands_under_its_end():
    button = {"tag": "button", "element_id": "b"}
    first, last = final_cards("好" * 10_000, "a notice", footer="manager", buttons=[button])
    assert (shown(last)["notice"], shown(last)["status"]) == ("a notice", "manager")
    assert set(shown(first)) == {"answer", "continued"}
    assert button not in json.loads(first)["body"]["elements"]
    assert json.loads(last)["body"]["elements"][-1] == button


@pytest.mark.parametrize("length", [1, 5000, 7000, 30_000])
def test_an_answer_to_a_hundred_messages_that_names_them_all_fits_on_its_cards(length):
    notice = notices.together(
        [f"问题编号{number}，请问这件事情应该怎么处理才比较好呢？" for number in range(100)], "zh"
    )
    buttons = [*suggestions("t" * 36, ["问" * 60] * 5), feedback_buttons("t" * 36)]
    cards = final_cards("好" * length, notice, footer="manager · model", buttons=buttons)
    assert max(len(card.encode()) for card in cards) <= CARD_LIMIT
    assert shown(cards[-1])["notice"] == notice


def test_an_answer_of_absurd_length_says_that_its_end_is_missing():
    cards = final_cards("好" * 300_000, "")
    assert len(cards) == 12
    assert shown(cards[-1])["answer"].endswith("[The rest did not fit into a message and was cut off here.]")
    assert len(cards[-1].encode()) <= CARD_LIMIT


def test_a_footer_says_what_is_known():
    assert footer_of("manager", "large", 1.25) == "manager · large · 1.2 s"
    assert footer_of("manager", "", 70.0) == "manager · 70.0 s"


def test_a_post_shows_markdown_and_calls_nobody():
    [[node]] = json.loads(post_message("**a** <at user_id='all'></at>"))["zh_cn"]["content"]
    assert node == {"tag": "md", "text": "**a** <\u200bat user_id='all'><\u200b/at>"}
    assert not fits(post_message("好" * 10_000))


def test_a_summary_is_the_first_hundred_characters():
    assert summary_of("第一行\n第二行 " + "x" * 200) == "第一行 第二行 " + "x" * 92
    assert summary_of("") == ""
    assert summary_of("x" * 98 + "👩‍👩‍👧‍👦") == "x" * 98


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("apologise", [True, False])
@pytest.mark.parametrize("text", ["", "the answer"])
def test_an_outcome_always_says_something(outcome, apologise, text):
    said, notice = outcome_text(outcome, text, "", apologise=apologise)
    assert said or notice
    assert said == ("" if apologise else text)
