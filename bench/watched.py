"""What does a process take, as /proc says?"""

from pathlib import Path

__all__ = ["cpu_s", "memory_mb", "wakeups"]


def memory_mb(pid: int) -> tuple[float, float, float]:
    """RSS, PSS and USS."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kb = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}
    return kb["Rss"] / 1000, kb["Pss"] / 1000, (kb["Private_Clean"] + kb["Private_Dirty"]) / 1000


def cpu_s(pid: int) -> float:
    """Time on a processor so far, of all its threads that live; to the nanosecond, unlike what `ps` shows."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def wakeups(pid: int) -> int:
    """How often its threads have gone to sleep so far."""
    found = 0
    for path in Path(f"/proc/{pid}/task").glob("*/status"):
        fields = dict(line.split(":", 1) for line in path.read_text().splitlines())
        found += int(fields["voluntary_ctxt_switches"])
    return found
