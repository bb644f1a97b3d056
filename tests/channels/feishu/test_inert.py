"""Whatever anybody writes calls nobody, imitates nothing and is no card, in whichever form it is shown.

The judge is a reader of Markdown that is not ours. It is not asked about blocks of HTML, where readers disagree.
"""

import json
import re
from collections.abc import Iterator
from types import ModuleType

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.rules_block import fence
from tests.mutants import mutant

from mainstay.channels.characters import well_formed
from mainstay.channels.feishu import card, containers, markdown
from mainstay.channels.feishu.buttons import kept_suggestions, suggestions
from mainstay.channels.feishu.content import read_content
from mainstay.messages import Outcome
from mainstay.recovery import notices
from mainstay.sandbox.feishu import cardtext

READER = MarkdownIt("commonmark", {"html": True}).enable("table").disable("html_block")
READER.block.ruler.before(
    "table", "code_first", fence, {"alt": ["paragraph", "blockquote", "list"]}
)  # as on GitHub
CALLS = re.compile(r"<\s*/?\s*(?:at|person)\b", re.IGNORECASE)
TAGS = re.compile(
    r"<\s*/?\s*(?:a|audio|button|form|img|input|link|local_datetime|number_tag|record|text_tag)\b", re.IGNORECASE
)
CARD = '{"schema":"2.0","body":{"elements":[{"tag":"button","text":{"tag":"plain_text","content":"Pay"}}]}}'
PIECES = [
    *("`", "``", "```", "```\n", "\n```\n", "~~~\n", "\n~~~ `\n", "> ```\n", "> ", "\n> ", "\n", "\n\n", "\\"),
    *("<button>pay</button>", "<a href='https://e.org'>x</a>", "<at id=all></at>", "<person id='ou_1'>", "<"),
    *("at id=all>", "button>", "AT user_id='all'>", "</", "![x](https://e.org/i.png)", "![x](img_1)", "!", "[x]"),
    *(
        "| a | b |\n",
        "|---|---|\n",
        "|",
        "\r",
        "\x0b",
        "\u2028",
        "\u200b",
        "&lt;at id=all&gt;",
        "@_all",
        "@_user_1",
    ),
    *("- ", "1. ", "2) ", "-", "    ", "   ", "  ", " ", "\t", "# ", "***\n", "> - "),
    *("**", "https://e.org", "]", "(https://e.org)", "“", "”", "好", "word ", CARD, "\ud83d"),
]
WRITTEN = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


def live(text: str) -> Iterator[str]:
    """What of a Markdown text is more than text and links."""
    yield from CALLS.findall(text)
    for token in READER.parse(text):
        for each in [token, *(token.children or [])]:
            if each.type == "html_inline":
                yield from TAGS.findall(each.content)
            elif each.type == "image":
                yield "image"


def texts_of(node: object) -> Iterator[tuple[str, str]]:
    """Tag and text of everything that says something in a card or a post."""
    if isinstance(node, list):
        for each in node:
            yield from texts_of(each)
    elif isinstance(node, dict):
        for name in ("content", "text"):
            if isinstance(node.get(name), str):
                yield str(node.get("tag", "")), node[name]
        for each in node.values():
            yield from texts_of(each)


def flaw(written: str, subject: object = card) -> str:
    """What is wrong with one of the forms in which this is shown."""
    written = well_formed(written)
    named = notices.together([written, written], "en")
    text, notice = subject.outcome_text(Outcome.ANSWERED, written, named, apologise=False)  # type: ignore[attr-defined]
    buttons = suggestions("t", kept_suggestions([written]))
    shown = [
        *subject.final_cards(text, notice, buttons=buttons),  # type: ignore[attr-defined]
        subject.streaming_card("Thinking…", answer=subject.streamed(written)),  # type: ignore[attr-defined]
        subject.post_message(f"{text}\n\n{notice}"),  # type: ignore[attr-defined]
    ]
    for each in map(json.loads, shown):
        if {str(node["tag"]) for node in cardtext.tagged(each)} - {"markdown", "button", "plain_text", "md"}:
            return "a card in a card"
        if len(cardtext.buttons(each)) > len(buttons):
            return "a button more"
        for tag, said in texts_of(each):
            if tag in ("markdown", "md") and (found := list(live(said))):
                return f"{found} in {said!r}"
    said = json.loads(subject.text_message(f"{text}\n\n{notice}"))["text"]  # type: ignore[attr-defined]
    summaries = [subject.summary_of(each) for each in (written, notice)]  # type: ignore[attr-defined]
    if any(CALLS.search(each) for each in (said, *summaries)):
        return "a call in a text"
    if said.replace("\u200b", "") != f"{written}\n\n{named}".replace("\u200b", ""):
        return "a text is changed"
    return ""


INDENTED = [
    "    ```\n<button>pay</button>\n",
    "- a\n\n\t  ```\n<button>pay</button>\n",
    "-     ```\n<button>pay</button>\n",
    "```\n    ```\n<button>pay</button>\n```\n<button>pay</button>\n",
    "- ```\n  x\n<button>pay</button>\n",
    "- a\n# b\n    ```\n<button>pay</button>\n",
    "-\n\n     ```\n  <button>pay</button>\n",
    "a\n2. b\n\n      ```\n   <button>pay</button>\n",
    "| a |\n|---|\n``` |\n```\n<button>pay</button>\n",
    "- a\n- b\n\n  c\n\n    ```\n    x\n    ```\n<button>pay</button>\n",
]
"""What is code by how far it is indented, and what is none."""


