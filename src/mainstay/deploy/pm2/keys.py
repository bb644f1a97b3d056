"""What does each setting of PM2 mean here?

One rule for each that has a meaning: it takes the app and what was written, and raises ValueError if PM2 itself would
not take that. The words that start the script are in `mainstay.deploy.pm2.command`.
"""

import posixpath
from collections.abc import Callable, Mapping
from typing import Final

from mainstay.deploy.pm2.absent import ABSENT, MOOT
from mainstay.deploy.pm2.command import runs_on_node
from mainstay.deploy.pm2.model import ALIASES, KEYS, READY_BY_MESSAGE
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

Rule = Callable[[Translation, object], None]

_KILL_TIMEOUT_MS: Final = 1600
_BACKOFF_CAP_MS: Final = 15000
_NOWHERE: Final = ("/dev/null", "NULL")
_CLUSTER: Final = (
    "each instance is a process of its own, which shares no port by itself: give the app `listen`, and let the program "
    "take the socket that it is given ($LISTEN_FDS; `server.listen({fd: 3})`)"
)
_GROWS: Final = "it grows with each failure in a row, up to backoff_cap (30s); write backoff_cap as well to stop that"
_EXPONENTIAL: Final = "the first restart is at once, and the delay doubles (PM2: half as much again)"
_NOT_READY: Final = "one that does not say it in time is started again; PM2 takes it for ready then"
_NO_MESSAGE: Final = "no program of node: it is ready as soon as it has started"
_COMBINED: Final = "out_file and error_file are kept; `mainstay logs NAME` shows both"
_ONE_LOG: Final = "one log of both in the order in which they were written, in place of three"
_KEPT: Final = "the log is kept in the home's directory of logs, and bounded, instead of thrown away"
_STAMPED: Final = "the time is written in ISO 8601, UTC, to the millisecond"


def _cwd(app: Translation, written: object) -> None:
    app.take("cwd", "cwd", _joined(app.place.directory, as_text(written)))


def _joined(directory: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(directory, path)) if directory else path


def _instances(app: Translation, written: object) -> None:
    if written == "max":
        written = 0
    asked, cores = as_whole(written), app.place.cores
    count = asked if asked > 0 else max(1, cores + asked)
    why = f"this machine's {cores} cores, written out" if asked <= 0 else ""
    clustered = count > 1 and "exec_mode" not in app.written and runs_on_node(app.command)
    app.take("instances", "instances", count, changed="; ".join(filter(None, (why, _CLUSTER if clustered else ""))))


def _exec_mode(app: Translation, written: object) -> None:
    mode = as_text(written).removesuffix("_mode")
    if mode not in ("fork", "cluster"):
        raise ValueError(f"{written!r} is neither fork nor cluster")
    app.take("exec_mode", changed=_CLUSTER if mode == "cluster" else "")


def _env(app: Translation, written: object) -> None:
    if not isinstance(written, Mapping):
        raise ValueError("must be a table of variables")  # noqa: TRY004  all are ValueErrors
    app.add_variables({str(name): as_variable(value) for name, value in written.items()})
    app.take("env", "env")


def _port(app: Translation, written: object) -> None:
    app.add_variables({"PORT": str(as_whole(written))})
    app.take("port", "env")


def _out_file(app: Translation, written: object) -> None:
    _log(app, "out_file", written)


def _error_file(app: Translation, written: object) -> None:
    _log(app, "error_file", written)


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


def _log_file(app: Translation, written: object) -> None:
    if written is False or written in _NOWHERE:
        app.as_here("log_file", "")
    elif app.written.get("out_file") or app.written.get("error_file"):
        app.take("log_file", changed=_COMBINED)
    else:
        app.take("log_file", "log_combined", value=True, changed=_ONE_LOG)
        if isinstance(written, str):
            app.settings["out_file"] = _log_path(app, written)


def _time(app: Translation, written: object) -> None:
    app.take("time", "log_timestamps", as_bool(written), changed=_STAMPED if written else "")


def _log_date_format(app: Translation, written: object) -> None:
    app.take("log_date_format", "log_timestamps", value=True, changed=f"{_STAMPED}, whatever the format")


def _merge_logs(app: Translation, written: object) -> None:
    if as_bool(written) and app.settings.get("instances", 1) != 1:
        app.refuse("merge_logs", "each instance has its own files; `mainstay logs NAME` shows them together")
    else:
        app.as_here("merge_logs", "")


def _memory(app: Translation, written: object) -> None:
    app.take(
        "max_memory_restart",
        "memory_limit",
        as_size(written),
        changed="all its processes together, looked at each second; PM2 looks at the first one every 30 s",
    )


