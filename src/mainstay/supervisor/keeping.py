"""How does the daemon have processes, and keep them over its own death?

It asks the keeper (`mainstay.supervisor.keeper`), which is started when there is none, and outlives it. Where the
keeper itself was killed, its children live on; they are watched from here, and a new keeper is started for what
comes next.
"""

import asyncio
import errno
import os
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from socket import socket
from typing import Final, Self

from mainstay.errors import MainstayError
from mainstay.supervisor import boot
from mainstay.supervisor.endings import Endings, Kept
from mainstay.supervisor.identity import Identity
from mainstay.supervisor.launch import CHANNEL, FIRST_FD
from mainstay.supervisor.model import Child, Ended
from mainstay.supervisor.refusal import Refused, why
from mainstay.supervisor.starting import check, reach
from mainstay.supervisor.wire import VERSION, Wire, peer
from mainstay.units import format_duration

__all__ = ["Keeper"]

_CONNECT_S: Final = 10.0
_ANSWER_S: Final = 10.0
_AGAIN_S: Final = 1.0
_TRIES: Final = 3


class Gone(MainstayError):
    """The connection to the keeper is over."""


class Keeper:
    """The daemon's hold on its keeper; made by `connect`, closed by `close`.

    Attributes:
        pid: of the keeper.
        code: the fingerprint of what it runs; empty for one that is too old to say so.
    """

    def __init__(self, home: Path) -> None:
        self.pid = 0
        self.code = ""
        self._home = home
        self._loop = asyncio.get_running_loop()
        self._wire: Wire | None = None
        self._joined = asyncio.Event()
        self._number = 0
        self._asked: dict[bytes, tuple[bytes, asyncio.Future[tuple[bytes, ...]]]] = {}
        self._late: set[bytes] = set()  # questions to which nobody waits for the answer any more
        self._endings = Endings(self.acknowledge)
        self._acknowledged: list[Child] = []
        self._fifos: set[Path] = set()
        self._stopping = False
        self._replaced = False
        self._coming_back: asyncio.Future[bool] = self._loop.create_future()

    @classmethod
    async def connect(cls, home: Path, *, timeout_s: float = _CONNECT_S) -> Self:
        """Take over the keeper of this home; start one if there is none. Another daemon that had it is told to go.

        Raises:
            MainstayError: it can not be reached or started.
        """
        keeper = cls(home)
        await keeper._join(timeout_s)
        return keeper

    async def stay(self) -> None:
        """Connect again, to a new keeper if need be, whenever the keeper is gone; to be run beside everything else.

        Returns when another daemon has taken over, and after `stop` and `close`.
        """
        while await asyncio.shield(self._coming_back) and not self._stopping:
            try:
                await self._join(_CONNECT_S)
            except MainstayError:
                await asyncio.sleep(_AGAIN_S)

    @property
    def connected(self) -> bool:
        """Whether there is a keeper now."""
        return self._wire is not None

    @property
    def children(self) -> tuple[Kept, ...]:
        """All that run, and those whose ends were not acknowledged; also what earlier daemons have started."""
        return tuple(self._endings.kept.values())

    def ends(self) -> AsyncIterator[tuple[Child, Ended]]:
        """How children end, one after the other and without end; each was returned by `spawn` before.

        What was not acknowledged is told again after the next connect.
        """
        return self._endings.told()

    def acknowledge(self, child: Child) -> None:
        """Its end is written down: the keeper may forget it."""
        self._endings.kept.pop(child, None)
        if not self._send(b"acknowledge", b"0", b"%d" % child.pid, child.mark.encode()):
            self._acknowledged.append(child)  # the keeper that comes back may be the same one, see `renew`

    async def spawn(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        stdout: Path | None = None,
        stderr: Path | None = None,
        umask: int = 0o022,
        listen: Sequence[int] = (),
        identity: Identity | None = None,
        channel: int | None = None,
    ) -> Child:
        """Start a process. Where this is given up half way, it may be among `children` all the same.

        Args:
            name: to find it by among `children`.
            argv: its command; looked for in the PATH of ``env``.
            env: all of its environment.
            cwd: where it runs.
            stdout: absolute path of the FIFO of its output, made if it is not there; nowhere if None.
            stderr: the same for its error output.
            umask: its file mode creation mask.
            listen: sockets that it gets from file descriptor 3 on, with LISTEN_FDS and LISTEN_PID.
            identity: as whom; as the keeper if None.
            channel: a socket that it gets as Node's channel of messages.

        Raises:
            MainstayError: it can not be started, or the keeper is gone and does not come back.
        """
        env = {key: value for key, value in env.items() if not key.startswith("NODE_CHANNEL_")}
        if channel is not None:
            env |= {CHANNEL.decode(): str(FIRST_FD + len(listen)), "NODE_CHANNEL_SERIALIZATION_MODE": "json"}
            listen = (*listen, channel)
        outputs = [path for path in (stdout, stderr) if path is not None]
        fields = [
            *(name.encode(), os.fsencode(cwd), *(os.fsencode(path or "") for path in (stdout, stderr))),
            *(b"%o" % umask, b"%d" % len(listen), b"%d" % len(argv), *map(os.fsencode, argv)),
            *(os.fsencode(key) + b"=" + os.fsencode(value) for key, value in env.items()),
        ]
        verb = b"spawn"
        if identity is not None:
            verb = b"spawn as"  # a keeper that is too old for it must not start it as somebody else
            fields.insert(
                0, b"%d,%d,%s" % (identity.uid, identity.gid, b",".join(b"%d" % g for g in identity.groups))
            )
        try:
            answer = await self._ask(verb, *fields, fds=listen)
        except Refused as refused:
            said = why(refused, argv[0], cwd, outputs)
            raise MainstayError(f"{name} can not be started: {said}") from refused
        self._fifos.update(outputs)
        return Kept.parse(answer).child

    async def adopt(self, name: str, child: Child, fifos: Iterable[Path] = ()) -> None:
        """Watch a child of a keeper that was killed. How it ended may stay unknown; does nothing if it is known.

        Args:
            name: what it was started as.
            child: which it is; it may have ended.
            fifos: what its output goes to, to be held from now on.
        """
        if child not in self._endings.kept:
            self._endings.watch(Kept(name=name, child=child))
            self._fifos.update(fifos)
            await self._ask(b"open", *map(os.fsencode, self._fifos))

    async def release(self, *fifos: Path) -> None:
        """These FIFOs need not be held any longer: their app was deleted."""
        self._fifos.difference_update(fifos)
        await self._ask(b"release", *map(os.fsencode, fifos))

    async def hold(self, name: str, fds: Sequence[int]) -> None:
        """Have the keeper hold these open, in place of what it had under that name; they stay open here, too."""
        await self._ask(b"hold", name.encode(), b"%d" % len(fds), fds=fds)

    async def give(self, name: str) -> list[int]:
        """What it holds under that name, as new file descriptors; it holds them on."""
        count, *given = await self._ask(b"give", name.encode())
        fds = [int(fd) for fd in given]
        if len(fds) < int(count):
            for fd in fds:
                os.close(fd)
            raise Refused("give", errno.EMFILE)
        return fds

    async def drop(self, name: str) -> None:
        """Have it close what it holds under that name."""
        await self.hold(name, ())

    async def held(self) -> tuple[str, ...]:
        """The names under which it holds something."""
        return tuple(name.decode() for name in await self._ask(b"held"))

    async def renew(self, program: str = boot.__file__) -> None:
        """Have the keeper run the code that is installed now, in the same process; whatever it has, it keeps.

        Args:
            program: `mainstay.supervisor.boot` of that code.

        Raises:
            MainstayError: it goes on as it was, and why.
        """
        self._joined.clear()  # who asks meanwhile waits
        pid, wire = self.pid, self._wire
        try:
            while others := [answer for _, answer in self._asked.values() if not answer.done()]:
                await asyncio.wait(others)
            [table] = await self._exchange(b"table")
            code = await check(program, int(table))
            with suppress(Gone):  # that is what becomes of the connection
                await self._exchange(b"renew", os.fsencode(sys.executable), os.fsencode(program))
        except Refused as refused:
            raise MainstayError(f"the keeper goes on as it was: {os.strerror(refused.errno)}") from refused
        finally:
            if wire is not None and self._wire is wire:
                self._joined.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CONNECT_S):
                await self._joined.wait()
        if self.pid != pid or self.code != code:
            raise MainstayError("the keeper did not outlive it; what it has started goes on, with another keeper")

    async def stop(self, timeout_s: float) -> None:
        """End the keeper, which waits until it has no child any more, not even an orphan that it has taken in.

        Raises:
            MainstayError: it has children left.
        """
        await self._ask(b"stop")
        self._stopping = True
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(self._coming_back)
        except TimeoutError:
            left = ", ".join(f"{kept.name} ({kept.child.pid})" for kept in self.children if kept.ended is None)
            raise MainstayError(f"the keeper can not end, it has children left: {left or 'orphans'}") from None

    def close(self) -> None:
        """Leave the keeper and all children alone."""
        self._stopping = True
        self._leave()
        self._endings.close()

    async def _join(self, within_s: float) -> None:
        for _ in range(_TRIES):
            with suppress(Gone):  # it was about to end, because nobody needed it
                await self._take_over(await reach(self._home, within_s))
                return
        raise self._gone()

    async def _take_over(self, dialled: socket) -> None:
        if self._stopping:  # meanwhile
            dialled.close()
            raise self._gone()
        self.pid, _ = peer(dialled)
        self._coming_back = self._loop.create_future()
        self._wire = wire = Wire(dialled)
        self._endings.has_keeper = True
        self._loop.add_reader(dialled, self._receive, wire)
        try:
            _, *code = await self._exchange(b"hello", b"%d" % VERSION)
            self.code = code[0].decode() if code else ""
            listed = await self._exchange(b"list")
            self._endings.compare([Kept.parse(listed[at : at + 4]) for at in range(0, len(listed) - 3, 4)])
            acknowledged, self._acknowledged = self._acknowledged, []
            for child in acknowledged:
                self.acknowledge(child)
            with suppress(Refused):  # what can not be held any more is no reason to be without a keeper
                await self._exchange(b"open", *map(os.fsencode, self._fifos))
            self._joined.set()
        except BaseException:
            self._leave()
            raise

    def _leave(self) -> None:
        """The connection is over. What runs is watched from here until there is a keeper who has it."""
        wire, self._wire = self._wire, None
        self._joined.clear()
        self._endings.has_keeper = False
        if wire is None:
            return
        self._loop.remove_reader(wire.sock)
        self._loop.remove_writer(wire.sock)
        wire.close()
        for _, answer in self._asked.values():
            if not answer.done():
                answer.set_exception(self._gone())
        self._asked.clear()
        self._late.clear()
        if not self._stopping:
            self._endings.watch_all()
        if not self._coming_back.done():
            self._coming_back.set_result(not self._stopping)

    def _gone(self) -> MainstayError:
        if self._replaced:
            return MainstayError(f"another daemon has taken over {self._home}: there can be one only")
        return Gone(f"the keeper of {self._home} is gone: try again in a moment")

    def _receive(self, wire: Wire) -> None:
        try:
            for verb, asked, *fields in wire.receive():
                self._received(wire, verb, asked, tuple(fields))
        except (EOFError, ValueError):
            self._leave()

    def _received(self, wire: Wire, verb: bytes, asked: bytes, fields: tuple[bytes, ...]) -> None:
        if verb == b"replaced":
            self._stopping = self._replaced = True
            return
        if verb == b"ended":
            self._endings.has_ended(Kept.parse(fields))
            return
        question, answer = self._asked.pop(asked)
        if verb == b"no":
            if not answer.done():
                answer.set_exception(Refused(fields[0].decode(), int(fields[1])))
            return
        if question in {b"give", b"table"}:
            given = wire.take(int(fields[0]))
            fields = (*(fields[:1] if question == b"give" else ()), *(b"%d" % fd for fd in given))
            if answer.done():
                for fd in given:
                    os.close(fd)
        if question in {b"spawn", b"spawn as"}:
            self._endings.has_started(Kept.parse(fields), is_wanted=asked not in self._late)
        self._late.discard(asked)
        if not answer.done():
            answer.set_result(fields)

    async def _ask(self, verb: bytes, *fields: bytes, fds: Sequence[int] = ()) -> tuple[bytes, ...]:
        """Ask the keeper that there is, or that is there in a moment."""
        if not self._stopping:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CONNECT_S):
                    await self._joined.wait()
        return await self._exchange(verb, *fields, fds=fds)

    async def _exchange(self, verb: bytes, *fields: bytes, fds: Sequence[int] = ()) -> tuple[bytes, ...]:
        self._number += 1
        asked = b"%d" % self._number
        answer: asyncio.Future[tuple[bytes, ...]] = self._loop.create_future()
        if not self._send(verb, asked, *fields, fds=fds):
            raise self._gone()
        self._asked[asked] = verb, answer
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await answer
        except TimeoutError:
            self._late.add(asked)
            raise MainstayError(
                f"the keeper (process {self.pid}) has not answered within {format_duration(_ANSWER_S)}: "
                f"if it hangs, kill it; what it has started goes on"
            ) from None

    def _send(self, *message: bytes, fds: Sequence[int] = ()) -> bool:
        wire = self._wire
        if wire is None:
            return False
        try:
            wire.send(*message, fds=fds)
        except EOFError:
            self._leave()
            return False
        except ValueError as error:
            raise MainstayError(f"the keeper can not be told so: {error}") from None
        if wire.behind:
            self._loop.add_writer(wire.sock, self._flush, wire)
        return True

    def _flush(self, wire: Wire) -> None:
        try:
            wire.flush()
        except EOFError:
            self._leave()
            return
        if not wire.behind:
            self._loop.remove_writer(wire.sock)
