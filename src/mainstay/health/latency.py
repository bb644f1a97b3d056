"""How long did recent calls take?

A sliding histogram with buckets that grow with the value, eight to each doubling, so that a percentile is off by at
most 12.5 % and mostly by about 1 %. Which bucket a value belongs to is read off the number itself: the upper 16
bits of a double are its exponent and the first four bits of its fraction, one more than needed. So a hundred values
are sorted into buckets by slicing bytes, without a step of Python for each. Those wait until there are many of
them, or until somebody asks; two or three, which are what a frequent reader finds, are counted at once.
"""

import struct
import sys
from array import array
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Sequence
from itertools import accumulate
from math import ceil, nextafter

__all__ = ["Latencies"]

SHORTEST_MS = 2.0**-15
LONGEST_MS = nextafter(2.0**33, 0)
"""99 days. What took longer or shorter is counted as if it had taken this long."""

_UPPER = 3 if sys.byteorder == "little" else 0  # where the upper 16 bits of a double are, in units of 16 bits
_HIGHEST = 7 if sys.byteorder == "little" else 0  # the same for the upper 8 bits
_ORDINARY = bytes((0x3F, 0x40, 0x41))  # the upper 8 bits of all doubles from the shortest to the longest
_UNCOUNTED = 1024
_FEW = 3  # so many are counted faster one by one than together
_octets = struct.Struct(">d").pack
_half = struct.Struct(">H6x").unpack
_SHARES = (0.50, 0.95, 0.99)


def _measured(latencies: Sequence[object]) -> tuple[int, float, "array[int]"]:
    """How many of the values are latencies at all, their sum, and the upper 16 bits of each."""
    try:
        octets = struct.pack(f"{len(latencies)}d", *latencies)
        if not octets[_HIGHEST::8].translate(None, _ORDINARY):
            return len(latencies), sum(latencies, 0.0), _halves(octets)  # type: ignore[return-value, type-var]
    except Exception:  # noqa: BLE001, S110  whatever the caller's objects do: they are looked at one by one below
        pass
    values = [ms for ms in map(_clean, latencies) if ms is not None]
    return len(values), sum(values), _halves(struct.pack(f"{len(values)}d", *values))


def _clean(latency: object) -> float | None:
    if type(latency) is float and SHORTEST_MS <= latency <= LONGEST_MS:
        return latency
    try:
        ms = float(latency)  # type: ignore[arg-type]
    except OverflowError:
        return LONGEST_MS
    except Exception:  # noqa: BLE001  not a number
        return None
    if ms != ms or ms < 0 or isinstance(latency, str | bytes):
        return None
    return min(max(ms, SHORTEST_MS), LONGEST_MS)


def _halves(octets: bytes) -> "array[int]":
    return array("H", octets)[_UPPER::4]


def _edge(bucket: int) -> float:
    value: float = struct.unpack(">d", struct.pack(">Hxxxxxx", bucket))[0]
    return value


_SPANS = {bucket: (_edge(bucket + 2), _edge(bucket + 2) - _edge(bucket)) for bucket in range(0x3F00, 0x4200, 2)}
"""The upper edge and the width of each bucket."""


class Latencies:
    """The latencies of one agent in the last ``slots`` slots (see `mainstay.health.machine`)."""

    __slots__ = ("_buckets", "_closed", "_counts", "_open", "_percentiles", "_slot", "_slots", "_uncounted")

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._slot = 0
        self._uncounted = array("H")
        self._open: dict[int, int] = {}
        self._closed: deque[tuple[int, array[int]]] = deque()
        self._buckets: list[int] = []  # those with a value in the window, in order
        self._counts: list[int] = []  # how many are in each of them
        self._percentiles: tuple[float, ...] | None = ()

    def add(self, slot: int, latencies: Sequence[object]) -> tuple[int, float]:
        """Count values in ``slot``, which is never older than the last one. Takes anything, and never raises.

        Returns:
            how many of them are latencies at all, and the sum of those.
        """
        if slot != self._slot:
            self._close(slot)
        self._percentiles = None
        if len(latencies) <= _FEW:
            return self._add_few(latencies)
        timed, total_ms, halves = _measured(latencies)
        self._uncounted += halves
        if len(self._uncounted) >= _UNCOUNTED:
            self._count_all()
        return timed, total_ms

    def _add_few(self, latencies: Sequence[object]) -> tuple[int, float]:
        timed, total_ms = 0, 0.0
        for latency in latencies:
            ms = _clean(latency)
            if ms is not None:
                timed += 1
                total_ms += ms
                self._count(_half(_octets(ms))[0], 1)
        return timed, total_ms

    def percentiles(self, slot: int) -> tuple[float, ...]:
        """p50, p95 and p99 in milliseconds at the time of ``slot``; empty if there was no call in the window."""
        if slot != self._slot:
            self._close(slot)
        if self._percentiles is None:
            if self._uncounted:
                self._count_all()
            self._percentiles = self._estimate() if self._counts else ()
        return self._percentiles

    def _count_all(self) -> None:
        for half, count in Counter(self._uncounted).items():
            self._count(half, count)
        self._uncounted = array("H")

    def _count(self, half: int, count: int) -> None:
        bucket = half & ~1
        self._open[bucket] = self._open.get(bucket, 0) + count
        place = bisect_left(self._buckets, bucket)
        if place < len(self._buckets) and self._buckets[place] == bucket:
            self._counts[place] += count
        else:
            self._buckets.insert(place, bucket)
            self._counts.insert(place, count)

    def _close(self, slot: int) -> None:
        if self._uncounted:
            self._count_all()
        if self._open:
            packed = array("Q", [bucket << 32 | count for bucket, count in self._open.items()])
            self._closed.append((self._slot, packed))
            self._open.clear()
        self._slot = slot
        while self._closed and self._closed[0][0] <= slot - self._slots:
            self._percentiles = None
            for entry in self._closed.popleft()[1]:
                place = bisect_left(self._buckets, entry >> 32)
                self._counts[place] -= entry & 0xFFFFFFFF
                if not self._counts[place]:
                    del self._buckets[place], self._counts[place]

    def _estimate(self) -> tuple[float, ...]:
        upto = list(accumulate(self._counts))
        found = []
        for share in _SHARES:
            rank = share * upto[-1]
            place = bisect_left(upto, ceil(rank))  # with a whole number: comparing int to float is slow
            high, width = _SPANS[self._buckets[place]]
            ms = high - width * (upto[place] - rank) / self._counts[place]
            found.append((ms * 10.0 + 0.5) // 1.0 / 10.0)  # round() would cost as much as all the rest
        return tuple(found)
