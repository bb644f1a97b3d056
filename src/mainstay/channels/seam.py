"""What does the service ask of a channel, and what does it give to one?

A channel is made by a factory, ``(name, settings, service) -> Channel``, whatever its kind: those of
`mainstay.channels.kinds` and one of your own, ``kind = "package.module:factory"``, are joined in the same way.

What comes in, the channel turns into a `mainstay.messages.Message` and hands to `Service.accept`; when that
returns, the message is stored, and only then may the platform be told that we have it. From then on it has exactly
one outcome, which comes through the `Replier` that the channel makes for each attempt at it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from mainstay.asgi import Mount
from mainstay.checks import Check
from mainstay.messages import Message, Replier

if TYPE_CHECKING:
    import httpx2

    from mainstay.bus import Bus
    from mainstay.clock import Clock
    from mainstay.guard import Guard
    from mainstay.inbox.model import Depth, Entry
    from mainstay.storage.sqlite import Storage

__all__ = ["Channel", "Hearing", "Reading", "Service"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What a channel may use.

    Attributes:
        storage: for the channel's own tables; outcomes are written in the transaction that `Replier.post` is given.
        bus: hears of what happens.
        clock: the time.
        http: for calls to the platform; every call needs a timeout of its own.
        guard: holds back calls while the platform fails: its permit is held around each call. `Sending` does that.
        accept: stores a message: True once it is stored, False if it is known already. Raises StorageUnavailable.
        cancel: ends the answer to the message of this turn, now or when its turn comes, because it was taken back.
            Raises StorageUnavailable.
        stop: ends the answers to these messages: who asked wants no more of them. Raises StorageUnavailable.
        find: what became of a message, by its turn_id; None if it was never accepted, or is forgotten. Raises
            StorageUnavailable.
        unanswered: what has no outcome yet in a chat (`Message.chat`), oldest first. Raises StorageUnavailable.
        depth: how many messages wait for their answers, those of other channels too. Raises StorageUnavailable.
        answered_before: whether this turn was answered, as far as that is not forgotten. Raises StorageUnavailable.
        suggest: what may be said next, after a message and its answer; empty if nothing is suggested.
        retry_window_s: how long after its failure a turn may be tried again, see `Message.again`.
    """

    storage: "Storage"
    bus: "Bus"
    clock: "Clock"
    http: "httpx2.AsyncClient"
    guard: "Guard"
    accept: Callable[[Message], Awaitable[bool]]
    cancel: Callable[[str], Awaitable[object]]
    stop: Callable[[Sequence[Message]], Awaitable[object]]
    find: Callable[[str], "Awaitable[Entry | None]"]
    unanswered: Callable[[str], Awaitable[Sequence[Message]]]
    depth: Callable[[], "Awaitable[Depth]"]
    answered_before: Callable[[str], Awaitable[bool]]
    suggest: Callable[[Message, str], Awaitable[Sequence[str]]]
    retry_window_s: float


class Channel(Protocol):
    """One way to talk to people: a bot on a platform, an HTTP API."""

    @property
    def mounts(self) -> Sequence[Mount]:
        """What it answers by HTTP, where, and to whom."""
        ...

    async def run(self) -> None:
        """Do what has to be done as long as the service runs, until cancelled.

        What it raises is reported, and it is run again after a while.
        """
        ...

    def replier(self, message: Message, turn_id: str, attempt: int) -> Replier:
        """Begin to show an attempt at a turn. Never waits and never raises."""
        ...

    def checks(self) -> Sequence[Check]:
        """What health asks; see `mainstay.checks`."""
        ...


@runtime_checkable
class Reading(Protocol):
    """What a channel may have as well: something to be read before a message is answered."""

    async def read(self, message: Message) -> Message:
        """The message as it is when its answer begins, with what it refers to. Never raises."""
        ...


@runtime_checkable
class Hearing(Protocol):
    """What a channel may have as well: a connection of its own, without which it hears nothing."""

    async def connected(self) -> None:
        """Return once it hears."""
        ...

    def leave(self) -> None:
        """Hear nothing any more; outcomes are shown as before."""
        ...
