"""What does each setting of PM2 mean here?

One rule for each that has a meaning: it takes the app, the key and what was written, and raises ValueError if PM2
itself would not take that. The words that start the script are in `mainstay.deploy.pm2.command`.
"""

import posixpath
from collections.abc import Callable, Mapping
from typing import Final

from mainstay.deploy.pm2.absent import ABSENT, MOOT
from mainstay.deploy.pm2.command import runs_on_node
from mainstay.deploy.pm2.model import KEYS, READY_BY_MESSAGE, Setting
from mainstay.deploy.pm2.translation import Translation
from mainstay.deploy.pm2.units import (
    as_bool,
    as_milliseconds,
    as_number,
    as_size,
    as_text,
    as_variable,
    as_whole,
    shown_ms,
)
from mainstay.errors import nearest

__all__ = ["RULES", "fill_in", "rest"]

Rule = Callable[[Translation, str, object], None]

_KILL_TIMEOUT_MS: Final = 1600
_BACKOFF_CAP_MS: Final = 15000
_NOWHERE: Final = ("/dev/null", "NULL")
_CLUSTER: Final = (
    "each instance is a process of its own, which shares no port by itself: give the app `listen`, and let the "
    "program take the socket that it is given ($LISTEN_FDS; `server.listen({fd: 3})`)"
)
_GROWS: Final = (
    "it grows with each failure in a row, up to backoff_cap (30s); write backoff_cap as well to stop that"
)
_EXPONENTIAL: Final = "the first restart is at once, and the delay doubles (PM2: half as much again)"
_NOT_READY: Final = "one that does not say it in time is started again; PM2 takes it for ready then"
_NO_MESSAGE: Final = "no program of node: it is ready as soon as it has started"
_COMBINED: Final = "out_file and error_file are kept; `mainstay logs NAME` shows both"
_ONE_LOG: Final = "one log of both in the order in which they were written, in place of three"
_KEPT: Final = "the log is kept in the home's directory of logs, and bounded, instead of thrown away"
_STAMPED: Final = "the time is written in ISO 8601, UTC, to the millisecond"


def _same(becomes: str, parse: Callable[[object], Setting]) -> Rule:
    """It has the same meaning here, by this name."""

    def rule(app: Translation, key: str, written: object) -> None:
        app.take(key, becomes, parse(written))

    return rule


def _cwd(app: Translation, key: str, written: object) -> None:
    app.take(key, "cwd", _joined(app.place.directory, as_text(written)))


def _joined(directory: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(directory, path)) if directory else path


def _instances(app: Translation, key: str, written: object) -> None:
    if written == "max":
        written = 0
    asked, cores = as_whole(written), app.place.cores
    count = asked if asked > 0 else max(1, cores + asked)
    why = f"this machine's {cores} cores, written out" if asked <= 0 else ""
    clustered = count > 1 and "exec_mode" not in app.written and runs_on_node(app.command)
    app.take(key, "instances", count, changed="; ".join(filter(None, (why, _CLUSTER if clustered else ""))))


def _exec_mode(app: Translation, key: str, written: object) -> None:
    mode = as_text(written).removesuffix("_mode")
    if mode not in ("fork", "cluster"):
        raise ValueError(f"{written!r} is neither fork nor cluster")
    app.take(key, changed=_CLUSTER if mode == "cluster" else "")


def _env(app: Translation, key: str, written: object) -> None:
    if not isinstance(written, Mapping):
        raise ValueError("must be a table of variables")  # noqa: TRY004  all are ValueErrors
    app.add_variables({str(name): as_variable(value) for name, value in written.items()})
    app.take(key, "env")


def _port(app: Translation, key: str, written: object) -> None:
    app.add_variables({"PORT": str(as_whole(written))})
    app.take(key, "env")


def _log(app: Translation, key: str, written: object) -> None:
    path = as_text(written)
    if path in _NOWHERE:
        app.take(key, changed=_KEPT)
    else:
        app.take(key, key, _log_path(app, path))


def _log_path(app: Translation, path: str) -> str:
    """PM2's are relative to the app's directory, ours to the configuration's."""
    if path.startswith("~"):
        return app.place.home + path[1:]
    return _joined(_joined(app.place.directory, str(app.written.get("cwd") or "")), path)


def _log_file(app: Translation, key: str, written: object) -> None:
    if written is False or written in _NOWHERE:
        app.as_here(key, "")
    elif app.written.get("out_file") or app.written.get("error_file"):
        app.take(key, changed=_COMBINED)
    else:
        app.take(key, "log_combined", value=True, changed=_ONE_LOG)
        if isinstance(written, str):
            app.settings["out_file"] = _log_path(app, written)


def _time(app: Translation, key: str, written: object) -> None:
    app.take(key, "log_timestamps", as_bool(written), changed=_STAMPED if written else "")


def _log_date_format(app: Translation, key: str, written: object) -> None:
    as_text(written)
    app.take(key, "log_timestamps", value=True, changed=f"{_STAMPED}, whatever the format")


def _merge_logs(app: Translation, key: str, written: object) -> None:
    if as_bool(written) and app.settings.get("instances", 1) != 1:
        app.refuse(key, "each instance has its own files; `mainstay logs NAME` shows them together")
    else:
        app.as_here(key, "")


