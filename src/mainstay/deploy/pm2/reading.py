"""What is in an ecosystem file?

JSON is read here, with the comments and commas at ends that PM2 allows. Everything else is JavaScript, which only
node can read: it is run in a short process of its own, as PM2 would.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from mainstay.deploy.pm2.model import Script
from mainstay.errors import ConfigError
from mainstay.units import format_duration

__all__ = ["CANDIDATES", "look", "read"]

CANDIDATES: Final = (
    "ecosystem.config.js",
    "ecosystem.config.cjs",
    "ecosystem.config.mjs",
    "ecosystem.config.json",
    "ecosystem.json",
    "pm2.json",
)
"""What an ecosystem file is called, the likeliest first."""

_SCRIPTS: Final = (".js", ".cjs", ".mjs")
_STRING: Final = r'("(?:\\.|[^"\\])*")'
_COMMENT: Final = re.compile(rf"{_STRING}|//[^\n]*|/\*.*?\*/", re.DOTALL)
_COMMA_AT_END: Final = re.compile(rf"{_STRING}|,(?=\s*[\]}}])", re.DOTALL)
_DEADLINE_S: Final = 10.0
_FIRST: Final = 8192
# What the file itself prints must not be in between.
_IMPORT: Final = """
const { pathToFileURL } = require('url')
console.log = console.info = console.debug = console.error
import(pathToFileURL(process.argv[1])).then(module => {
  const config = module.default === undefined ? module : module.default
  process.stdout.write(JSON.stringify(config) || 'null', () => process.exit(0))
}).catch(error => {
  const [where] = String(error && error.stack || '').split('\\n')
  const what = String(error && error.message || error).split('\\n')[0]
  process.stderr.write('\\n' + (where.includes(what) ? what : `${what} (${where})`) + '\\n', () => process.exit(1))
})
"""
_EVALUATE: Final = """
const text = require('fs').readFileSync(process.argv[1], 'utf8')
try {
  const config = require('vm').runInThisContext(`(${text}\\n)`, { timeout: 1000 })
  process.stdout.write(JSON.stringify(config) || 'null')
} catch (error) {
  process.stderr.write('\\n' + error.message + '\\n')
  process.exitCode = 1
}
"""


def read(path: Path) -> object:
    """The file's content.

    Raises:
        ConfigError: if it is not there or can not be read as what it should be, or node is needed and not there.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise ConfigError(f"{path}: {what}") from None
    if path.suffix in _SCRIPTS:
        return _by_node(path, _IMPORT)
    if path.suffix in (".yml", ".yaml"):
        raise ConfigError(
            f"{path}: YAML is not read: make JSON of it, e.g. `npx js-yaml {path.name} > ecosystem.json`"
        )
    try:
        return json.loads(_without(_COMMA_AT_END, _without(_COMMENT, text)))
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply") from None
    except ValueError as error:
        flaw = f"{path}: is not JSON: {error}"
    if shutil.which("node") is None:
        raise ConfigError(flaw)
    try:
        return _by_node(path, _EVALUATE)  # PM2 takes it for JavaScript: names without quotes, and the like
    except ConfigError as error:
        raise ConfigError(f"{flaw}; and as JavaScript: {str(error).removeprefix(f'{path}: ')}") from None


def _without(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda found: found[1] or "", text)


def _by_node(path: Path, program: str) -> object:
    node = shutil.which("node")
    if node is None:
        raise ConfigError(
            f"{path}: only node can read JavaScript, and there is none in $PATH: where there is one, run "
            f"`node -p 'JSON.stringify(require(\"./{path.name}\"))' > ecosystem.json`, and import that file"
        )
    try:
        ran = subprocess.run(  # noqa: S603  the user's own file, as PM2 runs it
            [node, "-e", program, str(path.absolute())],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{path}: node was not done with it within {format_duration(_DEADLINE_S)}") from None
    if ran.returncode:
        said = ran.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ConfigError(f"{path}: node says: {said[-1] if said else f'nothing, and ends with {ran.returncode}'}")
    try:
        return json.loads(ran.stdout)
    except ValueError:
        raise ConfigError(f"{path}: prints to standard output by itself, so that it can not be read") from None


def look(directory: str, script: str) -> Script:
    """What PM2 would take this script for: a file with a zero byte near its beginning is no text."""
    path = Path(directory, script)
    try:
        with path.open("rb") as file:
            return Script.BINARY if b"\0" in file.read(_FIRST) else Script.TEXT
    except OSError:
        executable = os.access(path, os.X_OK) and path.is_file()
        return Script.BINARY if executable else Script.MISSING
