"""Which of the fifteen categories is this error, and what does it ask for?

What an error says about itself is read in `mainstay.recovery.evidence`, what is known about errors stands in
`mainstay.recovery.rules`; here is the order in which the one is held against the other.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from mainstay.errors import Category
from mainstay.recovery import rules as known
from mainstay.recovery.delay import asked_to_wait
from mainstay.recovery.evidence import Evidence, cause, gather, members
from mainstay.recovery.model import TRAITS, AttemptError, Failure, Rule, Traits
from mainstay.recovery.wording import one_line

__all__ = ["classify"]

_MOST_ERRORS: Final = 100
"""So many exceptions of a chain or group are looked at."""


def classify(
    error: BaseException | None = None,
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    body: object = None,
    rules: Sequence[Rule] = (),
    now: datetime | None = None,
) -> Failure:
    """What this failure is, what it means for the next step, and how long the other side asked to be left alone.

    The order is fixed. A cancellation is one, whatever else is true of it. Then your own ``rules``, in their order,
    each against the error and all that it was raised from. Then, for the error first and for its causes after it
    until one of them says something: the class, along its resolution order, so that a subclass wins over its base;
    the code in the body; the status; the text. A class, code or status that says little (``BadRequestError``,
    ``invalid_request_error``, 400) is asked again after those that say more. What an SDK raises for the words of a
    provider, and nothing explains, is the provider's failure.

    In a group the first member that says something decides. One that says nothing, which is a bug of ours, decides
    only when no other member does, and a cancelled one only when nothing else is there: siblings are cancelled
    because of the failure that counts.

    What nobody knows is `Category.INTERNAL`, which is never tried again. The taxonomy follows the error pages of
    OpenAI, Anthropic, Google AI, OpenRouter, Azure OpenAI and Feishu; its tables are ``docs/reference/errors.md``.

    Args:
        error: any exception, also a group; foreign ones are known by name, so no SDK is needed.
        status: the HTTP status, if the response is at hand; it goes before what the exception says of it.
        headers: of the response, in any case.
        body: of the response: a mapping, JSON as text or bytes, or anything at all.
        rules: tried before those that come with Mainstay; see `mainstay.recovery.model.parse_rules`.
        now: the wall clock's time. Only needed where a response asks for a wait until a moment and has no ``Date``.

    Returns:
        The failure. ``traits`` say what is done next; ``retry_after_s`` are seconds from the response on, at most a
        week, and ``nonsense`` names what asked for them and made no sense; ``message`` is one line that may be
        logged and shown, at most 200 printable characters without credentials.

    Raises:
        Nothing, whatever the objects do. A KeyboardInterrupt that comes meanwhile passes.
    """
    try:
        looked = _Look(error, gather(error, status=status, headers=headers, body=body))
        finding = looked.by_rules(rules) or looked.judge(error)
        return _failure(finding, looked, now)
    except Exception:  # noqa: BLE001  the border to objects of others, which may do anything
        return Failure(category=Category.INTERNAL, message="an error that can not be read")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    """Which exception decided, and what; no category if it says nothing."""

    error: BaseException | None
    evidence: Evidence
    category: Category | None = None
    rule: Rule | None = None


class _Look:
    """One look at an error, its causes and members; each is read once, and not too many are."""

    def __init__(self, error: BaseException | None, first: Evidence) -> None:
        self.error = error
        self.first = first
        self._read: dict[int, Evidence] = {id(error): first}
        self._judged: set[int] = set()

    def evidence(self, error: BaseException) -> Evidence:
        if id(error) not in self._read:
            self._read[id(error)] = gather(error) if len(self._read) < _MOST_ERRORS else Evidence()
        return self._read[id(error)]

    def causes(self, error: BaseException | None) -> Iterator[BaseException]:
        """The error and what it was raised from, down to a cancellation that it only happened to interrupt."""
        seen: set[int] = set()
        while error is not None and id(error) not in seen and len(seen) < _MOST_ERRORS:
            seen.add(id(error))
            yield error
            following, stated = cause(error)
            error = following if stated or not _cancelled(following) else None

    def by_rules(self, rules: Sequence[Rule]) -> _Finding | None:
        """What the user's rules say, in their order."""
        if not rules or _cancelled(self.error):
            return None
        reached: list[tuple[BaseException | None, Evidence]]
        reached = [(each, self.evidence(each)) for each in self._reach()] or [(None, self.first)]
        return next(
            (
                _Finding(error=error, evidence=evidence, category=rule.category, rule=rule)
                for rule in rules
                for error, evidence in reached
                if _fits(rule, evidence)
            ),
            None,
        )

    def _reach(self) -> list[BaseException]:
        reached: dict[int, BaseException] = {}
        waiting = [] if self.error is None else [self.error]
        while waiting and len(reached) < _MOST_ERRORS:
            each = waiting.pop(0)
            if id(each) not in reached and not _cancelled(each):
                reached[id(each)] = each
                following, _ = cause(each)
                waiting += [*members(each), *([] if following is None else [following])]
        return list(reached.values())

    def judge(self, error: BaseException | None) -> _Finding:
        """The first that says something: the error, or one of its members, or one of its causes."""
        nothing = _Finding(error=error, evidence=self.first if error is None else self.evidence(error))
        if error is None:
            return replace(nothing, category=_category(self.first))
        for each in self.causes(error):
            if id(each) in self._judged or len(self._judged) >= _MOST_ERRORS:
                break
            self._judged.add(id(each))
            if grouped := members(each):
                finding = _most_telling([self.judge(member) for member in grouped])
                nothing = finding if nothing.error is each else nothing
            else:
                evidence = self.evidence(each)
                finding = _Finding(error=each, evidence=evidence, category=_category(evidence, each))
            if finding.category is not None:
                return finding
        return nothing