@settings(max_examples=300, deadline=None)
@given(WRITTEN)
@example("\\`<button>pay</button>`")
@example("> ```\n<button>pay</button>\n")
@example("```\n> ```\n```\n<button>pay</button>\n")
@example("- ```\n  x\n  ```\n\n<button>pay</button>\n")
@example("```\n- ```\n```\n<button>pay</button>\n")
@example("~~~ `\nx\n~~~\n<button>pay</button>\n")
@example("\u2028```\n<button>pay</button>\n")
@example("![x](https://e.org/i.png)")
@example("x```\n```<button>pay</button>```")
@example("| ` | <button>pay</button>` |\n|---|---|\n")
def test_whatever_is_written_is_shown_as_text(written: str) -> None:
    assert flaw(written) == ""


@pytest.mark.parametrize("written", INDENTED)
def test_however_it_is_indented_only_code_is_code(written: str) -> None:
    assert flaw(written) == ""


@pytest.mark.parametrize(
    "written",
    [
        "1. a\n   ```html\n   <button>x</button> ![p](https://e.org/p.png)\n   ```\n",
        "- a\n  - b\n\n      ```\n      <button>x</button>\n\n      <a>\n      ```\n",
        "- ```\n  <button>x</button>\n  ```\n",
        "- a\nb\n\n    ~~~~\n    <a>\n    ~~~~\n",
        "10. a\n\n    ```\n    <button>\n    ```\n",
        "> - a\n>\n>   ```\n>   <button>\n>   ```\n",
        "-\ta\n\n\t```\n\t<button>\n\t```\n",
        "   ```\n<button>\n   ```\n",
        "- a\n  ```\n  <button>",
    ],
)
def test_code_in_lists_and_quotes_arrives_byte_for_byte(written: str) -> None:
    assert markdown.presentable(written) == written


MUTANTS = {
    "an escaped backtick opens code": ("(?<![`\\\\])(`+)", "(?<!`)(`+)"),
    "lines end at other characters": ("lines = _LINE.findall(text)", "lines = text.splitlines(keepends=True)"),
    "a call in code is left": ('return "".join(_shown(safe(text)))', 'return "".join(_shown(text))'),
    "pictures stay": (
        '_PICTURE.sub(_link, parts[index]).replace("![", "!\\u200b[")',
        "parts[index]",
    ),
    "what is named is Markdown": (
        'return _TAG.sub("<\\u200b", safe(text)).replace("![", "!\\u200b[")',
        "return safe(text)",
    ),
}


PLACED_WRONGLY = {
    "code in a quote or a list outlives it": (
        "return count < len(place.containers), is_fence",
        "return False, is_fence",
    ),
    "a fence in a quote ends code that is not in it": ("text = left.strip(", 'text = left.strip(">" + '),
    "what is indented opens code": ("None if is_indented else _FENCE", "_FENCE"),
    "what is indented ends code": ("is_fence and not is_indented", "is_fence"),
    "an item's content is not indented": ("(text and indent < each)", "False"),
    "an item never ends a paragraph of others": ("and not containers and not is_other", ""),
    "what is no paragraph goes on": ("and not containers and not is_other", "and not containers"),
    "every number ends a paragraph": ('goes_on and (item["number"] not in (None, "1")', "goes_on and (False"),
    "an item of nothing goes on": ("count -= before.is_empty and is_inside", "count -= 0"),
}


def noticed(wrong: ModuleType) -> bool:
    names = ("closed", "head", "literal", "pages", "presentable", "safe")
    same = "What does a card say, and"
    subject = mutant(card, same, same, **{each: getattr(wrong, each) for each in names})
    known = ["\\`<button>x</button>`", "> ```\n<button>x</button>\n", "```\n> ```\n```\n<button>x</button>\n"]
    known += [
        "a\u2028```\n<button>x</button>\n",
        "`<at id=all>`",
        "![x](https://e.org/i.png)",
        "<button>x</button>",
        *INDENTED,
    ]
    return any(flaw(each, subject) for each in known)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_way_to_show_it_that_is_wrong_is_noticed(name: str) -> None:
    assert noticed(mutant(markdown, *MUTANTS[name]))


@pytest.mark.parametrize("name", PLACED_WRONGLY)
def test_a_way_to_find_code_that_is_wrong_is_noticed(name: str) -> None:
    wrong = mutant(containers, *PLACED_WRONGLY[name])
    same = "What of a model's Markdown"
    assert noticed(mutant(markdown, same, same, placed=wrong.placed, ends_code=wrong.ends_code))


@settings(deadline=None)
@given(WRITTEN, WRITTEN)
def test_a_name_stays_on_its_line_and_is_read_once(name: str, file_name: str) -> None:
    content = json.dumps({"text": "ask @_user_1"})
    read = read_content("text", content, {"@_user_1": ("ou_1", name), "@_user_2": ("ou_2", "Tom")}, "ou_bot")
    on_one_line = " ".join(name.split())
    assert read.text == (f"ask @{on_one_line}" if on_one_line else "ask @_user_1")
    read = read_content("file", json.dumps({"file_name": file_name}), {}, "ou_bot")
    assert len(read.text.splitlines()) == 1