def _min_uptime(app: Translation, written: object) -> None:
    app.take("min_uptime", "min_uptime", as_milliseconds(written))


def _max_restarts(app: Translation, written: object) -> None:
    app.take("max_restarts", "max_restarts", as_whole(written))


def _restart_delay(app: Translation, written: object) -> None:
    delay = as_milliseconds(as_number(written))
    app.take("restart_delay", "restart_delay", delay, changed=_GROWS if as_number(written) else "")


def _exponential(app: Translation, written: object) -> None:
    number = as_number(written)
    if number:
        app.settings["backoff_cap"] = shown_ms(_BACKOFF_CAP_MS)
        app.take("exp_backoff_restart_delay", "backoff_base", as_milliseconds(number), changed=_EXPONENTIAL)
    else:
        app.as_here("exp_backoff_restart_delay", "")


def _kill_timeout(app: Translation, written: object) -> None:
    app.take("kill_timeout", "stop_timeout", as_milliseconds(as_number(written) or _KILL_TIMEOUT_MS))


def _wait_ready(app: Translation, written: object) -> None:
    if not as_bool(written):
        app.as_here("wait_ready", "")
    elif app.command[0] == "mainstay":
        app.take("wait_ready", "ready", "notify", changed="it says so by READY=1 to $NOTIFY_SOCKET")
    elif runs_on_node(app.command):
        app.take("wait_ready", "ready", READY_BY_MESSAGE, changed=_NOT_READY)
    else:
        app.take("wait_ready", changed=_NO_MESSAGE)


def _listen_timeout(app: Translation, written: object) -> None:
    milliseconds = as_milliseconds(as_number(written))
    if "ready" in app.settings:
        app.take("listen_timeout", "ready_timeout", milliseconds)
    else:
        app.as_here("listen_timeout", "it is for wait_ready")


def _cron(app: Translation, written: object) -> None:
    if written in (0, "0", ""):
        app.as_here("cron_restart", "")
    else:
        app.take("cron_restart", "cron_restart", as_text(written))


def _autostart(app: Translation, written: object) -> None:
    app.take("autostart", "autostart", as_bool(written))


def _autorestart(app: Translation, written: object) -> None:
    app.take("autorestart", "autorestart", as_bool(written))


def _stop_exit_codes(app: Translation, written: object) -> None:
    codes = [as_whole(code) for code in (written if isinstance(written, list) else [written])]
    app.take("stop_exit_codes", "stop_exit_codes", codes)


def _uid(app: Translation, written: object) -> None:
    app.take("uid", "user", as_variable(written))


def _gid(app: Translation, written: object) -> None:
    app.take("gid", "group", as_variable(written))


def _instance_var(app: Translation, written: object) -> None:
    app.take("instance_var", "instance_var", as_text(written))


def _increment_var(app: Translation, written: object) -> None:
    app.take("increment_var", "increment_var", as_text(written))


def _treekill(app: Translation, written: object) -> None:
    if as_bool(written):
        app.as_here("treekill", "")
    else:
        app.refuse("treekill", "all that an app has started ends with it")


def _append_env_to_name(app: Translation, written: object) -> None:
    app.take("append_env_to_name", "the name" if as_bool(written) and app.env else "")


RULES: Final[Mapping[str, Rule]] = {
    "append_env_to_name": _append_env_to_name,
    "cwd": _cwd,
    "instances": _instances,
    "exec_mode": _exec_mode,
    "env": _env,
    "port": _port,
    "instance_var": _instance_var,
    "increment_var": _increment_var,
    "autostart": _autostart,
    "autorestart": _autorestart,
    "stop_exit_codes": _stop_exit_codes,
    "max_restarts": _max_restarts,
    "min_uptime": _min_uptime,
    "restart_delay": _restart_delay,
    "exp_backoff_restart_delay": _exponential,
    "cron_restart": _cron,
    "max_memory_restart": _memory,
    "kill_timeout": _kill_timeout,
    "wait_ready": _wait_ready,
    "listen_timeout": _listen_timeout,
    "uid": _uid,
    "gid": _gid,
    "treekill": _treekill,
    "out_file": _out_file,
    "error_file": _error_file,
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
    if app.settings.get("instances", 1) != 1 and runs_on_node(app.command):
        app.settings.setdefault("instance_var", "NODE_APP_INSTANCE")


def _hint(key: str) -> str:
    hint = nearest(key, (*KEYS, *ALIASES))
    return hint if hint.startswith("; did") else ""
