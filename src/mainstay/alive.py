"""Is the process with this pid still the one that I mean?

Pids are used again. A process is known by its pid and by the operating system's mark of when it started.
"""

import os
import subprocess
from pathlib import Path

__all__ = ["is_alive", "own_mark", "started_mark"]


def started_mark(pid: int) -> str:
    """When that process started, in the operating system's own words; empty when there is none, or a zombie."""
    if pid <= 0:
        return ""
    if Path("/proc/self/stat").exists():
        return _linux_mark(pid)
    asked = subprocess.run(  # noqa: S603  a fixed program and a number
        ["/bin/ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=5, check=False
    )
    state, _, mark = asked.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else mark.strip()


def _linux_mark(pid: int) -> str:
    try:
        # The command's name, in parentheses, may hold anything; what follows the last one is fields 3 and on.
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    state, ticks = after_name[0], after_name[19]
    return "" if state in {"Z", "X"} else f"{boot}:{ticks}"


def is_alive(pid: int, mark: str) -> bool:
    """Whether it still runs."""
    return bool(mark) and started_mark(pid) == mark


def own_mark() -> str:
    """The mark of this process."""
    return started_mark(os.getpid())
