"""What is asked of an app to learn how it is, and what is the answer?

The fields of a probe and their meaning are those of Kubernetes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from mainstay.settings import address_flaw, duration, setting
from mainstay.supervisor.written import delay, whole, words
from mainstay.units import parse_duration

__all__ = ["UNIX", "HealthSettings", "Kind", "ProbeSettings", "Result"]

UNIX: Final = "unix:"
"""Before the path of a Unix socket."""
_SHORTEST_S: Final = 0.1
_TCP: Final = re.compile(r"(\[[0-9A-Za-z:.%]+\]|[^\s:/\[\]]+):(\d{1,5})")


class Kind(StrEnum):
    """What a probe is for."""

    STARTUP = "startup"
    """Whether it has started; until then nothing else is asked, and if it never has it is started again."""
    LIVENESS = "liveness"
    """Whether it is to be started again."""
    READINESS = "readiness"
    """Whether it can be used now."""
    HEALTH = "health"
    """How it fares with what it depends on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of asking once.

    Attributes:
        passed: None if it says nothing either way.
        detail: in words for people.
    """

    passed: bool | None
    detail: str


def _http(written: object) -> str:
    url = str(written)
    example = "http://127.0.0.1:3000/livez"
    flaw = address_flaw(url, example, "a path that needs none")
    if not flaw and not (url.isascii() and url.isprintable()):
        flaw = f'is not an address; write it like "{example}"'
    if not flaw and url.partition("://")[2].startswith(f"{UNIX}") and not re.match(r"[^:]+://unix:/[^:]+", url):
        flaw = 'has no path of a socket; write it like "http://unix:/run/app.sock:/livez"'
    if url and flaw:
        raise ValueError(f"{url!r} {flaw}")
    return url


def _tcp(written: object) -> str:
    address = str(written)
    found = _TCP.fullmatch(address)
    usable = address.startswith(f"{UNIX}/") or (found is not None and 0 < int(found[2]) <= 65535)
    if address and not usable:
        raise ValueError(f'{address!r} is not an address: write it like "127.0.0.1:6379" or "unix:/run/app.sock"')
    return address


def _period(written: object) -> float:
    seconds = parse_duration(written if isinstance(written, int | float) else str(written))
    if seconds < _SHORTEST_S:
        raise ValueError(f'{written!r} is too short: write 100ms or more, like "10s"')
    return seconds


def _times(written: object) -> int:
    return whole(written, 1, "times in a row")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSettings:
    """``[apps.NAME.PROBE]``: one of `http`, `tcp` and `command`, asked as Kubernetes does."""

    http: str = setting(
        "", help="A GET of this address has to be answered with a status from 200 to 399.", parse=_http
    )
    tcp: str = setting("", help="A connection to this address has to be accepted: HOST:PORT.", parse=_tcp)
    command: Sequence[str] = setting(
        (),
        help="This command has to end with exit code 0; it runs where the app does, with its environment.",
        parse=words,
    )
    initial_delay: float = setting(
        0.0, help="How long after its start it is asked for the first time.", unit="s", parse=delay
    )
    period: float = setting(10.0, help="How often it is asked.", unit="s", parse=_period)
    timeout: float = duration("1s", help="An answer that takes longer is a failure.")
    success_threshold: int = setting(
        1, help="After so many successes in a row it passes; 1 for liveness and startup.", parse=_times
    )
    failure_threshold: int = setting(3, help="After so many failures in a row it fails.", parse=_times)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """``[apps.NAME.health]``: how it fares with what it depends on. Never a reason for a restart."""

    success_threshold: ClassVar[int] = 1
    failure_threshold: ClassVar[int] = 1

    http: str = setting(
        "",
        help="Asked like `/health` of `mainstay serve`: 503, and a `status` that is degraded or unhealthy, is a "
        "trouble that no restart would help, so that the next delay is longer. No answer says nothing.",
        parse=_http,
    )
    initial_delay: float = setting(
        0.0, help="How long after its start it is asked for the first time.", unit="s", parse=delay
    )
    period: float = setting(10.0, help="How often it is asked.", unit="s", parse=_period)
    timeout: float = duration("1s", help="An answer that takes longer says nothing.")