def _memory(app: Translation, key: str, written: object) -> None:
    app.take(
        key,
        "memory_limit",
        as_size(written),
        changed="all its processes together, looked at each second; PM2 looks at the first one every 30 s",
    )


def _restart_delay(app: Translation, key: str, written: object) -> None:
    delay = as_milliseconds(as_number(written))
    app.take(key, "restart_delay", delay, changed=_GROWS if as_number(written) else "")


def _exponential(app: Translation, key: str, written: object) -> None:
    number = as_number(written)
    if number:
        app.settings["backoff_cap"] = shown_ms(_BACKOFF_CAP_MS)
        app.take(key, "backoff_base", as_milliseconds(number), changed=_EXPONENTIAL)
    else:
        app.as_here(key, "")


def _kill_timeout(app: Translation, key: str, written: object) -> None:
    app.take(key, "stop_timeout", as_milliseconds(as_number(written) or _KILL_TIMEOUT_MS))


def _wait_ready(app: Translation, key: str, written: object) -> None:
    if not as_bool(written):
        app.as_here(key, "")
    elif app.command[0] == "mainstay":
        app.take(key, "ready", "notify", changed="it says so by READY=1 to $NOTIFY_SOCKET")
    elif runs_on_node(app.command):
        app.take(key, "ready", READY_BY_MESSAGE, changed=_NOT_READY)
    else:
        app.take(key, changed=_NO_MESSAGE)


def _listen_timeout(app: Translation, key: str, written: object) -> None:
    milliseconds = as_milliseconds(as_number(written))
    if "ready" in app.settings:
        app.take(key, "ready_timeout", milliseconds)
    else:
        app.as_here(key, "it is for wait_ready")


def _cron(app: Translation, key: str, written: object) -> None:
    if written in (0, "0", ""):
        app.as_here(key, "")
    else:
        app.take(key, "cron_restart", as_text(written))


def _codes(written: object) -> list[int]:
    return [as_whole(code) for code in (written if isinstance(written, list) else [written])]


def _treekill(app: Translation, key: str, written: object) -> None:
    if as_bool(written):
        app.as_here(key, "")
    else:
        app.refuse(key, "all that an app has started ends with it")


def _append_env_to_name(app: Translation, key: str, written: object) -> None:
    app.take(key, "the name" if as_bool(written) and app.env else "")


RULES: Final[Mapping[str, Rule]] = {
    "append_env_to_name": _append_env_to_name,
    "cwd": _cwd,
    "instances": _instances,
    "exec_mode": _exec_mode,
    "env": _env,
    "port": _port,
    "instance_var": _same("instance_var", as_text),
    "increment_var": _same("increment_var", as_text),
    "autostart": _same("autostart", as_bool),
    "autorestart": _same("autorestart", as_bool),
    "stop_exit_codes": _same("stop_exit_codes", _codes),
    "max_restarts": _same("max_restarts", as_whole),
    "min_uptime": _same("min_uptime", as_milliseconds),
    "restart_delay": _restart_delay,
    "exp_backoff_restart_delay": _exponential,
    "cron_restart": _cron,
    "max_memory_restart": _memory,
    "kill_timeout": _kill_timeout,
    "wait_ready": _wait_ready,
    "listen_timeout": _listen_timeout,
    "uid": _same("user", as_variable),
    "gid": _same("group", as_variable),
    "treekill": _treekill,
    "out_file": _log,
    "error_file": _log,
    "log_file": _log_file,
    "log_date_format": _log_date_format,
    "time": _time,
    "merge_logs": _merge_logs,
}
"""In the order in which they are applied, which is also the order of the keys that are written."""


def rest(app: Translation, key: str, written: object) -> None:
    """A setting without a rule: of another environment, without a counterpart, or unknown to PM2 as well."""
    if key.startswith("env_"):
        _of_an_environment(app, key, written)
    elif key in MOOT:
        app.as_here(key, MOOT[key])
    elif key in ABSENT and not written:
        app.as_here(key, "off, as here")
    elif key in ABSENT:
        app.refuse(key, ABSENT[key])
    else:
        app.refuse(key, f"PM2 does not know it either{_hint(key)}")


def _of_an_environment(app: Translation, key: str, written: object) -> None:
    name = key.removeprefix("env_")
    if name != app.env:
        app.refuse(key, f"it was not asked for: --env {name} adds it")
    elif not isinstance(written, Mapping):
        raise ValueError("must be a table of variables")
    else:
        app.add_variables({str(each): as_variable(value) for each, value in written.items()})
        app.take(key, "env")


def fill_in(app: Translation) -> None:
    """Where PM2's defaults differ from ours, they are written out."""
    app.settings.setdefault("stop_timeout", shown_ms(_KILL_TIMEOUT_MS))
    app.settings["stop_signal"] = "SIGINT"
    if app.place.directory:
        app.settings.setdefault("cwd", app.place.directory)


def _hint(key: str) -> str:
    hint = nearest(key, KEYS)
    return hint if hint.startswith("; did") else ""
