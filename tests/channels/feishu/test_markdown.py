"""What a model writes arrives, and calls nobody."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.mutants import mutant

from mainstay.channels.feishu import markdown
from mainstay.channels.feishu.card import final_cards
from mainstay.channels.feishu.graphemes import border_before
from mainstay.channels.feishu.markdown import closed, pages, presentable, size_of
from mainstay.sandbox.feishu import cardtext

PLAIN = "# T\n> q\n1. a\n- b [l](https://e.org) **b** ~~s~~ <br> a<b"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("![a cat](https://e.org/cat.png) ok", "[a cat](https://e.org/cat.png) ok"),
        ("![](http://e.org/cat.png)", "[image](http://e.org/cat.png)"),
        ('![x](https://e.org/a_(b).png "title")', '[x](https://e.org/a_(b).png "title")'),
        ("![key](img_v2_abc)", "!\u200b[key](img_v2_abc)"),
        ("![still being wri", "!\u200b[still being wri"),
        ("`![a](https://e.org)` and ``<link>` <link>``", "`![a](https://e.org)` and ``<link>` <link>``"),
        ("```\n![a](https://e.org) <button>\n```\n", "```\n![a](https://e.org) <button>\n```\n"),
        ("a\u2028```\n<button>", "a\u2028```\n<\u200bbutton>"),
        ("\u2028```\n<button>", "\u2028```\n<\u200bbutton>"),
        ("<button>x</button>", "<\u200bbutton>x<\u200b/button>"),
        ("<text_tag color='red'>new</text_tag>", "<\u200btext_tag color='red'>new<\u200b/text_tag>"),
        ('{"tag":"button","text":"x"}', '{"tag":"button","text":"x"}'),
        (PLAIN, PLAIN),
    ],
)
def test_what_a_card_would_take_for_something_else_is_inert(written: str, shown: str) -> None:
    assert presentable(written) == shown


@pytest.mark.parametrize("around", ["{}", "`{}`", "```\n{}\n```\n", "| {} |\n|---|\n"])
@pytest.mark.parametrize(
    "tag", ["<at id=all></at>", "< / AT >", "<person id='ou_x'/>", "<\nat user_id='all'>", "<\x00at id=all>"]
)
def test_nobody_is_called_wherever_it_is_written(around: str, tag: str) -> None:
    assert "<" not in presentable(around.format(tag)).replace("<\u200b", "")


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("a\n```python\nx = 1", "\n```"),
        ("a\n```python\nx = 1\n", "```"),
        ("~~~~\n```\nx\n", "~~~~"),
        ("> ```\n> x", "\n> ```"),
        ("```", "\n```"),
        ("```\nx\n```\n", ""),
        ("```\nx\n``` ", ""),
        ("no `code` here", ""),
        ("``` `not a fence` ```", ""),
        ("```md\n```py\nx\n```\nout", ""),
    ],
)
def test_code_that_is_being_written_shows_as_code(text: str, end: str) -> None:
    assert closed(text) == text + end


LINES = st.sampled_from(
    [
        "好好学习，天天向上。\n",
        "\n",
        "```python\n",
        "```\n",
        "~~~\n",
        "> ```\n",
        "    x = '`' * 3\n",
        "| a | b |\n",
        "|---|---|\n",
        "👩‍👩‍👧‍👦🇨🇳" * 9,
        "word " * 20,
        "<at id=all>",
        "![a](https://e.org/x.png)",
        "`",
        "\u2028",
    ]
)


def flaws(lines: list[str], limit: int, module: object = markdown) -> str:
    """What is wrong with the pages of this text."""
    text = "".join(lines)
    found = list(module.pages(text, limit))  # type: ignore[attr-defined]
    if "".join(page.body for page in found) != text:
        return "the bodies are not the text"
    if any(size_of(page.content) > limit for page in found):
        return "a page is too long"
    beginning = module.head(text, limit, presentable)  # type: ignore[attr-defined]
    if size_of(presentable(beginning)) > limit:
        return "a beginning is too long"
    end = 0
    for page in found:
        end += len(page.body)
        if border_before(text, end) != end:
            return "a character is cut"
        if closed(page.content) != page.content and page is not found[-1]:
            return "code goes on where the page ends"
        if not page.body and text:
            return "an empty page"
    if len(found) > 1 + 3 * size_of(text) // limit + text.count("```") // 2:
        return "too many pages"
    return ""


@settings(deadline=None)
@given(st.lists(LINES, max_size=120), st.sampled_from([400, 700, 1500]))
def test_pages_are_the_text_and_fit(lines: list[str], limit: int) -> None:
    assert flaws(lines, limit) == ""


MUTANTS = {
    "a cut anywhere": ("return text[: border_before(text, longest)] or text[:longest]", "return text[:longest]"),
    "code is not ended": ('closing = ("" if body.endswith("\\n") else "\\n") + last.closing', 'closing = ""'),
    "a paragraph's end is lost": (
        "while text := text[len(page.body) :]:",
        "while text := text[len(page.body) :].lstrip():",
    ),
    "what is shown is not counted": (
        "if size_of(shown(text[:longest])) > limit:",
        "if False:",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_worse_way_to_cut_would_be_noticed(name: str) -> None:
    wrong = mutant(markdown, *MUTANTS[name])

    @settings(database=None, derandomize=True, deadline=None, max_examples=500)
    @given(st.lists(LINES, max_size=120), st.sampled_from([400, 700, 1500]))
    def noticed(lines: list[str], limit: int) -> None:
        assert flaws(lines, limit, wrong) == ""

    with pytest.raises(AssertionError):
        noticed()


def test_what_goes_on_says_again_what_it_is() -> None:
    code = "```python\n" + "print('好')\n" * 60 + "```\n"
    first, *_, last = pages(code, 500)
    assert first.content.startswith("```python\n")
    assert first.content.endswith("\n```")
    assert last.content.startswith("```python\nprint")
    table = "| name | value |\n|---|---|\n" + "| a | 1 |\n" * 60
    assert all(page.content.startswith("| name | value |\n|---|---|\n| a") for page in pages(table, 400))


def test_a_page_ends_between_paragraphs_where_it_can() -> None:
    text = ("Some words in a paragraph.\n" * 3 + "\n") * 20
    assert all(page.body.endswith("\n\n") for page in pages(text, 500))


@settings(deadline=None)
@given(st.lists(LINES, max_size=60))
def test_the_platform_takes_whatever_is_written(lines: list[str]) -> None:
    for card in final_cards("".join(lines) or "?", ""):
        cardtext.check_v2(json.loads(card))


@pytest.mark.parametrize(
    "evil",
    ["<" + " " * 140_000, "![" * 14_000, "`" + "``a" * 9000, "| a |\n| - |" + " " * 28_000 + "x", "> " * 14_000],
)
def test_no_text_takes_forever_to_be_read(evil: str) -> None:
    began = time.process_time()
    assert "".join(page.body for page in pages(evil, 22_000)) == evil
    assert time.process_time() - began < 10.0  # it was minutes, where a pattern went back and forth
