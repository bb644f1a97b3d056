"""What do the environment and ``.env`` say?

Three kinds of names: the ones that a setting declares (``PORT``), the general ``MAINSTAY_SECTION_KEY`` (for a
table with a name ``MAINSTAY_MODELS_PRIMARY_MODEL``), and ``FEISHU_SUBSCRIPTION_MODE``, which is a yes or no of its
own. The process's environment wins over ``.env``; an empty variable counts as not set.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Final

from dotenv.parser import parse_stream

from mainstay.config.schema import SECTIONS, Key, Section
from mainstay.config.toml import read_text
from mainstay.errors import ConfigError, nearest

__all__ = ["Variable", "Variables", "assignments", "names_of", "read_variables", "strangers"]

SUBSCRIPTION: Final = "FEISHU_SUBSCRIPTION_MODE"
_OURS: Final = "MAINSTAY_"
_OWNER_OF_DECLARED_NAMES: Final = {"channels": "feishu"}
"""Of a section with many tables only this one listens to declared names: two bots never share one FEISHU_APP_ID."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A value and its origin: ``"environment PORT"`` or ``".env:3"``."""

    value: str
    origin: str


Variables = Mapping[str, Variable]


def read_variables(environ: Mapping[str, str], dotenv: Path) -> dict[str, Variable]:
    """The process's environment over ``.env``; neither is changed.

    Raises:
        ConfigError: if ``.env`` exists and can not be read, or has a line that is no assignment.
    """
    found: dict[str, Variable] = {}
    problems: list[str] = []
    if dotenv.exists():
        for binding in parse_stream(StringIO(read_text(dotenv))):
            text = binding.original.string
            line = binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
            place = f"{dotenv.name}:{line}"
            if binding.error:
                problems.append(
                    f"{place}: is not an assignment; write NAME=value, with quotes around special characters"
                )
            elif binding.key and binding.value:
                found[binding.key] = Variable(binding.value, place)
    if problems:
        raise ConfigError(*problems)
    for name, value in environ.items():
        if value and not _is_service_link(name, environ):
            found[name] = Variable(value, f"environment {name}")
    return found


def _is_service_link(name: str, environ: Mapping[str, str]) -> bool:
    """Whether Kubernetes made it: a Service called "mainstay" puts MAINSTAY_SERVICE_HOST into every pod."""
    linked = environ.get("MAINSTAY_PORT", "").startswith(("tcp://", "udp://", "sctp://"))
    return linked and name.startswith(("MAINSTAY_SERVICE_HOST", "MAINSTAY_SERVICE_PORT", "MAINSTAY_PORT"))


def names_of(section: Section, table: str, key: Key) -> tuple[str, ...]:
    """The variables that set this key, the strongest first."""
    middle = f"{section.name}_{table}" if table else section.name
    general = f"{_OURS}{middle}_{key.name}".upper().replace("-", "_")
    if section.named and _OWNER_OF_DECLARED_NAMES.get(section.name) != table:
        return (general,)
    own = (SUBSCRIPTION,) if (section.name, key.name) == ("channels", "mode") else ()
    return (general, *key.info.env, *own)


def assignments(section: Section, table: str, variables: Variables) -> Iterator[tuple[Key, Variable]]:
    """The keys of one table that the environment sets."""
    for key in section.keys.values():
        for name in names_of(section, table, key):
            if name in variables:
                yield key, _meaning(name, variables[name])
                break


def _meaning(name: str, variable: Variable) -> Variable:
    if name != SUBSCRIPTION:
        return variable
    modes = {"true": "subscription", "false": "webhook"}
    return Variable(modes.get(variable.value.strip().lower(), variable.value), variable.origin)


def strangers(tables: Mapping[str, tuple[str, ...]], variables: Variables) -> Iterator[str]:
    """A problem for each ``MAINSTAY_SECTION_…`` that sets nothing: a typing error that would go unnoticed."""
    known = {
        name
        for section in SECTIONS.values()
        for table in (tables[section.name] if section.named else ("",))
        for key in section.keys.values()
        for name in names_of(section, table, key)
        if name.startswith(_OURS)
    }
    prefixes = tuple(f"{_OURS}{name.upper()}_" for name in SECTIONS)
    for name, variable in variables.items():
        if name.startswith(prefixes) and name not in known:
            hint = nearest(name, known)
            yield f"{variable.origin}: {name} sets nothing{hint if hint.startswith('; did') else ''}"
