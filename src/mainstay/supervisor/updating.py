"""How is the code of a running daemon replaced by the code that is installed now?

In place: the process executes the other code, and so keeps its pid, its children and the sockets on which others
speak to it; whoever is PID 1 stays it. What was decided is on the disk, what runs is with the keeper: to the other
code it is as after a kill, which loses nothing. First a child finds out whether it would start at all.
"""

import json
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from mainstay.errors import MainstayError
from mainstay.supervisor.fingerprint import of_keeper
from mainstay.supervisor.handed import Handed
from mainstay.supervisor.keeping import Keeper
from mainstay.supervisor.plan import Asked
from mainstay.supervisor.planning import ask

__all__ = ["CHECK", "Update", "execute", "prepare", "report"]

CHECK: Final = "--check"
"""The word that has what was read tried, too; what is said then is the program that was found to be sound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """The code that is to go on.

    Attributes:
        plan: where the configuration is left that it has read.
        program: what is to be executed.
        handed: what it gets; known once all else has ended.
    """

    plan: int
    program: tuple[str, ...]
    handed: Handed | None = None


async def prepare(asked: Asked) -> Update:
    """Find out whether the installed code starts, reads the configuration, and understands what this one leaves.

    Raises:
        MainstayError: it does not.
    """
    try:
        plan, said = await ask(asked, CHECK)
    except MainstayError as error:
        raise type(error)(f"not updated, the supervisor goes on as it was: {error}") from error
    return Update(plan=plan, program=tuple(said.splitlines()))


def execute(update: Update) -> None:
    """Execute it. Raises MainstayError where that can not be done."""
    assert update.handed is not None, "nothing was handed over"
    os.set_inheritable(update.plan, True)  # noqa: FBT003
    update.handed.inherit(to_children=True)
    words = [*update.program, f"handed={update.handed}", str(update.plan)]
    try:
        os.execv(words[0], words)  # noqa: S606  no shell is wanted
    except OSError as error:
        update.handed.inherit(to_children=False)
        os.close(update.plan)
        raise MainstayError(f"not updated, the supervisor goes on: {words[0]}: {error.strerror}") from error


async def report(handed: Handed, failed: str, keeper: Keeper, code: bytes) -> dict[str, object]:
    """Have the keeper follow, and tell those who have asked for the update how it went.

    Args:
        handed: has the callers.
        failed: why the daemon has not been replaced; empty if it has.
        keeper: of the daemon that goes on now.
        code: its fingerprint.

    Returns:
        What there is to write down.
    """
    kept = ""
    try:
        if not failed and keeper.code != of_keeper().decode():
            await keeper.renew()
    except (MainstayError, OSError) as error:
        kept = str(error)
    done: dict[str, object] = {"pid": os.getpid(), "code": code.decode(), "keeper": keeper.pid}
    done |= {"keeper_code": keeper.code, "failed": failed or kept}
    answer = {"error": failed, "code": MainstayError.exit_code} if failed else {"ok": done}
    for fd in handed.callers:
        with suppress(OSError), socket.socket(fileno=fd) as caller:
            caller.sendall(json.dumps(answer).encode() + b"\n")
    return done
