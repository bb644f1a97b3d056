"""Which words start a script as PM2 does?

PM2 looks for the script in the app's directory, then in $PATH, and takes the interpreter from its extension; a text
that it does not know is run by node. A script with a space in it is a line for the shell.
"""

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Final

from mainstay.deploy.pm2.model import Script
from mainstay.deploy.pm2.translation import Translation
from mainstay.deploy.pm2.units import as_text, as_words

__all__ = ["Look", "runs_on_node", "take_command"]

Look = Callable[[str, str], Script]
"""What the script (second) is in that directory (first)."""

_BY_EXTENSION: Final = {
    ".sh": "bash", ".py": "python3", ".rb": "ruby", ".php": "php", ".pl": "perl", ".js": "node",
    ".coffee": "coffee", ".ls": "lsc", ".ts": "bun", ".tsx": "bun",
}  # fmt: skip
_NODE: Final = ("node", "bun")
_SHELL: Final = "the script has a space, so it is a line for the shell, and PM2 does not use this either"
_VERSION: Final = "the node in $PATH is used: choose its version there"


def take_command(app: Translation, look: Look) -> None:
    """Write ``command``, and report the settings that are in it. Raises ValueError."""
    if "script" not in app.written:
        raise ValueError("is missing: an app needs something to run")
    script = as_text(app.written["script"])
    if script == "serve":
        raise ValueError("is PM2's own server of files: use a web server, or `python3 -m http.server`")
    app.take("script", "command")
    if " " in script:
        app.settings["command"] = ["bash", "-c", script]
        for key in ("exec_interpreter", "node_args", "args"):
            if key in app.written:
                app.refuse(key, _SHELL)
        return
    app.settings["command"] = [*_interpreted(app, script, look), *_words(app, "args")]


def _interpreted(app: Translation, script: str, look: Look) -> list[str]:
    kind = look(str(app.written.get("cwd") or ""), script)
    interpreter = _interpreter(app, script, kind)
    options = _words(app, "node_args")
    if interpreter == "none":
        return [f"./{script}" if kind is not Script.MISSING and "/" not in script else script]
    if "python" in interpreter:
        app.add_variables({"PYTHONUNBUFFERED": "1"})
    return [interpreter, *options, script]


def _interpreter(app: Translation, script: str, kind: Script) -> str:
    if "exec_interpreter" in app.written:
        program, at, _ = as_text(app.written["exec_interpreter"]).partition("@")
        app.take("exec_interpreter", "command", changed=_VERSION if at else "")
        return program
    by_extension = _BY_EXTENSION.get(PurePosixPath(script).suffix)
    return by_extension or ("node" if kind is Script.TEXT else "none")


def _words(app: Translation, key: str) -> list[str]:
    if key not in app.written:
        return []
    app.take(key, "command")
    return as_words(app.written[key]) if app.written[key] else []


def runs_on_node(words: list[str]) -> bool:
    """Whether this is a program of node or bun, which can say by a message that it is ready."""
    return PurePosixPath(words[0]).name in _NODE
