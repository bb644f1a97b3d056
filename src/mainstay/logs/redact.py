"""What in a text must nobody read?

Two nets. Exact values: the secrets that were configured, told to `register` once at start. Shapes: what keys and
tokens of the platforms we talk to look like, and values behind names such as ``password``. Everything that leaves
the process as text (log lines, `/health.lastError`, events) goes through `redact`; redacting twice changes nothing.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import quote

__all__ = ["redact", "redact_fields", "register"]

_MASK: Final = "***"
_SHORTEST_SECRET: Final = 4
"""Shorter values would blank out ordinary words, and protect nothing that can be guessed by trying."""

_SHAPES: Final[tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...]] = (
    (
        re.compile(
            r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL
        ),
        _MASK,
    ),
    # A URL's user name stays: it says which account was refused. A password may itself contain an "@".
    (re.compile(r"(://[^\s:/@]{0,256}):[^\s/]{0,512}@"), rf"\1:{_MASK}@"),
    (re.compile(r"\b(Bearer|Basic)\s{1,4}[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE), rf"\1 {_MASK}"),
    (
        re.compile(
            r"""((?:password|passwd|passphrase|secret|secret[_-]?key|(?<!first_)token|api[_-]?key|encrypt[_-]?key"""
            r"""|private[_-]?key|access[_-]?key|authorization|credentials?|cookie)\\?["']?\s{0,4}[:=]\s{0,4})"""
            r"""(?:\\?"(?:[^"\\]|\\(?!").)*(?:\\?"|\Z)|'[^']*(?:'|\Z)|(?:(?:Bearer|Basic)\s+)?[^\s,;&"'\\()\[\]{}<>]+)""",
            re.IGNORECASE,
        ),
        rf"\1{_MASK}",
    ),
    (
        re.compile(
            r"(?<![A-Za-z0-9_-])(?:"
            r"sk-[A-Za-z0-9_-]{8,}"  # OpenAI, OpenRouter, Anthropic and those who copy their format
            r"|[tuac]-(?=[A-Za-z0-9_.-]{0,40}\d)[A-Za-z0-9_.-]{16,}"  # Feishu tenant, user, app and code tokens
            r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"  # JWT
            r"|gh[pousr]_[A-Za-z0-9]{16,}|AIza[A-Za-z0-9_-]{20,}|AKIA[A-Z0-9]{12,}|xox[a-z]-[A-Za-z0-9-]{8,}"
            r")"
        ),
        _MASK,
    ),
    # Whoever knows the address of a Feishu custom bot may write into its group.
    (re.compile(r"(/open-apis/bot/v\d/hook/)[A-Za-z0-9_-]+"), rf"\1{_MASK}"),
)

_SECRET_NAME: Final = re.compile(
    r"password|passwd|passphrase|secret|token$|api[_-]?key|encrypt[_-]?key|private[_-]?key|access[_-]?key"
    r"|authorization|credential|cookie",
    re.IGNORECASE,
)
_DEEPEST: Final = 6

_known: re.Pattern[str] | None = None
_values: frozenset[str] = frozenset()


def register(secrets: Iterable[str]) -> None:
    """Mask these exact values from now on, also where they are URL-encoded or JSON-escaped."""
    global _known, _values  # noqa: PLW0603  one process, one set of secrets; replaced whole, so safe for readers
    forms = {
        form
        for secret in secrets
        if len(secret) >= _SHORTEST_SECRET
        for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1])
    }
    _values |= forms
    if _values:
        longest_first = sorted(_values, key=lambda value: (-len(value), value))
        _known = re.compile("|".join(map(re.escape, longest_first)))
        _named.cache_clear()


def redact(text: str) -> str:
    """The text with every secret in it replaced by ``***``. Never raises."""
    if _known is not None:
        text = _known.sub(_MASK, text)
    for shape, mask in _SHAPES:
        text = shape.sub(mask, text)
    return text


@lru_cache(1024)
def _named(name: str) -> tuple[str, bool]:
    """A field's name as it may be read, and whether what is under it is a secret; the names are few."""
    return redact(name), _SECRET_NAME.search(name) is not None


def redact_fields(value: object, *, depth: int = 0) -> object:
    """Plain JSON data with every secret in it masked, by value, by shape, and by the name it is under.

    What JSON has no form for becomes text; what is nested deeper than anybody reads is cut.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth < _DEEPEST and isinstance(value, Mapping):
        return {
            shown: _MASK if item and is_secret else redact_fields(item, depth=depth + 1)
            for (shown, is_secret), item in ((_named(str(name)), item) for name, item in value.items())
        }
    if depth < _DEEPEST and isinstance(value, list | tuple | set | frozenset):
        return [redact_fields(item, depth=depth + 1) for item in value]
    if depth < _DEEPEST and dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return redact_fields(named, depth=depth)
    return redact(str(value))
