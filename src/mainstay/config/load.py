"""Where is each setting's value, and which one wins?

Flag over environment over ``.env`` over ``mainstay.toml`` over default. Everything that is wrong is collected
before anything is raised: a configuration is corrected in one round, not in one round per mistake.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from mainstay.config import defaults, machine
from mainstay.config.env import assignments, strangers
from mainstay.config.model import Config
from mainstay.config.schema import SECTIONS, Key, Section
from mainstay.config.toml import Document, read_toml
from mainstay.config.values import fit
from mainstay.config.variables import Variable, home_in, read_variables
from mainstay.errors import ConfigError, nearest
from mainstay.settings import Secret

__all__ = ["FILE_NAME", "load"]

FILE_NAME: Final = "mainstay.toml"
_REFERENCE: Final = re.compile(r"(?<!\S)env:([A-Za-z_][A-Za-z0-9_]*)(?!\S)")
_TABLE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")


@dataclass(slots=True)
class _Loading:
    """What one `load` has at hand, and what it has found.

    ``refused`` keys have a problem already. Where something has no value, ``is_whole`` is false: nothing can be
    concluded from the rest.
    """

    document: Document
    variables: Mapping[str, Variable]
    flags: Mapping[str, str]
    origins: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    is_whole: bool = True


def load(
    file: Path | None = None,
    *,
    directory: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, str | None] | None = None,
) -> Config:
    """Read everything once.

    Args:
        file: the file to read; it must exist. Without it ``mainstay.toml`` of the directory, if there is one.
        directory: the project; the current directory if absent, the file's directory if a file is given.
        environ: in place of the process's environment.
        flags: values from the command line by ``"section.key"``; None means that the flag was not given.

    Raises:
        ConfigError: with one line for each problem.
    """
    environ = os.environ if environ is None else environ
    directory = (file.parent if file else directory or Path.cwd()).absolute()
    if file is None and os.path.lexists(directory / FILE_NAME):
        file = directory / FILE_NAME
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    loading = _Loading(_document(file), read_variables(environ, directory / ".env"), given)
    _refuse_unknown(loading)

    tables = _tables(loading)
    built = {name: _build(section, tables[name], loading) for name, section in SECTIONS.items()}
    loading.problems.extend(strangers(tables, loading.variables))
    if not loading.is_whole:
        raise ConfigError(*sorted(loading.problems, key=_line))
    home = home_in(directory, loading.variables)
    warnings = _warnings(directory)
    config = Config(home=home, directory=directory, file=file, origins=loading.origins, warnings=warnings, **built)
    config = defaults.complete(config)
    loading.problems.extend(
        f"{_origin(key, loading)}: {key}: {what}"
        for key, what in machine.contradictions(config)
        if key not in loading.refused
    )
    if loading.problems:
        raise ConfigError(*sorted(loading.problems, key=_line))
    return config


def _origin(key: str, loading: _Loading) -> str:
    return loading.origins.get(key) or loading.document.place(*key.split("."))


def _line(problem: str) -> int:
    match = re.match(r"[^\s:]+:(\d+):", problem)
    return int(match[1]) if match else 0


def _document(file: Path | None) -> Document:
    return read_toml(file) if file else Document(name=FILE_NAME)


def _warnings(directory: Path) -> tuple[str, ...]:
    dotenv = directory / ".env"
    if dotenv.is_file() and dotenv.stat().st_mode & 0o077:
        return (".env can be read by other users of this machine; run: chmod 600 .env",)
    return ()


def _refuse_unknown(loading: _Loading) -> None:
    for name, value in loading.document.data.items():
        place = loading.document.place(name)
        if name not in SECTIONS:
            loading.problems.append(f"{place}: [{name}]: unknown section{nearest(name, SECTIONS)}")
        elif not isinstance(value, dict):
            loading.problems.append(f"{place}: {name}: must be a table, written as [{name}]")


def _tables(loading: _Loading) -> dict[str, dict[str, dict[str, Any]]]:
    """What the file and the defaults say: section, table's name (empty if it has only one), key, value."""
    tables: dict[str, dict[str, dict[str, Any]]] = {}
    for name, section in SECTIONS.items():
        written = loading.document.data.get(name)
        written = written if isinstance(written, dict) else None
        if section.named:
            embedded = defaults.tables(name, written, loading.variables)
            tables[name] = {**embedded, **_named(name, written or {}, loading)}
        else:
            tables[name] = {"": written or {}}
    return tables


def _named(section: str, written: Mapping[str, object], loading: _Loading) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, table in written.items():
        place = loading.document.place(section, name)
        if not isinstance(table, dict):
            loading.problems.append(f"{place}: {section}.{name}: must be a table, written as [{section}.NAME]")
        elif not _TABLE_NAME.fullmatch(name):
            loading.problems.append(
                f"{place}: [{section}.{name!r}]: is not a name: begin with a letter, then letters, digits, '-', '_'"
            )
        else:
            loading.origins[f"{section}.{name}"] = place
            found[name] = table
    return found


