"""What do the daemon and the logs say now? Asked in a thread, because both may take their time."""

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mainstay.cli.monit.model import Order
from mainstay.cli.terminal import safe
from mainstay.supervisor.client import Daemon
from mainstay.supervisor.output.lines import as_text
from mainstay.supervisor.output.model import Line, Source, Stream
from mainstay.supervisor.output.reader import Reader

__all__ = ["LogTail", "Talk"]

_PATIENCE_S: Final = 2.0
_KEPT: Final = 200
_POLLS: Final = 8


class Talk:
    """One conversation with the daemon of a home, begun again when it has broken off."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._daemon: Daemon | None = None

    def instances(self) -> Sequence[Mapping[str, Any]]:
        """As `mainstay list --json` has them. Raises MainstayError."""
        if self._daemon is None:
            self._daemon = Daemon(self._home, timeout_s=_PATIENCE_S)
        answered = False
        try:
            answer: Sequence[Mapping[str, Any]] = self._daemon.ask("list", names=[])
            answered = True
        finally:
            if not answered:
                self.close()
        return answer

    def order(self, order: Order) -> None:
        """Ask for it, and do not wait until it is done. Raises MainstayError."""
        with Daemon(self._home, timeout_s=_PATIENCE_S) as daemon:
            daemon.ask(order.do, names=[order.name], wait=False)

    def close(self) -> None:
        """Hang up."""
        if self._daemon is not None:
            self._daemon.close()
            self._daemon = None


class LogTail:
    """The last lines of one instance at a time."""

    def __init__(self) -> None:
        self._sources: tuple[Source, ...] = ()
        self._reader: Reader | None = None
        self._lines: deque[str] = deque(maxlen=_KEPT)

    def lines(self, instance: Mapping[str, Any] | None) -> Sequence[str]:
        """What it has said up to now, as it may be shown. Raises OSError."""
        sources = _sources(instance) if instance is not None else ()
        if sources != self._sources or self._reader is None:
            self._begin(sources)
        assert self._reader is not None
        for _ in range(_POLLS):
            self._lines.extend(map(_shown, self._reader.poll()))
            if not self._reader.behind:
                break
        else:
            self._begin(sources)  # it is faster than anybody reads
        return tuple(self._lines)

    def close(self) -> None:
        """Close the files."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _begin(self, sources: tuple[Source, ...]) -> None:
        self.close()
        self._sources, self._reader = sources, Reader(sources)
        self._lines.clear()
        self._lines.extend(map(_shown, self._reader.last(_KEPT, follow=True)))


def _sources(instance: Mapping[str, Any]) -> tuple[Source, ...]:
    app, _, number = instance["name"].rpartition(":")
    return tuple(
        Source(app=app, number=int(number), stream=Stream(log["stream"]), path=Path(log["path"]))
        for log in instance["output"]
    )


def _shown(line: Line) -> str:
    return f"{line.source.stream} {safe(as_text(line).decode('utf-8', 'replace'))}".replace("\n", " ")
