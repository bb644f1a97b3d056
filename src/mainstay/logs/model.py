"""What may be set about log lines?"""

from dataclasses import dataclass
from typing import Final

from mainstay.settings import setting

__all__ = ["LEVELS", "LogSettings"]

LEVELS: Final = ("debug", "info", "warning", "error")

_ALSO_KNOWN_AS: Final = {"warn": "warning", "critical": "error", "fatal": "error", "trace": "debug"}


def _level(written: object) -> str:
    level = str(written).strip().lower()
    return _ALSO_KNOWN_AS.get(level, level)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """The section ``[logs]``."""

    level: str = setting(
        "info",
        help="From which level on lines are written.",
        parse=_level,
        choices=LEVELS,
        env=("LOG_LEVEL",),
    )
    format: str = setting(
        "auto",
        help="text is for people, json for collectors; auto is text on a terminal and json elsewhere.",
        choices=("auto", "text", "json"),
    )
