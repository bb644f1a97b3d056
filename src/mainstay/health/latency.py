"""How long did recent calls take?

A sliding histogram with buckets that grow with the value, eight to each doubling, so that a percentile is off by at
most 12.5 % and mostly by about 1 %. Which bucket a value belongs to is read off the number itself: the upper 16
bits of a double are its exponent and the first four bits of its fraction, one more than needed. So a hundred values
are sorted into buckets by slicing bytes, without a step of Python for each.
"""

import struct
import sys
from array import array
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Sequence
from itertools import accumulate

__all__ = ["Latencies", "Measured", "measured"]

SHORTEST_MS = 2.0**-10
LONGEST_MS = 2.0**27
"""37 hours. What took longer or shorter is counted as if it had taken this long."""

_UPPER = 3 if sys.byteorder == "little" else 0  # where the upper 16 bits of a double are, in units of 16 bits
_HIGHEST = 7 if sys.byteorder == "little" else 0  # the same for the upper 8 bits
_ORDINARY = bytes((0x3F, 0x40, 0x41))  # the upper 8 bits of all doubles from 2**-15 up to 2**33
_UNCOUNTED_BYTES = 2048
_SHARES = (0.50, 0.95, 0.99)

Measured = tuple[int, float, bytes]
"""How many values there are, their sum, and the bucket of each in two bytes."""


def measured(latencies: Sequence[object]) -> Measured:
    """Those of the values that are latencies at all. Takes anything, and never raises."""
    try:
        octets = struct.pack(f"{len(latencies)}d", *latencies)
        if not octets[_HIGHEST::8].translate(None, _ORDINARY):
            return len(latencies), float(sum(latencies)), _buckets(octets)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001, S110  whatever the caller's objects do: they are looked at one by one below
        pass
    values = [ms for ms in map(_clean, latencies) if ms is not None]
    return len(values), sum(values), _buckets(struct.pack(f"{len(values)}d", *values))


def _buckets(octets: bytes) -> bytes:
    return memoryview(octets).cast("H")[_UPPER::4].tobytes()


def _clean(latency: object) -> float | None:
    try:
        ms = float(latency)  # type: ignore[arg-type]
    except OverflowError:
        return LONGEST_MS
    except Exception:  # noqa: BLE001  not a number
        return None
    if ms != ms or ms < 0 or isinstance(latency, str | bytes):
        return None
    return min(max(ms, SHORTEST_MS), LONGEST_MS)


def _edge(bucket: int) -> float:
    value: float = struct.unpack(">d", struct.pack(">Hxxxxxx", bucket))[0]
    return value


_EDGES = {bucket: _edge(bucket) for bucket in range(0x3F00, 0x4202, 2)}


class Latencies:
    """The latencies of one agent in the last ``slots`` slots (see `mainstay.health.machine`)."""

    __slots__ = ("_closed", "_open", "_percentiles", "_slot", "_slots", "_uncounted", "_window")

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._slot = 0
        self._uncounted = bytearray()
        self._open: dict[int, int] = {}
        self._closed: deque[tuple[int, array[int]]] = deque()
        self._window: dict[int, int] = {}  # in the order of the buckets
        self._percentiles: tuple[float, ...] | None = ()

    def add(self, slot: int, buckets: bytes) -> None:
        """Count values, by their buckets, in ``slot``, which is never older than the last one."""
        if slot != self._slot:
            self._close(slot)
        self._uncounted += buckets
        self._percentiles = None
        if len(self._uncounted) >= _UNCOUNTED_BYTES:
            self._count()

    def percentiles(self, slot: int) -> tuple[float, ...]:
        """p50, p95 and p99 in milliseconds at the time of ``slot``; empty if there was no call in the window."""
        if slot != self._slot:
            self._close(slot)
        if self._percentiles is None:
            self._count()
            self._percentiles = self._estimate() if self._window else ()
        return self._percentiles

    def _count(self) -> None:
        buckets = memoryview(self._uncounted).cast("H").tolist()
        self._uncounted = bytearray()
        known = len(self._window)
        # for one or two, which is what a frequent reader finds, a Counter would cost more than the rest
        tally = Counter(buckets).items() if len(buckets) > 2 else [(half, 1) for half in buckets]
        for half, count in tally:
            bucket = half & ~1
            self._open[bucket] = self._open.get(bucket, 0) + count
            self._window[bucket] = self._window.get(bucket, 0) + count
        if len(self._window) > known:
            self._window = dict(sorted(self._window.items()))

    def _close(self, slot: int) -> None:
        if self._uncounted:
            self._count()
        if self._open:
            packed = array("Q", [bucket << 32 | count for bucket, count in self._open.items()])
            self._closed.append((self._slot, packed))
            self._open.clear()
        self._slot = slot
        while self._closed and self._closed[0][0] <= slot - self._slots:
            self._percentiles = None
            for entry in self._closed.popleft()[1]:
                bucket, count = entry >> 32, entry & 0xFFFFFFFF
                if self._window[bucket] == count:
                    del self._window[bucket]
                else:
                    self._window[bucket] -= count

    def _estimate(self) -> tuple[float, ...]:
        order = list(self._window)
        upto = list(accumulate(self._window.values()))
        found = []
        for share in _SHARES:
            rank = share * upto[-1]
            position = bisect_left(upto, rank)
            bucket = order[position]
            low, high = _EDGES[bucket], _EDGES[bucket + 2]
            ms = high - (high - low) * (upto[position] - rank) / self._window[bucket]
            found.append(int(ms * 10 + 0.5) / 10)  # round() would cost as much as all the rest
        return tuple(found)
