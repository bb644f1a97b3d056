"""How does a command ask the daemon?"""

import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from mainstay.errors import ConfigError, MainstayError
from mainstay.supervisor.address import SOCKET, VERSION, reachable
from mainstay.supervisor.wire import peer

__all__ = ["Daemon", "NoDaemon"]


class NoDaemon(MainstayError):
    """Nobody supervises this project."""

    exit_code: ClassVar[int] = 3


_TRIES: Final = 3
_KINDS: Final[Mapping[int, type[MainstayError]]] = {
    each.exit_code: each for each in (MainstayError, ConfigError, NoDaemon)
}


class Daemon:
    """One conversation with the daemon of a home.

    Raises:
        NoDaemon: when none runs there.
        MainstayError: it is another user's.
    """

    def __init__(self, home: Path, *, timeout_s: float = 10.0) -> None:
        self._home = home
        self._timeout_s = timeout_s
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(self._timeout_s)
        try:
            self._socket.connect(reachable(self._home / SOCKET))
        except (FileNotFoundError, ConnectionRefusedError):
            self._socket.close()
            raise NoDaemon(f"no supervisor runs for {self._home}: `mainstay start` starts one") from None
        except PermissionError:
            self._socket.close()
            raise MainstayError(
                f"{self._home / SOCKET} is another user's: ask its supervisor as that user"
            ) from None
        _trusted(self._socket, self._home)
        self._file = self._socket.makefile("rwb")

    def ask(self, do: str, *, timeout_s: float | None = None, **details: object) -> Any:  # noqa: ANN401  JSON
        """Ask once, and wait for the answer.

        Args:
            do: what is to be done.
            timeout_s: how long that may take; the conversation's own patience if absent.
            details: what goes with it.

        Raises:
            MainstayError: what the daemon says is wrong, or that it does not answer.
        """
        answer: Mapping[str, Any] = {}
        for _ in range(_TRIES):
            answer = self._answer(do, self._timeout_s if timeout_s is None else timeout_s, details)
            if not answer.get("again"):
                break
            self.close()
            self._connect()
        if "error" in answer:
            raise _KINDS.get(answer.get("code", 1), MainstayError)(str(answer["error"]))
        if "ok" not in answer:
            raise MainstayError("the supervisor ended while it was asked")
        return answer["ok"]

    def _answer(self, do: str, timeout_s: float, details: Mapping[str, object]) -> dict[str, Any]:
        self._socket.settimeout(timeout_s)
        try:
            with suppress(ConnectionError):  # it has hung up, and said why
                self._file.write(json.dumps({"v": VERSION, "do": do, **details}).encode() + b"\n")
                self._file.flush()
            answer: dict[str, Any] = json.loads(self._file.readline() or b"{}")
        except TimeoutError:
            pid, _ = peer(self._socket)
            hangs = f"if it hangs, `kill -9 {pid}` and `mainstay start`: the apps go on"
            raise MainstayError(f"the supervisor does not answer to {do!r}: {hangs}") from None
        except (OSError, ValueError) as error:
            raise MainstayError(f"the supervisor went away while it was asked: {error}") from None
        return answer

    def close(self) -> None:
        """Hang up."""
        with suppress(OSError):  # what was not taken any more
            self._file.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _trusted(connected: socket.socket, home: Path) -> None:
    """Whoever may write in the home may have put a socket there."""
    pid, user = peer(connected)
    if user not in (os.geteuid(), home.stat().st_uid, 0):
        connected.close()
        raise MainstayError(f"{home / SOCKET} is a socket of another user (process {pid}): remove it")
