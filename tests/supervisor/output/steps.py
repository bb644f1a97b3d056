"""A process that is killed before every single call into the operating system, one run for each.

Before one is after the one before it.

For each run a FIFO with known lines, which this process holds; a forked process that moves them, puts files aside
and compresses them, and kills itself at one call; another one that goes on. What is not as it should be is printed
as JSON: a list of sentences. Forks are cheap, and nothing here has threads. A mutant can be asked for by its name;
the first thing wrong with it is enough.
"""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from tests.supervisor.output.known import line, numbers

from mainstay.supervisor.output import compress, file, stamps
from mainstay.supervisor.output.asides import asides
from mainstay.supervisor.output.compress import compress_asides
from mainstay.supervisor.output.model import Policy
from mainstay.supervisor.output.pump import Pump
from mainstay.testing.clock import ManualClock

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112  here fsync costs nothing
LINES = 24
TEXT = b"".join(map(line, range(1, LINES)))
NUMBERS = list(range(1, LINES))


def _work(directory: Path, policy: Policy, *, splice: bool) -> None:
    log = directory / "web-0.out.log"
    pump = Pump(directory / "fifo", log, policy, clock=ManualClock(), splice=splice)
    while pump.step():
        compress_asides(log)
    pump.close()
    compress_asides(log)


def _killed_at(count: int, work: Callable[[], None]) -> bool:
    """Whether the process was killed; it was not if there are fewer calls."""
    pid = os.fork()
    if not pid:
        left = count

        def watch(_frame: FrameType, event: str, called: object) -> None:
            nonlocal left
            if event == "c_call" and _reaches_the_system(called):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(watch)
        work()
        sys.setprofile(None)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def _reaches_the_system(called: object) -> bool:
    of = type(getattr(called, "__self__", None)).__module__
    return getattr(called, "__module__", "") in ("posix", "_io", "io") or of in ("_io", "io")


def _wrong(directory: Path, policy: Policy) -> str:
    log = directory / "web-0.out.log"
    try:
        found = numbers(log, stamps=policy.timestamps)
    except (AssertionError, OSError, EOFError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    if found != NUMBERS:
        return f"found {found}"
    left = {entry.name for entry in directory.iterdir()} - {"fifo", log.name}
    left -= {aside.path.name for aside in asides(log)}
    return f"left over: {left}" if left else ""


def main() -> None:
    policy = Policy(max_size=1500, keep=100, timestamps=sys.argv[1] == "timestamps")
    mutant = sys.argv[2]
    splice = mutant != "reads and writes"
    MUTANTS[mutant]()
    wrong, count = [], 0
    while True:
        with tempfile.TemporaryDirectory(dir=MEMORY) as name:
            directory = Path(name)
            os.mkfifo(directory / "fifo")
            held = os.open(directory / "fifo", os.O_RDWR)
            os.write(held, TEXT)
            killed = _killed_at(count, lambda: _work(directory, policy, splice=splice))  # noqa: B023
            if killed:
                assert not _killed_at(1 << 30, lambda: _work(directory, policy, splice=splice))  # noqa: B023
            os.close(held)
            if sentence := _wrong(directory, policy):
                wrong.append(f"call {count}: {sentence}")
        if not killed or (wrong and mutant != "none"):
            break
        count += 1
    print(json.dumps({"calls": count, "wrong": wrong}))


def _forgets_what_was_moved() -> None:
    stamps.Stamps.recover = lambda _: None  # type: ignore[method-assign]


def _moves_it_again() -> None:
    """To where the log ends now, not to where it ended then."""
    finish = stamps.Stamps._finish

    def wrong(self: stamps.Stamps, fd: int) -> None:
        _, at = stamps._HEADER.unpack(os.pread(fd, 16, 0).ljust(16, b"\0"))
        os.pwrite(fd, stamps._HEADER.pack(self._log.end(), at), 0)
        finish(self, fd)

    stamps.Stamps._finish = wrong  # type: ignore[method-assign]


def _cuts_anywhere() -> None:
    file.LogFile.ends_line = lambda *_: True  # type: ignore[method-assign]


def _takes_half_for_whole() -> None:
    def wrong(path: Path, stop: Callable[[], None]) -> None:
        whole = path.with_name(path.name + ".gz")
        if not whole.exists():
            compress._write(path, whole, stop)
        path.unlink()

    compress._compress = wrong


def _deletes_first() -> None:
    def wrong(path: Path, stop: Callable[[], None]) -> None:
        text = path.read_bytes()
        path.unlink()
        right = path.with_name(path.name)
        right.write_bytes(text)

    compress._compress = wrong


MUTANTS: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "reads and writes": lambda: None,
    "forgets what was moved": _forgets_what_was_moved,
    "moves it again": _moves_it_again,
    "cuts anywhere": _cuts_anywhere,
    "takes half for whole": _takes_half_for_whole,
    "deletes first": _deletes_first,
}


if __name__ == "__main__":
    main()
