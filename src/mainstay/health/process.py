"""What does the system say about this process?"""

import os
import sys

from mainstay.health.model import ProcessReport

__all__ = ["process_report"]

_PYTHON = sys.version.split()[0]
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def process_report(started_at: str) -> ProcessReport:
    """Its own numbers; ``started_at`` is when the monitor was made."""
    return {
        "pid": os.getpid(),
        "rss_bytes": _rss_bytes(),
        "started_at": started_at,
        "python": _PYTHON,
    }


def _rss_bytes() -> int | None:
    if sys.platform != "linux":
        return None
    # os.open rather than open(): this runs with every report, and costs a third
    statm = os.open("/proc/self/statm", os.O_RDONLY)
    try:
        return int(os.read(statm, 128).split()[1]) * _PAGE_BYTES
    finally:
        os.close(statm)
