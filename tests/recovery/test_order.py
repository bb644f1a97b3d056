"""Each step of the order in which an error is judged is missed when it is broken: the mutants of `classify`."""

from collections.abc import Callable

import pytest
from tests.mutants import mutant
from tests.recovery.known import KNOWN, SPECIAL, named, openai_error
from tests.recovery.recorded import recorded

from mainstay.errors import Category
from mainstay.recovery import classify as module
from mainstay.recovery import evidence
from mainstay.recovery.classify import classify
from mainstay.recovery.model import Failure, Rule


def wrong(judge: Callable[..., Failure]) -> int:
    """How many of the known failures this judge gets wrong."""
    count = sum(judge(error).category is not category for error, category in KNOWN)
    count += sum(judge(error).traits != traits for error, traits in SPECIAL)
    for each in recorded():
        answer = each.values[1]
        failure = judge(status=answer.status, headers=answer.headers, body=answer.body)
        count += (failure.category, failure.retry_after_s, failure.traits) != answer.expected()
        count += bool(answer.message) and failure.message != answer.message
    teapot = Rule(category=Category.CONNECTION, status=418)
    count += judge(openai_error(418), rules=[teapot]).category is not Category.CONNECTION
    count += judge(openai_error(500), status=429).category is not Category.RATE_LIMIT
    count += judge(status=402, headers={"retry-after": "5"}).category is not Category.RATE_LIMIT
    read_wrongly = named("x.Busy", status_code=429, retry_after=0.0, headers={"retry-after": "-1"})
    count += judge(read_wrongly).retry_after_s is not None
    repeated = {"error": {"code": 429, "metadata": {"headers": {"Retry-After": "6"}}}}
    count += judge(status=200, body=repeated).retry_after_s != 6.0
    return count


MUTANTS = {
    "the status before the code": (
        "        or _first(evidence.codes, known.CODES)\n        or _by_status(evidence)\n",
        "        or _by_status(evidence)\n        or _first(evidence.codes, known.CODES)\n",
    ),
    "the code before the class": (
        "        _first(evidence.names, known.CLASSES)\n",
        "        _first(evidence.codes, known.CODES) or _first(evidence.names, known.CLASSES)\n",
    ),
    "the base before the subclass": (
        "        _first(evidence.names, known.CLASSES)\n",
        "        _first(evidence.names[::-1], known.CLASSES)\n",
    ),
    "a vague class before the status": (
        "        or _by_status(evidence)\n        or _first(evidence.names, known.VAGUE_CLASSES)\n",
        "        or _first(evidence.names, known.VAGUE_CLASSES)\n        or _by_status(evidence)\n",
    ),
    "a vague code before the status": (
        "        or _by_status(evidence)\n",
        "        or _first(evidence.codes, known.VAGUE_CODES) or _by_status(evidence)\n",
    ),
    "the text before a status that is clear": (
        "    if status is None or status in known.VAGUE_STATUSES:\n",
        "    if True:\n",
    ),
    "the text never before the status": ("status in known.VAGUE_STATUSES", "False"),
    "words before the status": (
        "        or _by_status(evidence)\n",
        "        or _by_text(evidence, known.WORDS) or _by_status(evidence)\n",
    ),
    "words of bugs": ('"" if known.BUGS & {*evidence.names} else evidence.own', "evidence.own"),
    "no cancellation": (
        "    if _cancelled(error):\n        return Category.CANCELLED\n",
        "",
    ),
    "a cancellation that was only interrupted": ("if stated or not _cancelled(following) else None", ""),
    "what is told together, untold": ("if _fits(rule, evidence):", "if False:"),
    "402 is always an empty account": ("if evidence.status == 402", "if evidence.status == 0"),
    "a class before the database": (
        "    if evidence.packages & known.DATABASES:\n        return Category.DATABASE\n",
        "    if not _first(evidence.names, known.CLASSES) and evidence.packages & known.DATABASES:\n"
        "        return Category.DATABASE\n",
    ),
    "Feishu unknown": ("known.FEISHU.get(evidence.feishu or 0)", "None"),
    "the first member, whatever it is": (
        "    return next(telling, None) or next(silent, findings[0])\n",
        "    return findings[0]\n",
    ),
    "a cancelled member before a bug": ("next(silent, findings[0])", "next(iter(findings))"),
    "no cause": (
        "                return finding\n        return nothing\n",
        "                return finding\n            break\n        return nothing\n",
    ),
    "nothing special": ("rule.category is category and", "False and"),
    "special only by what decided": (
        "for each in looked.causes(finding.error))]\n    traits",
        "for each in ())]\n    traits",
    ),
    "the server's word on trying again ignored": ('== "false"', '== "never"'),
    "built-in rules before the user's": (
        "looked.by_rules(rules) or looked.judge(error)",
        "looked.judge(error)",
    ),
}
MUTANTS_OF_EVIDENCE = {
    "the exception before the caller": (
        "for each in (told, *holders)",
        "for each in (*holders, told)",
    ),
    "an error in the body of a 200 unseen": ("next(iter(in_body + of_http), None)", "next(iter(of_http), None)"),
    "Feishu's log taken for its error": ('if _get(outer, "msg") is None:', "if True:"),
    "what a gateway passes on unseen": ("        if below := _mapping(passed_on):", "        if below := {}:"),
    "the daily quota unseen": ("if _daily(layer):", "if False:"),
    "moderation unseen": ('yield "flagged_input"', "pass"),
    "details unseen": ("for each in [nested, *_items(nested)] if nested else ():", "for each in ():"),
    "attributes unseen": ("for name in _ATTRIBUTES)", "for name in ())"),
    "what an SDK read before what was sent": ("if of_response.keys() &", "if {} and of_response.keys() &"),
    "headers in the body unseen": ("for source in (*sources, *repeated):", "for source in sources:"),
}  # fmt: skip


def test_the_mutants_are_made_from_what_gets_everything_right() -> None:
    assert wrong(classify) == 0


@pytest.mark.parametrize("name", MUTANTS)
def test_each_step_of_the_order_is_missed(name: str) -> None:
    assert wrong(mutant(module, *MUTANTS[name]).classify)


@pytest.mark.parametrize("name", MUTANTS_OF_EVIDENCE)
def test_each_way_of_reading_an_error_is_missed(name: str) -> None:
    blind = mutant(evidence, *MUTANTS_OF_EVIDENCE[name])
    assert wrong(mutant(module, "import re\n", "import re\n", gather=blind.gather).classify)
