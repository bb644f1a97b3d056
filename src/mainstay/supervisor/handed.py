"""What does a daemon hand to the code that takes its place in the same process?

What others hold the other end of: the sockets on which it is spoken to, so that nobody is refused and nothing said
is lost, the callers who wait for the answer, and the lock of the home. All else the next one finds as after a kill.
"""

import os
from dataclasses import dataclass
from typing import Self

__all__ = ["Handed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """File descriptors.

    Attributes:
        lock: of the home.
        control, notify: the two sockets.
        callers: who is to be told how the replacement went.
    """

    lock: int
    control: int
    notify: int
    callers: tuple[int, ...] = ()

    def __str__(self) -> str:
        return ",".join(map(str, self._all()))

    @classmethod
    def parse(cls, written: str) -> Self:
        """From the way that it is written as a word of a command line."""
        lock, control, notify, *callers = map(int, written.split(","))
        handed = cls(lock=lock, control=control, notify=notify, callers=tuple(callers))
        handed.inherit(to_children=False)
        return handed

    def inherit(self, *, to_children: bool) -> None:
        """Whether who is executed has them, too."""
        for fd in self._all():
            os.set_inheritable(fd, to_children)

    def _all(self) -> tuple[int, ...]:
        return self.lock, self.control, self.notify, *self.callers