def _cancelled(error: BaseException | None) -> bool:
    kind = type(error)
    return not issubclass(kind, Exception) and any(each.__name__ in known.CANCELLED for each in kind.__mro__)


def _most_telling(findings: list[_Finding]) -> _Finding:
    telling = (each for each in findings if each.category not in (None, Category.CANCELLED))
    silent = (each for each in findings if each.category is None)
    return next(telling, None) or next(silent, findings[0])


def _category(evidence: Evidence, error: BaseException | None = None) -> Category | None:
    """The category by this evidence alone; None when it says nothing. The order is that of `classify`."""
    if _cancelled(error):
        return Category.CANCELLED
    if isinstance(error, AttemptError):
        return error.category
    for rule in known.COMBINED:
        if _fits(rule, evidence):
            return rule.category
    if evidence.status == 402 and asked_to_wait(evidence.headers, evidence.waits).seconds is not None:
        return Category.RATE_LIMIT  # who says when to come back has not run out of credit
    if evidence.packages & known.DATABASES:
        return Category.DATABASE
    return (
        _first(evidence.names, known.CLASSES)
        or known.FEISHU.get(evidence.feishu or 0)
        or _first(evidence.codes, known.CODES)
        or _by_status(evidence)
        or _first(evidence.names, known.VAGUE_CLASSES)
        or _first(evidence.codes, known.VAGUE_CODES)
        or _by_text(evidence, known.WORDS)
        or (Category.INVALID_REQUEST if evidence.feishu else None)
        or _first(evidence.names, known.LAST_CLASSES)
    )


def _first(names: Iterable[str], table: Mapping[str, Category]) -> Category | None:
    return next((table[name] for name in names if name in table), None)


def _by_status(evidence: Evidence) -> Category | None:
    """By the status, made more precise by the provider's own sentence where it says little."""
    status = evidence.status if evidence.status is not None and evidence.status >= 400 else None
    if status is None or status in known.VAGUE_STATUSES:
        found = _by_text(evidence, known.PHRASES)
        if found is not None or status is None:
            return found
    return known.STATUSES.get(status) or (Category.SERVER_ERROR if status >= 500 else Category.INVALID_REQUEST)


def _by_text(evidence: Evidence, table: Iterable[tuple[Category, re.Pattern[str]]]) -> Category | None:
    text = evidence.said or ("" if known.BUGS & {*evidence.names} else evidence.own)
    return next((category for category, pattern in table if pattern.search(text)), None)


def _fits(rule: Rule, evidence: Evidence) -> bool:
    return (
        (not rule.class_name or rule.class_name in evidence.names)
        and (not rule.code or rule.code.lower() in evidence.codes)
        and (rule.status is None or rule.status == evidence.status)
        and (not rule.text or re.search(rule.text, f"{evidence.said}\n{evidence.own}", re.IGNORECASE) is not None)
    )


def _failure(finding: _Finding, looked: _Look, now: datetime | None) -> Failure:
    evidence, category = finding.evidence, finding.category or Category.INTERNAL
    asked = asked_to_wait(evidence.headers or looked.first.headers, evidence.waits or looked.first.waits, now=now)
    return Failure(
        category=category,
        message=_message(finding, looked),
        retry_after_s=asked.seconds,
        status=evidence.status,
        nonsense=asked.nonsense,
        special=finding.rule.traits if finding.rule else _special(category, finding, looked),
    )


def _special(category: Category, finding: _Finding, looked: _Look) -> Traits | None:
    along = [finding.evidence, *(looked.evidence(each) for each in looked.causes(finding.error))]
    traits = next(
        (
            rule.traits
            for _, rule in known.SPECIAL
            if rule.category is category and any(_fits(rule, each) for each in along)
        ),
        None,
    )
    if finding.evidence.headers.get("x-should-retry") == "false":  # OpenAI and Anthropic; their SDKs obey it
        return replace(traits or TRAITS[category], retries=0)
    return traits


def _message(finding: _Finding, looked: _Look) -> str:
    """What the provider said, else the exception's own text with that of its deepest cause, else its name."""
    evidence = finding.evidence
    name = one_line(next(iter(evidence.names), "")) or "no more is known"
    said = one_line(evidence.said)
    if not said:
        own = one_line(evidence.own) or name
        root = one_line([evidence.own, *(looked.evidence(each).own for each in looked.causes(finding.error))][-1])
        said = own if root in own else f"{own.rstrip('.')} ({root})"
    if evidence.feishu:
        said = f"code {evidence.feishu}: {said}"
    if evidence.status is not None and evidence.status >= 400 and not isinstance(finding.error, AttemptError):
        said = f"HTTP {evidence.status}: {said}"
    return one_line(said)