def _build(section: Section, tables: Mapping[str, Mapping[str, Any]], loading: _Loading) -> Any:  # noqa: ANN401
    """The room's settings; of a section with many tables a mapping of them."""
    built = {}
    for table, written in tables.items():
        if (of := section.of(table, written)) is not None:
            built[table] = _table(of, table, written, loading)
        else:
            loading.is_whole = False
            key, known = f"{section.name}.{table}.kind", ", ".join(section.kinds)
            place = loading.document.place(*key.split("."))
            loading.problems.append(f"{place}: {key}: {written['kind']!r} is not one of {known}")
    return built if section.named else built[""]


def _table(section: Section, table: str, written: Mapping[str, Any], loading: _Loading) -> object:
    path = (section.name, table) if table else (section.name,)
    prefix = ".".join(path)
    chosen = _written(section, path, written, loading)
    for key, variable in assignments(section, table, loading.variables):
        chosen[key.name] = (variable.value, variable.origin)
    for name in section.keys:
        if f"{prefix}.{name}" in loading.flags:
            chosen[name] = (loading.flags[f"{prefix}.{name}"], f"flag --{name.replace('_', '-')}")
    inner = {
        name: found
        for name in written.keys() & section.tables.keys()
        if (found := _inner(section.tables[name], (*path, name), written[name], loading)) is not None
    }
    return section.settings(**_taken(section, prefix, chosen, loading), **inner)


def _inner(section: Section, path: tuple[str, ...], written: object, loading: _Loading) -> object | None:
    """The settings of a table within a table."""
    if not isinstance(written, dict):
        loading.problems.append(
            f"{loading.document.place(*path)}: {'.'.join(path)}: must be a table, written as [{'.'.join(path)}]"
        )
        return None
    chosen = _written(section, path, written, loading)
    return cast("object", section.settings(**_taken(section, ".".join(path), chosen, loading)))


def _written(
    section: Section, path: tuple[str, ...], written: Mapping[str, Any], loading: _Loading
) -> dict[str, tuple[object, str]]:
    """What the file, or the embedded table, says: the values and where they stand."""
    _refuse_unknown_keys(section, path, written, loading)
    in_file = _is_written(loading.document, path)
    return {
        name: (written[name], loading.document.place(*path, name) if in_file else "default")
        for name in written.keys() & section.keys.keys()
    }


def _taken(
    section: Section, prefix: str, chosen: Mapping[str, tuple[object, str]], loading: _Loading
) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, key in section.keys.items():
        if name in chosen:
            _take(key, f"{prefix}.{name}", *chosen[name], values, loading)
    for name in (name for name, key in section.keys.items() if key.default is MISSING and name not in values):
        loading.is_whole = False
        values[name] = None
        if f"{prefix}.{name}" not in loading.refused:
            loading.problems.append(f"{_origin(prefix, loading)}: {prefix}.{name}: is missing")
    return values


def _is_written(document: Document, path: Iterable[str]) -> bool:
    return tuple(path) in document.lines


def _refuse_unknown_keys(
    section: Section, path: tuple[str, ...], written: Iterable[str], loading: _Loading
) -> None:
    for name in written:
        if name not in section.keys and name not in section.tables:
            place, known = loading.document.place(*path, name), (*section.keys, *section.tables)
            loading.problems.append(f"{place}: {'.'.join((*path, name))}: unknown key{nearest(name, known)}")


def _take(key: Key, path: str, written: object, origin: str, values: dict[str, object], loading: _Loading) -> None:
    """Resolve, fit and remember one value, or the problem with it."""
    missing: list[str] = []
    if isinstance(written, str) and written.startswith("env:"):
        name = written[4:].strip()
        if name in loading.variables:
            written, origin = loading.variables[name].value, f"{loading.variables[name].origin} ({origin})"
        else:
            missing.append(name)
    elif isinstance(written, Mapping) and key.is_table:
        written = {name: _filled_in(value, loading, missing) for name, value in written.items()}
    if missing:
        loading.refused.add(path)
        loading.problems.extend(
            f"{origin}: {path}: the environment variable {name} is not set, here or in .env" for name in missing
        )
        return
    try:
        values[key.name] = fit(written, key)
    except ValueError as error:
        loading.refused.add(path)
        loading.problems.append(f"{origin}: {path}: {error}")
    if origin != "default":
        loading.origins[path] = origin


def _filled_in(value: object, loading: _Loading, missing: list[str]) -> object:
    """A text of a table; with a variable in it (``"Bearer env:TOKEN"``) it is a secret."""
    if not isinstance(value, str) or not _REFERENCE.search(value):
        return value

    def variable(found: re.Match[str]) -> str:
        if found[1] in loading.variables:
            return loading.variables[found[1]].value
        missing.append(found[1])
        return ""

    return Secret(_REFERENCE.sub(variable, value))
