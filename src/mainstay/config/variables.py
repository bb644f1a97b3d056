"""What do the environment and ``.env`` say?

The process's environment wins over ``.env``; an empty variable counts as not set. Which setting they set is not
known here: a command that only asks the supervisor needs no more than the home, and loads no setting of any room.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from dotenv.parser import parse_stream

from mainstay.config.toml import read_text
from mainstay.errors import ConfigError

__all__ = ["Variable", "Variables", "home_in", "home_of", "read_variables"]


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


def home_of(file: Path | None = None, *, environ: Mapping[str, str] | None = None) -> Path:
    """Where all of this project is kept; to be known also while its configuration is wrong.

    Args:
        file: the file of the configuration; the directory's own if None, and there need not be one.
        environ: the environment; `os.environ` if None.
    """
    directory = (file.parent if file else Path.cwd()).absolute()
    return home_in(directory, read_variables(os.environ if environ is None else environ, directory / ".env"))


def home_in(directory: Path, variables: Variables) -> Path:
    """The home of the project in that directory."""
    asked = variables.get("MAINSTAY_HOME")
    return directory / (Path(asked.value).expanduser() if asked else ".mainstay")
