"""Which variable sets which setting?

Three kinds of names: the ones that a setting declares (``PORT``), the general ``MAINSTAY_SECTION_KEY`` (for a
table with a name ``MAINSTAY_MODELS_PRIMARY_MODEL``), and ``FEISHU_SUBSCRIPTION_MODE``, which is a yes or no of its
own.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from mainstay.config.schema import SECTIONS, Key, Section
from mainstay.config.variables import Variable, Variables
from mainstay.errors import nearest

__all__ = ["assignments", "names_of", "strangers"]

SUBSCRIPTION: Final = "FEISHU_SUBSCRIPTION_MODE"
_OURS: Final = "MAINSTAY_"
_OWNER_OF_DECLARED_NAMES: Final = {"channels": "feishu"}
"""Of a section with many tables only this one listens to declared names: two bots never share one FEISHU_APP_ID."""


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


def strangers(tables: Mapping[str, Mapping[str, Mapping[str, object]]], variables: Variables) -> Iterator[str]:
    """A problem for each ``MAINSTAY_SECTION_…`` that sets nothing: a typing error that would go unnoticed."""
    known = {
        name
        for section in SECTIONS.values()
        for table, written in tables[section.name].items()
        for key in (section.of(table, written) or section).keys.values()
        for name in names_of(section, table, key)
        if name.startswith(_OURS)
    }
    prefixes = tuple(f"{_OURS}{name.upper()}_" for name in SECTIONS)
    for name, variable in variables.items():
        if name.startswith(prefixes) and name not in known:
            hint = nearest(name, known)
            yield f"{variable.origin}: {name} sets nothing{hint if hint.startswith('; did') else ''}"
