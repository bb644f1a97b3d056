"""What can go wrong, and what is it called?

Two vocabularies. *Exceptions* are for code::

    MainstayError
    ├── ConfigError            what the user asked for cannot be done       (exit 2)
    ├── StorageError
    │   ├── StorageUnavailable full, read-only, locked or gone: try again
    │   └── SchemaMismatch     the database has another version             (exit 1, names the command)
    ├── LeaseLost              another worker has taken this message over
    ├── LeftAlone              the call was not made: its target has failed too often of late
    └── DeliveryError          the platform refused what we sent

*Categories* are for people and counters: whatever a call to a model, a platform or a database raised is one of
fifteen. The first matching row of the table in ``docs/reference/errors.md`` decides (`mainstay.recovery`).
"""

import difflib
from collections.abc import Iterable
from enum import StrEnum
from typing import ClassVar

__all__ = [
    "Category",
    "ConfigError",
    "DeliveryError",
    "LeaseLost",
    "LeftAlone",
    "MainstayError",
    "SchemaMismatch",
    "StorageError",
    "StorageUnavailable",
    "nearest",
    "only_told",
]


class MainstayError(Exception):
    """The root: one line for the reader, saying what is wrong, where, and what to do."""

    exit_code: ClassVar[int] = 1


class ConfigError(MainstayError):
    """The configuration is wrong. ``problems`` holds one line each."""

    exit_code: ClassVar[int] = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StorageError(MainstayError):
    """The database did not do what was asked."""


class StorageUnavailable(StorageError):
    """The disk is full or read-only, or the database is locked or gone. Nothing was stored."""


class SchemaMismatch(StorageError):
    """The database has another schema version than this program; the message names the command to run."""


class LeaseLost(MainstayError):
    """This worker's claim on a message has run out and was taken over: its result must not be stored."""


class LeftAlone(MainstayError):
    """The call was not made: its target has failed too often, or asked to be left alone.

    Attributes:
        wait_s: seconds until a call may be tried; 0 while one is trying.
    """

    def __init__(self, message: str, *, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class DeliveryError(MainstayError):
    """The platform refused a message.

    Attributes:
        retryable: whether the same request may succeed later (a rate limit, a 5xx, a broken connection).
    """

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


class Category(StrEnum):
    """Why a call failed: the words used in `/health`, events, metrics and messages to the user."""

    RATE_LIMIT = "rate_limit"
    QUOTA_EXHAUSTED = "quota_exhausted"
    TIMEOUT = "timeout"
    OVERLOADED = "overloaded"
    CONNECTION = "connection"
    SERVER_ERROR = "server_error"
    AUTH = "auth"
    PERMISSION = "permission"
    INVALID_REQUEST = "invalid_request"
    CONTEXT_LENGTH = "context_length"
    CONTENT_FILTER = "content_filter"
    CANCELLED = "cancelled"
    MALFORMED = "malformed"
    DATABASE = "database"
    INTERNAL = "internal"


def nearest(wrong: str, known: Iterable[str]) -> str:
    """The end of a message about a wrong name: ``"; did you mean X?"``.

    What is known if nothing is near; empty if nothing is known.
    """
    names = sorted(known)
    begun = [name for name in names if len(wrong) > 1 and name.startswith(wrong)]
    close = begun or difflib.get_close_matches(wrong, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known: {', '.join(names)}" if names else ""


def only_told(group: BaseExceptionGroup[BaseException]) -> MainstayError | None:
    """The line for the reader, out of the groups that tasks wrap it in; None if anything else went wrong too."""
    _, rest = group.split(MainstayError)
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if rest is None and isinstance(error, MainstayError) else None
