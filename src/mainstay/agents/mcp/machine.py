"""Which of a server's tools are offered, under which names, and what does a failure mean?

Pure decisions. What a server lists is not trusted: names become what every API takes, and what would make a
provider refuse the whole request (a schema that is no object, a list without end) is left out and noted.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2s
from itertools import combinations
from typing import Final

from mainstay.agents.mcp.model import LONGEST_PREFIX, ListedTool, McpSettings, Offer, OfferedTool
from mainstay.errors import Category, nearest
from mainstay.settings import address_flaw

__all__ = [
    "LONGEST_LISTED_NAME",
    "MOST_LISTED",
    "category_of",
    "clashes",
    "contradictions",
    "cut_description",
    "is_too_long",
    "offer",
    "wait_s",
]

MOST_LISTED: Final = 1000
"""Of a longer list the rest is not even read."""
LONGEST_LISTED_NAME: Final = 256
"""In a server's own list; what a model is told is shorter, see `offer`."""

_MOST_OFFERED: Final = 100
_LONGEST_NAME: Final = 64
_LONGEST_DESCRIPTION: Final = 1024
_LONGEST_SCHEMA: Final = 16 * 1024
_UNUSABLE: Final = re.compile(r"[^A-Za-z0-9_-]")

_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 60.0

_CATEGORIES: Final[Mapping[int, Category]] = {
    -32000: Category.CONNECTION,
    -32001: Category.TIMEOUT,
    -32603: Category.SERVER_ERROR,
    -32700: Category.MALFORMED,
}


def category_of(code: int) -> Category:
    """What a JSON-RPC error means; an unknown code is about the request (wrong arguments, a tool's own error)."""
    return _CATEGORIES.get(code, Category.INVALID_REQUEST)


def contradictions(name: str, settings: McpSettings) -> Iterator[tuple[str, str]]:
    """The key and what is wrong with it, for everything about a server that no single value can know."""
    if settings.url and settings.command:
        yield "command", "is given beside url: a server has one of the two"
    elif not settings.url and not settings.command:
        yield "url", 'is missing: write where the server is, or what starts it, like command = ["npx", "-y", "…"]'
    yield from _beside_url(settings) if settings.url else _beside_command(settings)
    if len(settings.prefix_for(name)) > LONGEST_PREFIX:
        yield "prefix", f"{name}_ is too long for the beginning of a tool's name: write a shorter one"
    for tool in settings.read_only:
        if settings.tools and tool not in settings.tools:
            yield "read_only", f"{tool} is not among tools{nearest(tool, settings.tools)}"


def _beside_url(settings: McpSettings) -> Iterator[tuple[str, str]]:
    if flaw := address_flaw(settings.url, "https://tools.example.com/mcp", "headers"):
        yield "url", flaw
    for key in ("env", "cwd"):
        if getattr(settings, key):
            yield key, "is for a server with a command; this one has a url"


def _beside_command(settings: McpSettings) -> Iterator[tuple[str, str]]:
    if settings.headers:
        yield "headers", "are for a server with a url; give a command its secrets by env"


def clashes(prefixes: Mapping[str, str], own: Iterable[str]) -> Iterator[str]:
    """What could make two tools of one agent have one name.

    Ruled out by how the names begin, because what servers will list is not known before.

    Args:
        prefixes: those of the agent's servers, by the servers' names.
        own: the names of its other tools.
    """
    for (name, prefix), (other, other_prefix) in combinations(prefixes.items(), 2):
        if prefix.startswith(other_prefix) or other_prefix.startswith(prefix):
            yield f"tools of {name} and {other} could have the same name: give one of them another prefix"
    for tool in own:
        for name, prefix in prefixes.items():
            if tool.startswith(prefix):
                yield f"a tool of {name} could have the name of the tool {tool}: give [mcp.{name}] another prefix"


def wait_s(failures: int, chance: float) -> float:
    """Seconds until the next try after so many failed ones in a row; doubles, half of it by chance."""
    longest = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(failures - 1, 16))
    return longest * (0.5 + chance / 2)


def offer(prefix: str, settings: McpSettings, listed: Sequence[ListedTool]) -> Offer:
    """What of this list the models are offered."""
    wanted = {tool.name: tool for tool in listed if not settings.tools or tool.name in settings.tools}
    problems = {tool.name: _problem(tool) for tool in wanted.values()}
    usable = [tool for tool in wanted.values() if not problems[tool.name]]
    notes = list(_not_there(settings, listed))
    notes += [f"the tool {name!r} is left out: {problem}" for name, problem in problems.items() if problem]
    if len(usable) > _MOST_OFFERED:
        notes.append(f"it lists {len(usable)} tools, and {_MOST_OFFERED} are offered: name those you need in tools")
    usable = usable[:_MOST_OFFERED]
    return Offer(
        tuple(
            OfferedTool(
                name=_name(prefix, tool.name),
                called=tool.name,
                description=tool.description,
                schema=tool.schema,
                effects=not (
                    tool.name in settings.read_only or (settings.trust_annotations and tool.says_read_only)
                ),
            )
            for tool in usable
        ),
        tuple(notes),
    )


def _not_there(settings: McpSettings, listed: Sequence[ListedTool]) -> Iterator[str]:
    there = {tool.name for tool in listed}
    for name in dict.fromkeys((*settings.tools, *settings.read_only)):
        if name not in there:
            yield f"it has no tool {name!r}, which is configured"


def _problem(tool: ListedTool) -> str:
    if tool.flaw:
        return tool.flaw
    return "" if tool.schema.get("type") == "object" else "its arguments are no object"


def is_too_long(name: str, schema: str) -> str:
    """What of a listed tool is too long to be kept, checked or passed on; empty if nothing is."""
    if len(name) > LONGEST_LISTED_NAME:
        return "its name is too long"
    return "the description of its arguments is too long" if len(schema) > _LONGEST_SCHEMA else ""


def cut_description(description: str) -> str:
    """As much of it as a model is told."""
    if len(description) <= _LONGEST_DESCRIPTION:
        return description
    return description[: _LONGEST_DESCRIPTION - 1] + "…"


def _name(prefix: str, called: str) -> str:
    """The models' name of a tool: its own where that can be, else with a mark of what it was made from.

    It depends on the tool's own name alone: an answer that goes on after a crash means the same tool by it,
    whatever the server has learned meanwhile.
    """
    name = prefix + _UNUSABLE.sub("_", called)
    if name == prefix + called and len(name) <= _LONGEST_NAME:
        return name
    mark = blake2s(called.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{name[: _LONGEST_NAME - len(mark) - 1]}_{mark}"
