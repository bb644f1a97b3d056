"""Why can the keeper not do it, and what is to be done about it?"""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from mainstay.errors import MainstayError

__all__ = ["Refused", "why"]


class Refused(MainstayError):
    """The keeper could not do it.

    Attributes:
        step: what could not be done.
        errno: why.
    """

    def __init__(self, step: str, number: int) -> None:
        super().__init__(f"the keeper could not do it ({step}): {os.strerror(number)}")
        self.step = step
        self.errno = number


def why(refused: Refused, command: str, cwd: Path, outputs: Sequence[Path]) -> str:
    """What is wrong with the start of a process, and what to do about it."""
    said = os.strerror(refused.errno)
    if refused.step == "exec":
        return _why_not_run(refused.errno, command, cwd)
    if refused.step == "cwd":
        return f"its directory {cwd} can not be used ({said}): make it, or set another `cwd`"
    if refused.step == "user":
        return f"it can not become who it should be ({said}): see `user` and `group`"
    if refused.errno == errno.ENOSYS:
        return "the keeper is of an older version that can not do this: `mainstay update`"
    if refused.step in {"stdout", "stderr"}:
        return f"its {refused.step} can not be opened ({said}): see to {' or '.join(map(str, outputs))}"
    if refused.errno == errno.ESHUTDOWN:
        return "the keeper was told to end: start again"
    return f"there can be no further process ({said}): see to the limits of this system"


def _why_not_run(number: int, command: str, cwd: Path) -> str:
    match number:
        case errno.ENOENT if "/" in command and (cwd / command).exists():
            return f"what the first line of {command} names is not there: install it, or mend that line"
        case errno.ENOENT:
            return f"there is no command {command!r}: install it, or write its whole path"
        case errno.EACCES:
            return f"{command!r} may not be run: is it a file, and executable for this user?"
        case errno.ENOEXEC:
            return f"{command!r} is no program: a script has to begin with #! and its interpreter"
        case errno.E2BIG:
            return "its arguments and its environment are too long together: shorten them"
        case _:
            return f"{command!r} can not be run: {os.strerror(number)}"
