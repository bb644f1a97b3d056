"""Is a log written now, and what was lost of it?

Counted by the thread that writes the log, and read by others.
"""

from dataclasses import dataclass

__all__ = ["Losses"]


@dataclass(slots=True)
class Losses:
    """Of one log, since the daemon was started.

    Attributes:
        trouble: why it is not written just now; empty if it is.
        dropped_bytes: what was thrown away.
        dropped_lines: how many lines ended in that.
    """

    trouble: str = ""
    dropped_bytes: int = 0
    dropped_lines: int = 0

    def count(self, data: bytes) -> None:
        """This was thrown away."""
        self.dropped_bytes += len(data)
        self.dropped_lines += data.count(b"\n")
