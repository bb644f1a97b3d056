"""Which apps are this project's own service, and is its database ready for them?"""

import subprocess
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import PurePath
from typing import Final

from mainstay.config.model import Config
from mainstay.errors import MainstayError
from mainstay.supervisor.app import AppSettings

__all__ = ["migrated", "services"]

_WITHIN_S: Final = 600.0


def services(config: Config, names: Iterable[str] = ()) -> list[str]:
    """The apps that run `mainstay serve` for this configuration: of these, of all if none is named."""
    wanted = {name.partition(":")[0] for name in names} - {"all"}
    return [name for name, app in config.apps.items() if (not wanted or name in wanted) and _is_service(app)]


def _is_service(app: AppSettings) -> bool:
    """Whoever gives it a directory or a configuration of its own has another database, too."""
    program, *arguments = app.command
    name = PurePath(program).name
    if name.startswith("python") and "-m" in arguments:
        name, *arguments = arguments[arguments.index("-m") + 1 :] or ("",)
    if name != "mainstay":
        return False
    return "serve" in arguments and "--config" not in arguments and not app.cwd


def migrated(config: Config, names: Iterable[str]) -> None:
    """Bring the database to what this version needs, if one of these apps needs it.

    A look at the file costs little. What there is to do is done by a process of its own, whose memory is not ours.
    What goes wrong is said, and keeps nobody from starting: the service says it too, and others need no database.
    """
    if not services(config, names):
        return
    if find_spec("sqlalchemy") is None:
        print("mainstay: `mainstay serve` needs the whole bot: pip install 'mainstay[bot]'", file=sys.stderr)
        return
    if not _is_current(config):
        command = [sys.executable, "-P", "-m", "mainstay", "migrate", "--quiet"]
        command += ["--config", str(config.file)] if config.file else []
        try:
            subprocess.run(command, check=False, timeout=_WITHIN_S, stdout=sys.stderr)  # noqa: S603  our own program
        except subprocess.TimeoutExpired:
            print("mainstay: `mainstay migrate` takes too long: type it to see why", file=sys.stderr)


def _is_current(config: Config) -> bool:
    from mainstay.schema import SCHEMA
    from mainstay.storage.file import lacking, path_of

    try:
        return not lacking(path_of(config.storage.url), SCHEMA)
    except MainstayError:
        return False  # the one who migrates says why
