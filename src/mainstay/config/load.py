"""Where is each setting's value, and which one wins?

Flag over environment over ``.env`` over ``mainstay.toml`` over default. Everything that is wrong is collected
before anything is raised: a configuration is corrected in one round, not in one round per mistake.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, Final

from mainstay.config import defaults, machine
from mainstay.config.env import Variable, assignments, read_variables, strangers
from mainstay.config.model import Config
from mainstay.config.schema import SECTIONS, Key, Section
from mainstay.config.toml import Document, read_toml
from mainstay.config.values import fit
from mainstay.errors import ConfigError, nearest
from mainstay.settings import Secret

__all__ = ["FILE_NAME", "load"]

FILE_NAME: Final = "mainstay.toml"
_REFERENCE: Final = re.compile(r"(?<!\S)env:([A-Za-z_][A-Za-z0-9_]*)(?!\S)")
_TABLE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")


@dataclass(slots=True)
class _Loading:
    """What one `load` has at hand, and what it has found. ``refused`` keys have a problem already."""

    document: Document
    variables: Mapping[str, Variable]
    flags: Mapping[str, str]
    origins: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)


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
    loading.problems.extend(strangers({name: tuple(tables[name]) for name in SECTIONS}, loading.variables))
    home = _home(directory, loading.variables)
    config = Config(home=home, file=file, origins=loading.origins, warnings=_warnings(directory), **built)
    config = defaults.complete(config, directory)
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


def _home(directory: Path, variables: Mapping[str, Variable]) -> Path:
    asked = variables.get("MAINSTAY_HOME")
    return directory / (Path(asked.value).expanduser() if asked else ".mainstay")


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
    built = {table: _settings(section, table, written, loading) for table, written in tables.items()}
    return {table: made for table, made in built.items() if made is not None} if section.named else built[""]


def _settings(section: Section, table: str, written: Mapping[str, Any], loading: _Loading) -> object | None:
    """None where something is missing that has no default; that is a problem then."""
    path = (section.name, table) if table else (section.name,)
    prefix = ".".join(path)
    _refuse_unknown_keys(section, path, written, loading)
    chosen: dict[str, tuple[object, str]] = {}
    for name in written.keys() & section.keys.keys():
        place = loading.document.place(*path, name) if _is_written(loading.document, path) else "default"
        chosen[name] = (written[name], place)
    for key, variable in assignments(section, table, loading.variables):
        chosen[key.name] = (variable.value, variable.origin)
    for name in section.keys:
        if f"{prefix}.{name}" in loading.flags:
            chosen[name] = (loading.flags[f"{prefix}.{name}"], f"flag --{name.replace('_', '-')}")
    values: dict[str, object] = {}
    for name, key in section.keys.items():
        if name in chosen:
            _take(key, f"{prefix}.{name}", *chosen[name], values, loading)
    missing = [name for name, key in section.keys.items() if key.default is MISSING and name not in values]
    loading.problems.extend(
        f"{loading.document.place(*path)}: {prefix}.{name}: is missing" for name in missing if name not in chosen
    )
    return None if missing else section.settings(**values)


def _is_written(document: Document, path: Iterable[str]) -> bool:
    return tuple(path) in document.lines


def _refuse_unknown_keys(
    section: Section, path: tuple[str, ...], written: Iterable[str], loading: _Loading
) -> None:
    for name in written:
        if name not in section.keys:
            place = loading.document.place(*path, name)
            loading.problems.append(f"{place}: {'.'.join((*path, name))}: unknown key{nearest(name, section.keys)}")


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
