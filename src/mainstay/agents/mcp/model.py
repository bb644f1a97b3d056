"""What is an MCP server, as it is configured, and what does it offer?"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mainstay.errors import MainstayError
from mainstay.recovery.model import Failure
from mainstay.settings import Secret, duration, is_sendable, setting, size, texts, variables

__all__ = ["LONGEST_PREFIX", "Answer", "CallFailed", "ListedTool", "McpSettings", "Offer", "OfferedTool"]

LONGEST_PREFIX: Final = 32
_PREFIX: Final = re.compile(rf"[A-Za-z0-9_-]{{0,{LONGEST_PREFIX}}}")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def _command(written: object) -> tuple[str, ...]:
    words = tuple(written) if isinstance(written, Sequence) and not isinstance(written, str) else ()
    if not all(isinstance(word, str) and "\0" not in word for word in words) or (words and not words[0].strip()):
        raise ValueError(f'{written!r} is not a command: write a list of texts, like ["npx", "-y", "some-server"]')
    if len(words) == 1 and any(char.isspace() for char in words[0]):
        listed = ", ".join(f'"{word}"' for word in words[0].split())
        raise ValueError(f"{words[0]!r} is one word with spaces in it: write [{listed}]")
    return words


def _headers(written: object) -> dict[str, Secret]:
    headers = {name: _secret(value) for name, value in texts(written, _HEADER, "a header").items()}
    for name, value in headers.items():
        if not is_sendable(value.reveal()):
            raise ValueError(f"{name} holds a character that no request can: only printable ASCII is allowed")
    return headers


def _secret(value: Secret | str) -> Secret:
    return value if isinstance(value, Secret) else Secret(value)


def _prefix(written: object) -> str:
    prefix = str(written)
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f"{prefix!r} is no prefix: write letters, digits, _ and -, at most {LONGEST_PREFIX}")
    return prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class McpSettings:
    """``[mcp.NAME]``: one MCP server, by URL or by command; its tools join those of the agents that name it."""

    url: str = setting("", help="Where a server that runs elsewhere is reached (streamable HTTP).")
    headers: Mapping[str, Secret] = setting(
        {},
        help='Sent with every request to the URL; a value may hold env:NAME, like "Bearer env:TOKEN".',
        parse=_headers,
    )
    command: tuple[str, ...] = setting(
        (),
        help="In place of a URL: what starts the server, word by word; it speaks through its standard streams.",
        parse=_command,
    )
    env: Mapping[str, Secret | str] = setting(
        {},
        help="Variables for the command, which gets few others: HOME, LOGNAME, PATH, SHELL, TERM and USER.",
        parse=variables,
    )
    cwd: str = setting("", help="The directory in which the command runs; that of the service if absent.")
    prefix: str | None = setting(
        None,
        help="What the names of its tools begin with for the model, so that no two are the same; NAME_ if absent.",
        parse=_prefix,
    )
    tools: tuple[str, ...] = setting((), help="The only tools that are offered, by the server's names; empty: all.")
    read_only: tuple[str, ...] = setting(
        (), help="Tools that may be called again after a crash, because calling them twice changes nothing."
    )
    trust_annotations: bool = setting(
        default=False, help="Whether the server's own word that a tool only reads (readOnlyHint) is believed."
    )
    timeout: float = duration("30s", help="How long one call may take; an agent's tool_timeout may allow less.")
    connect_timeout: float = duration(
        "30s", help="How long the server may take to start or to be reached, and to list its tools."
    )
    result_limit: int = size("64KiB", help="How much of one result the model is told; the rest is cut.")

    def prefix_for(self, name: str) -> str:
        """What the names of its tools begin with."""
        return f"{name}_" if self.prefix is None else self.prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedTool:
    """A tool as the server lists it.

    Attributes:
        schema: the JSON Schema of its arguments.
        flaw: why the schema is none; empty if it is one.
        says_read_only: the server's own word that it only reads.
    """

    name: str
    description: str
    schema: Mapping[str, object]
    flaw: str = ""
    says_read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedTool:
    """A tool as the model sees it.

    Attributes:
        name: unique, and of a form that every API takes.
        called: the server's own name of it.
        effects: whether running it twice may do something twice.
    """

    name: str
    called: str
    description: str
    schema: Mapping[str, object]
    effects: bool


@dataclass(frozen=True, slots=True)
class Offer:
    """What a server offers; ``notes`` say what of it could not be used, or was not found."""

    tools: tuple[OfferedTool, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool returned; ``ok`` is the tool's own word for it."""

    text: str
    ok: bool


class CallFailed(MainstayError):
    """A call without a result. Where the failure counts for the breaker, nobody knows what the tool has done."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure
