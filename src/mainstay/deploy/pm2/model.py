"""What does PM2 keep about an app, and what became of each of its settings here?

Names, aliases and types of PM2's settings are those of its ``lib/API/schema.json`` (7.0); each may also be written
in camel case.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

__all__ = [
    "ALIASES",
    "KEYS",
    "READY_BY_MESSAGE",
    "Entry",
    "Export",
    "Imported",
    "Place",
    "Script",
    "Setting",
    "Verdict",
]

READY_BY_MESSAGE: Final = "message"
"""The value of ``ready`` for a program that says so by ``process.send('ready')``."""

Setting = str | int | float | bool | list[str] | list[int] | dict[str, str]
"""What a key of ``[apps.NAME]`` may have as its value, in the form in which it is written."""

KEYS: Final = frozenset(
    {
        "append_env_to_name", "args", "automation", "autorestart", "autostart", "cron_restart", "cwd",
        "deep_monitoring", "disable_logs", "disable_source_map_support", "disable_trace", "env", "error_file",
        "event_loop_inspector", "exec_interpreter", "exec_mode", "execute_command", "exp_backoff_restart_delay",
        "filter_env", "force", "gid", "ignore_watch", "increment_var", "install_url", "instance_var", "instances",
        "io", "kill_retry_time", "kill_timeout", "listen_timeout", "log_date_format", "log_file", "log_type",
        "max_memory_restart", "max_restarts", "merge_logs", "min_uptime", "name", "name_prefix", "namespace",
        "node_args", "out_file", "pid_file", "pmx", "port", "post_update", "restart_delay", "script",
        "shutdown_with_message", "source_map_support", "stop_exit_codes", "time", "trace", "treekill", "uid",
        "username", "v8", "vizion", "wait_ready", "watch", "watch_delay", "watch_options", "windowsHide", "write",
    }
)  # fmt: skip
"""All that PM2 knows, and ``env_NAME``."""

_DECLARED: Final = {
    "exec": "script", "cmd": "script", "command": "script",
    "interpreter": "exec_interpreter", "interpreter_args": "node_args", "interpreterArgs": "node_args",
    "out": "out_file", "output": "out_file", "out_log": "out_file",
    "error": "error_file", "err": "error_file", "err_file": "error_file", "err_log": "error_file",
    "log": "log_file", "pid": "pid_file", "cron": "cron_restart", "combine_logs": "merge_logs", "user": "uid",
}  # fmt: skip


def _camel(key: str) -> str:
    first, *rest = key.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


ALIASES: Final[Mapping[str, str]] = {_camel(key): key for key in KEYS if _camel(key) != key} | _DECLARED


class Verdict(StrEnum):
    """What became of a setting."""

    TAKEN = "taken"
    """It means the same here, or is how things are here anyway."""
    CHANGED = "changed"
    """It is taken, and something about it is different."""
    UNSUPPORTED = "not supported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One setting in the report.

    Attributes:
        app: whose it is; empty for what belongs to the whole file.
        key: as it was written.
        verdict: see there.
        becomes: the setting on the other side; empty if there is none.
        note: what is different, or what to do instead; empty if there is nothing to say.
    """

    app: str
    key: str
    verdict: Verdict
    becomes: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """An app as it is written into ``mainstay.toml``: the keys of ``[apps.NAME]``."""

    name: str
    settings: Mapping[str, Setting]


class Script(StrEnum):
    """What a file is to PM2, which runs what it does not know by node."""

    MISSING = "missing"
    """Not there: it is looked for in $PATH."""
    BINARY = "binary"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an ecosystem file is started from.

    Attributes:
        directory: what PM2 takes relative paths to be relative to; empty if that is where ``mainstay.toml`` is.
        home: what ``~`` is.
        cores: how many this machine has.
    """

    directory: str = ""
    home: str = ""
    cores: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """An app of ours, as far as PM2 can have it; durations in seconds, sizes in bytes.

    Attributes:
        env: without what is secret.
        secrets: the names of those variables that are.
        paths: relative ones are relative to the configuration's directory, as in our file.
        others: settings that were set and for which PM2 has nothing, by name.
    """

    name: str
    command: tuple[str, ...]
    directory: str
    cwd: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    instances: int = 1
    autostart: bool = True
    autorestart: bool = True
    stop_exit_codes: tuple[int, ...] = ()
    max_restarts: int = 16
    min_uptime: float = 1.0
    restart_delay: float = 0.0
    backoff_base: float = 0.1
    stop_signal: str = "SIGTERM"
    stop_timeout: float = 10.0
    ready: str = "started"
    ready_timeout: float = 30.0
    memory_limit: int | None = None
    log_timestamps: bool = False
    log_combined: bool = False
    out_file: str = ""
    error_file: str = ""
    cron_restart: str = ""
    instance_var: str = "NODE_APP_INSTANCE"
    increment_var: str = ""
    user: str = ""
    group: str = ""
    others: tuple[str, ...] = ()
