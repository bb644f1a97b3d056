"""What stands in ``docs/reference``, and is it what the code says?

``python -m mainstay.cli.reference --write`` writes the pages, ``--check`` compares them. Nothing on them is written
by hand.
"""

import argparse
import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from mainstay import errors, events
from mainstay.cli.main import VERBS, parser
from mainstay.config.written import settings_page
from mainstay.recovery import rules
from mainstay.recovery.classify import classify
from mainstay.recovery.model import TRAITS, Rule, Traits

__all__ = ["PAGES", "main"]

_CATEGORIES: Final = (
    "In `/health`, `rate_limit` and `quota_exhausted` count as `rateLimits`, `timeout` as `timeouts`, the rest as "
    "`other`; `cancelled` is no error."
)
_COMBINED: Final = (
    "What only several things together tell goes before the rest of the table, and so does a 402 that says when to "
    "come back, which is a `rate_limit`."
)
_TRAITS_HEAD: Final = "another model | the same one again | counts for the breaker"
_NEXT: Final = (
    "What a failure means for the call that it ends. A limit or deadline of the call can make it less. A response "
    "with `x-should-retry: false` is not tried again with the same model."
)
_ENVELOPE: Final = (
    "An event leaves the process as `{id, name, v, at, worker, turn_id, trace_id, data}`; `data` has the fields "
    "below, but for `turn_id`."
)
_NOTE: Final = "<!-- Written by `make reference` from the declarations in the code. -->"


def commands_page() -> str:
    """``docs/reference/commands.md``: every verb's own help."""
    top = parser()
    declared = next(action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    for each in (top, *declared.choices.values()):
        each.formatter_class = _at_one_width
    blocks = ["# Commands", "", _NOTE, "", "```text", top.format_help().rstrip(), "```"]
    for verb in VERBS:
        blocks += ["", f"## `mainstay {verb}`", "", "```text", declared.choices[verb].format_help().rstrip(), "```"]
    return "\n".join(blocks) + "\n"


def _at_one_width(prog: str) -> argparse.HelpFormatter:
    """Not the width of the terminal that the page happens to be written in."""
    return argparse.HelpFormatter(prog, width=100)


def events_page() -> str:
    """``docs/reference/events.md``: every event with its fields."""
    return "\n".join(_events()) + "\n"


def _events() -> Iterator[str]:
    yield from ("# Events", "", _NOTE, "", (inspect.getdoc(events) or "").partition("\n\n")[2], "")
    yield _ENVELOPE
    for name in events.__all__:
        kind = getattr(events, name)
        if not (isinstance(kind, type) and issubclass(kind, events.Event)) or kind is events.Event:
            continue
        yield from ("", f"## `{kind.name}`", "", inspect.getdoc(kind) or "", "", "| field | type |", "|---|---|")
        for field in dataclasses.fields(kind):
            yield f"| `{field.name}` | `{_type(field.type)}` |".replace(" | None`", " \\| None`")


def _type(annotation: object) -> str:
    text = (
        annotation.__name__
        if isinstance(annotation, type) and annotation.__module__ != "types"
        else str(annotation)
    )
    if "[" in str(annotation):
        text = str(annotation)
    return re.sub(r"\b[a-z_]+(?:\.[a-z_]+)*\.(?=[A-Z])", "", text)


def errors_page() -> str:
    """``docs/reference/errors.md``: the exceptions, and the categories with the rules that choose them."""
    return "\n".join(_errors()) + "\n"


def _errors() -> Iterator[str]:
    yield from ("# Errors", "", _NOTE, "", "## Exceptions", "", "| class | exit code | meaning |", "|---|---|---|")
    for name in errors.__all__:
        kind = getattr(errors, name)
        if isinstance(kind, type) and issubclass(kind, errors.MainstayError):
            yield f"| `{name}` | {kind.exit_code} | {_first_paragraph(kind)} |"
    order = (inspect.getdoc(classify) or "").partition("\n\n")[2].partition("\n\nArgs:")[0]
    yield from ("", "## Categories", "", _CATEGORIES, "", order, "")
    yield "| category | classes | codes of the provider | Feishu's codes | HTTP status |"
    yield "|---|---|---|---|---|"
    for category in errors.Category:
        classes = _names({**rules.CLASSES, **rules.VAGUE_CLASSES, **rules.LAST_CLASSES}, category)
        codes = _names({**rules.CODES, **rules.VAGUE_CODES}, category)
        yield f"| `{category}` | {classes} | {codes} | {_names(rules.FEISHU, category)} | {_statuses(category)} |"
    yield from ("", _COMBINED, "", "| category | conditions |", "|---|---|")
    yield from (f"| `{rule.category}` | {_conditions(rule)} |" for rule in rules.COMBINED)
    yield from ("", "## What happens next", "", _NEXT, "")
    yield from (f"| category | when | {_TRAITS_HEAD} |", f"|---|---|{'---|' * 3}")
    for category in errors.Category:
        yield f"| `{category}` | | {_traits(TRAITS[category])} |"
        special = [(why, rule) for why, rule in rules.SPECIAL if rule.category is category]
        for why in dict.fromkeys(why for why, _ in special):
            same = [rule for reason, rule in special if reason == why]
            conditions = ", ".join(map(_conditions, same))
            yield f"| | {why}: {conditions} | {_traits(same[0].traits or TRAITS[category])} |"


def _names(table: Mapping[Any, errors.Category], category: errors.Category) -> str:
    return " ".join(f"`{name}`" for name, chosen in table.items() if chosen is category)


def _statuses(category: errors.Category) -> str:
    others = {errors.Category.INVALID_REQUEST: "other 4xx", errors.Category.SERVER_ERROR: "other 5xx"}
    return " ".join(filter(None, (_names(rules.STATUSES, category), others.get(category))))


def _conditions(rule: Rule) -> str:
    given = (rule.class_name, rule.code, rule.status, rule.text)
    return " and ".join(f"`{condition}`".replace("|", "\\|") for condition in given if condition)


def _traits(traits: Traits) -> str:
    again = {0: "no", 1: "once", 2: "twice"}.get(traits.retries, f"{traits.retries} times")
    return f"{'yes' if traits.fallback else 'no'} | {again} | {'yes' if traits.counts else 'no'}"


def _first_paragraph(kind: type) -> str:
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())


PAGES: Final[dict[str, Callable[[], str]]] = {
    "commands.md": commands_page,
    "errors.md": errors_page,
    "events.md": events_page,
    "settings.md": settings_page,
}


def main(argv: list[str] | None = None) -> int:
    """Write or compare the pages; returns the exit code."""
    arguments = argparse.ArgumentParser(prog="python -m mainstay.cli.reference", description="The reference pages.")
    arguments.add_argument("--directory", type=Path, default=Path("docs/reference"))
    what = arguments.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="write the pages")
    what.add_argument("--check", action="store_true", help="exit 1 if a page differs from what the code says")
    args = arguments.parse_args(argv)
    stale = [
        name
        for name, page in PAGES.items()
        if not (args.directory / name).is_file() or (args.directory / name).read_text("utf-8") != page()
    ]
    if args.write:
        args.directory.mkdir(parents=True, exist_ok=True)
        for name in stale:
            (args.directory / name).write_text(PAGES[name](), "utf-8")
            print(f"written: {args.directory / name}")
        return 0
    for name in stale:
        print(f"{args.directory / name} is not what the code says: run make reference", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
