"""What may be set about an app?"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from mainstay.settings import Secret, duration, setting, size
from mainstay.units import parse_duration, parse_size

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


def _whole(written: object, least: int, what: str) -> int:
    number = int(str(written))
    if isinstance(written, bool) or number < least:
        raise ValueError(f"{written!r} is no number of {what}: write a whole number, {least} or more")
    return number


def _instances(written: object) -> int:
    return _whole(written, 1, "instances")


def _restarts(written: object) -> int:
    return _whole(written, 0, "restarts")


def _intensity(written: object) -> int:
    number = _restarts(written)
    if number > _MOST_RESTARTS:
        raise ValueError(f"{written!r} restarts within a period are too many to remember: {_MOST_RESTARTS} at most")
    return number


def _command(written: object) -> tuple[str, ...]:
    try:
        words = shlex.split(written) if isinstance(written, str) else written
    except ValueError as error:
        raise ValueError(f"{written!r} can not be split into words: {error}") from None
    if not isinstance(words, Sequence) or not all(isinstance(word, str) for word in words) or not any(words[:1]):
        raise ValueError(f'{written!r} is not a command: write it like "mainstay serve" or ["mainstay", "serve"]')
    return tuple(words)


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


def _delay(written: object) -> float:
    """Unlike other durations it may be zero."""
    return parse_duration(written if isinstance(written, int | float) else str(written))


def _interval(written: object) -> float:
    seconds = _delay(written)
    if seconds < 1:
        raise ValueError(f'{written!r} is too short: write one second or more, like "1d"')
    return seconds


def _limit(written: object) -> int:
    return parse_size(written if isinstance(written, int) else str(written))


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSettings:
    """The sections ``[apps.NAME]``: what `mainstay start` keeps running; any program."""

    command: Sequence[str] = setting(
        help="What to run, as one text or as a list of words; no shell.", parse=_command
    )
    cwd: str = setting(
        "", help="Where it runs; relative to the directory of the configuration, which is the default."
    )
    env: Mapping[str, Secret | str] = setting({}, help="More environment variables, or others; values are secret.")
    instances: int = setting(1, help="How many of it run at once.", parse=_instances)
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
    restart_delay: float = setting(0.0, help="The least delay before a restart.", unit="s", parse=_delay)
    backoff_base: float = duration(
        "100ms",
        help="The second delay in a row, or twice `restart_delay` if that is longer; it then doubles.",
    )
    backoff_cap: float = duration("30s", help="The longest delay, unless `restart_delay` is longer.")
    stable_after: float = duration("60s", help="After so much uptime the delays begin anew.")
    stop_signal: str = setting("SIGTERM", help="What it is told to end with.", parse=_signal)
    stop_timeout: float = duration("10s", help="How long it may take to end; then it is killed.")
    ready: Literal["started", "notify"] = setting(
        "started",
        help="When it is ready: as soon as it has started, or when it says so (READY=1 to $NOTIFY_SOCKET).",
        choices=("started", "notify"),
    )
    ready_timeout: float = duration("30s", help="How long it may take to say that it is ready.")
    watchdog: float | None = setting(
        None,
        help="It is hung when it has said nothing (WATCHDOG=1) for so long; none: it is not asked to.",
        unit="s",
        parse=_delay,
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
        "", help="Where standard output is written; by default in the home's directory of logs."
    )
    error_file: str = setting("", help="Where standard error is written; the same as `out_file`: one log of both.")
