"""Is it configured as it should be, and does nobody see what is secret?"""

import dataclasses
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mainstay.cli.doctor.model import Finding, Project, configured, failed, ok, skipped, warning
from mainstay.config.model import Config
from mainstay.config.schema import SECTIONS
from mainstay.config.toml import read_toml
from mainstay.config.variables import read_variables
from mainstay.errors import ConfigError
from mainstay.settings import Secret
from mainstay.storage.file import path_of

__all__ = ["configuration", "credentials", "environment", "permissions", "secrets"]

_REFERENCE: Final = re.compile(r"(?<!\S)env: *([A-Za-z_][A-Za-z0-9_]*)(?!\S)")
_GIT_WITHIN_S: Final = 5.0


def configuration(project: Project) -> Finding:
    """Whether it can be read, and fits together."""
    where = project.file.name if project.file else "the defaults"
    if project.problems:
        more = f" ({len(project.problems) - 1} more: `mainstay config check`)" if len(project.problems) > 1 else ""
        return failed(f"{project.problems[0]}{more}")
    return ok(f"{where}: right" if project.file else "there is no mainstay.toml; the defaults hold")


def environment(project: Project) -> Finding:
    """The variables that the configuration names; never what they hold."""
    try:
        named = set(_named(read_toml(project.file).data)) if project.file else set()
        known = read_variables(os.environ, project.directory / ".env")
    except ConfigError as error:
        return skipped(f"{error.problems[0]}")
    missing = sorted(named - known.keys())
    if missing:
        return failed(f"not set, neither here nor in .env: {', '.join(missing)}")
    return ok(f"set: {', '.join(sorted(named))}" if named else "the configuration names no variable")


def _named(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield from _REFERENCE.findall(value)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _named(each)
    elif isinstance(value, list):
        for each in value:
            yield from _named(each)


@configured
def credentials(_: Project, config: Config) -> Finding:
    """Whether anybody real is answered."""
    if config.sandbox_users:
        users = ", ".join(config.sandbox_users)
        return warning(f"the sandbox stands in for {users}: nobody real is answered until these have credentials")
    return ok(f"for {', '.join((*config.models, *config.bots))}; whether they are accepted was not tried")


def secrets(project: Project) -> Finding:
    """Whether keys are where only their owner reads them."""
    dotenv = project.directory / ".env"
    if dotenv.exists() and dotenv.stat().st_mode & 0o077:
        return failed(f".env can be read by others (mode {dotenv.stat().st_mode & 0o777:04o}): chmod 600 {dotenv}")
    if (tracked := _git(project.directory, "ls-files", "--error-unmatch", ".env")) == 0:
        return failed(".env is in version control: git rm --cached .env, add it to .gitignore, and get new keys")
    written = list(_written_out(project))
    if written and project.file and project.file.stat().st_mode & 0o077:
        return failed(f"{written[0]} is written out in a file that others can read: chmod 600 {project.file}")
    if written:
        return warning(
            f"{', '.join(written)}: written out in the configuration; write env:NAME, and NAME into .env"
        )
    if dotenv.exists() and tracked is not None and _git(project.directory, "check-ignore", "-q", ".env") != 0:
        return warning(".env is not in .gitignore: it might be committed one day")
    return ok(
        "only their owner reads .env" if dotenv.exists() else "there is no .env, and no key in the configuration"
    )


def _written_out(project: Project) -> Iterator[str]:
    """The settings whose secret stands in the configuration itself."""
    config = project.config
    if config is None or project.file is None:
        return
    for section in SECTIONS.values():
        value = getattr(config, section.name)
        for name, table in (value if section.named else {"": value}).items():
            for key in dataclasses.replace(section, settings=type(table)).keys.values():
                path = ".".join(filter(None, (section.name, name, key.name)))
                is_secret = isinstance(getattr(table, key.name), Secret)
                if is_secret and config.origin(path).startswith(f"{project.file.name}:"):
                    yield path


def _git(directory: Path, *words: str) -> int | None:
    """What git says to that; None where there is none, or no repository."""

    def code(*asked: str) -> int:
        command = ("git", *asked)
        ran = subprocess.run(command, cwd=directory, capture_output=True, timeout=_GIT_WITHIN_S, check=False)  # noqa: S603  words of ours
        return ran.returncode

    try:
        return code(*words) if code("rev-parse", "--git-dir") == 0 else None
    except (OSError, subprocess.TimeoutExpired):
        return None


def permissions(project: Project) -> Finding:
    """Who may open what the service keeps."""
    home = project.home
    if not home.exists():
        return skipped(f"there is no {home} yet")
    ours = os.geteuid()
    kept = [home / name for name in ("supervisor.sock", "keeper.sock", "tokens.json")]
    if project.config is not None:
        kept.append(path_of(project.config.storage.url))
    for path in (home, *kept):
        if not path.exists():
            continue
        state = path.stat()
        if state.st_uid != ours:
            return failed(f"{path} belongs to another user than the one who runs this: chown it, or run it as them")
        if state.st_mode & 0o077:
            return failed(f"{path} can be opened by others (mode {state.st_mode & 0o777:04o}): chmod go= {path}")
    return ok(f"only their owner opens {home} and what is in it")
