"""What may be set about an app?"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final, Literal

from mainstay.settings import Secret, duration, setting, size, variables
from mainstay.supervisor.probes.model import HealthSettings, ProbeSettings
from mainstay.supervisor.written import delay, whole, words
from mainstay.units import parse_size

__all__ = ["AppSettings"]

_TO_END_WITH: Final = (
    "SIGTERM",
    "SIGINT",
    "SIGHUP",
    "SIGQUIT",
    "SIGUSR1",
    "SIGUSR2",
    "SIGWINCH",
    "SIGABRT",
    "SIGALRM",
)

_MOST_RESTARTS: Final = 1000


def _instances(written: object) -> int:
    return whole(written, 1, "instances")


def _restarts(written: object) -> int:
    return whole(written, 0, "restarts")


def _intensity(written: object) -> int:
    number = _restarts(written)
    if number > _MOST_RESTARTS:
        raise ValueError(f"{written!r} restarts within a period are too many to remember: {_MOST_RESTARTS} at most")
    return number


def _addresses(written: object) -> tuple[str, ...]:
    addresses = (written,) if isinstance(written, str) else written
    if not isinstance(addresses, Sequence) or not all(_is_address(each) for each in addresses):
        raise ValueError(f'{written!r} are not addresses: write them like ["127.0.0.1:8000", "unix:run/web.sock"]')
    if len(set(addresses)) < len(addresses):
        raise ValueError(f"{written!r} names an address twice")
    return tuple(addresses)


def _is_address(written: object) -> bool:
    if not isinstance(written, str) or not written.isprintable():
        return False
    if written.startswith("unix:"):
        return len(written) > len("unix:")
    host, _, port = written.rpartition(":")
    return bool(host) and port.isdecimal() and int(port) < 1 << 16


def _codes(written: object) -> tuple[int, ...]:
    codes = tuple(written) if isinstance(written, Sequence) and not isinstance(written, str) else ()
    if not all(isinstance(code, int) and not isinstance(code, bool) and 0 <= code <= 255 for code in codes):
        raise ValueError(f"{written!r} are not exit codes: write them like [0, 3]")
    return codes


def _signal(written: object) -> str:
    name = str(written).upper()
    name = name if name.startswith("SIG") else f"SIG{name}"
    if name not in _TO_END_WITH:
        raise ValueError(f"{written!r} is not a signal to end with: write one of {', '.join(_TO_END_WITH)}")
    return name


def _account(written: object) -> str:
    name = str(written)
    if isinstance(written, bool) or not name or name.startswith("-") or not name.isprintable() or " " in name:
        raise ValueError(f"{written!r} is not a user or a group: write a name, or its number")
    return name


def _umask(written: object) -> str:
    if not isinstance(written, str) or not re.fullmatch("0*[0-7]{1,3}", written):
        raise ValueError(f'{written!r} is not a umask: write it like "022"')
    return written


def _log(written: object) -> str:
    path = str(written)
    if path and (not PurePath(path).name or not path.isprintable()):
        raise ValueError(f'{path!r} is not the name of a file: write it like "logs/web.log"')
    return path


def _interval(written: object) -> float:
    seconds = delay(written)
    if seconds < 1:
        raise ValueError(f'{written!r} is too short: write one second or more, like "1d"')
    return seconds


def _cron(written: object) -> str:
    from mainstay.supervisor.schedule import check

    return check(str(written)) if written else ""


def _limit(written: object) -> int:
    return parse_size(written if isinstance(written, int) else str(written))


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSettings:
    """The sections ``[apps.NAME]``: what `mainstay start` keeps running; any program."""

    command: Sequence[str] = setting(help="What to run, as one text or as a list of words; no shell.", parse=words)
    cwd: str = setting(
        "", help="Where it runs; relative to the directory of the configuration, which is the default."
    )
    env: Mapping[str, Secret | str] = setting(
        {}, help="More environment variables, or others; values are secret.", parse=variables
    )
    listen: tuple[str, ...] = setting(
        (),
        help="Where it is reached: addresses like 127.0.0.1:8000 or unix:run/web.sock. They are opened for it, "
        "stay open while it is started again or reloaded, and are handed over as file descriptors from 3 on "
        "(LISTEN_FDS). For `mainstay serve` it is the service's own address by default.",
        parse=_addresses,
    )
    user: str = setting(
        "", help="As whom it runs, by name or number; only where the supervisor is root's.", parse=_account
    )
    group: str = setting("", help="Its group, by name or number; by default that of `user`.", parse=_account)
    umask: str = setting("022", help="What nobody else may do with the files that it makes.", parse=_umask)
    instances: int = setting(1, help="How many of it run at once.", parse=_instances)
    instance_var: str = setting(
        "NODE_APP_INSTANCE", help="The environment variable that has the number of the instance, from 0."
    )
    increment_var: str = setting(
        "", help="The variable of `env` that is a number, and larger by one for each instance, like a port."
    )
    autostart: bool = setting(True, help="Whether `mainstay start` without a name starts it.")  # noqa: FBT003
    autorestart: bool = setting(True, help="Whether it is started again when it has ended by itself.")  # noqa: FBT003
    stop_exit_codes: tuple[int, ...] = setting(
        (), help="Exit codes after which it is not started again, whatever `autorestart` says.", parse=_codes
    )
    max_restarts: int = setting(
        16,
        help="So many restarts in a row after less uptime than `min_uptime` are made; then it is given up.",
        parse=_restarts,
    )
    min_uptime: float = duration("1s", help="With less uptime than this a restart counts for `max_restarts`.")
    restart_intensity: int = setting(
        20,
        help="So many restarts within `restart_period` are made, whatever the uptime; instead of one more it is "
        "given up. Those that a user or `cron` asks for do not count.",
        parse=_intensity,
    )
    restart_period: float = duration("1h", help="For how long a restart counts for `restart_intensity`.")
    restart_delay: float = setting(0.0, help="The least delay before a restart.", unit="s", parse=delay)
    backoff_base: float = duration(
        "100ms",
        help="The second delay in a row, or twice `restart_delay` if that is longer; it then doubles.",
    )
    backoff_cap: float = duration("30s", help="The longest delay, unless `restart_delay` is longer.")
    stable_after: float = duration("60s", help="After so much uptime the delays begin anew.")
    stop_signal: str = setting("SIGTERM", help="What it is told to end with.", parse=_signal)
    stop_timeout: float = duration("10s", help="How long it may take to end; then it is killed.")
    ready: Literal["started", "notify", "message", "probe"] = setting(
        "started",
        help="When it is ready: as soon as it has started; when it says so (notify: READY=1 to $NOTIFY_SOCKET; "
        "message: process.send('ready') of Node, as for PM2's wait_ready); or when its startup and readiness "
        "probes have passed, which is the default where it has one.",
        choices=("started", "notify", "message", "probe"),
    )
    ready_timeout: float = duration(
        "30s", help="How long it may take to be ready; by default a startup probe's failures come on top."
    )
    watchdog: float | None = setting(
        None,
        help="It is hung when it has said nothing (WATCHDOG=1) for so long; none: it is not asked to.",
        unit="s",
        parse=delay,
    )
    memory_limit: int | None = setting(
        None,
        help="With more memory than this, all its processes together, it is restarted; none by default.",
        unit="bytes",
        parse=_limit,
    )
    log_max_size: int = size("10MB", help="A log file that is larger is put aside, and a new one begun.")
    log_keep: int = setting(5, help="How many files that were put aside are kept of each log.", parse=_restarts)
    log_timestamps: bool = setting(False, help="Whether each line begins with the time of its arrival.")  # noqa: FBT003
    log_rotate_every: float | None = setting(
        None,
        help="A log file is put aside at every full multiple of this, too (UTC; 1d: at midnight); none by default.",
        unit="s",
        parse=_interval,
    )
    log_compress: bool = setting(True, help="Whether what was put aside is compressed; not the newest.")  # noqa: FBT003
    log_combined: bool = setting(
        False,  # noqa: FBT003
        help="Whether standard output and standard error go to one log, in the order in which they were written.",
    )
    out_file: str = setting(
        "", help="Where standard output is written; by default in the home's directory of logs.", parse=_log
    )
    error_file: str = setting(
        "", help="Where standard error is written; the same as `out_file`: one log of both.", parse=_log
    )
    cron_restart: str = setting(
        "",
        help='When it is restarted whatever it does, as cron writes it, in local time: "0 3 * * *" is every night.',
        parse=_cron,
    )
    startup: ProbeSettings | None = setting(None, help="Whether it has started; until then nothing else is asked.")  # noqa: RUF009
    liveness: ProbeSettings | None = setting(None, help="Whether it is to be started again.")  # noqa: RUF009
    readiness: ProbeSettings | None = setting(None, help="Whether it can be used; if not it is `unhealthy`.")  # noqa: RUF009
    health: HealthSettings | None = setting(None, help="How it fares with what it depends on.")  # noqa: RUF009
