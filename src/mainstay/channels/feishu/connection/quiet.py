"""Which connection brings nothing, although it answers every ping?

Being quiet is no fault, so it takes evidence, of which there are two kinds:

- The platform gives each event to one of the open connections, by chance. One that is passed over again and again
  is not given events at all, once chance would do that only once in very many times: 30 events where there are two
  connections, a thousand where there are 50. Whoever turns out to be passed over for another reason is not replaced
  for ever: without an event in between it takes twice as many the next time.
- For one that has been quiet for long the histories are looked at: they may have what it did not bring. Each look
  costs calls, so it serves all who are quiet, and the next is the later the more of them found nothing.
"""

import math
from collections.abc import Collection
from typing import Final

__all__ = ["Quiet"]

_PROOF: Final = 9 * math.log(10)
"""How unlikely it has to be that chance has passed a connection over: one to 10**9, as a logarithm."""
_LONGEST: Final = 8.0


class Quiet:
    """Who has heard what of the connections of one bot, which are known by their numbers from 0.

    Args:
        after_s: how long one may be quiet until the histories are looked at.
        count: of the connections.
        now_s: the moment.
    """

    def __init__(self, after_s: float, count: int, now_s: float) -> None:
        self._after_s = self._patience_s = after_s
        self._heard_s = [now_s] * count
        self._looked_s = now_s
        self._passed = [0.0] * count
        self._proof = [_PROOF] * count

    def opened(self, number: int) -> None:
        """It is another connection now: what the last one was not given says nothing about it."""
        self._passed[number] = 0.0

    def heard(self, number: int, among: Collection[int], now_s: float) -> list[int]:
        """An event has come over this one, while all ``among`` were open; returns those that are given none."""
        self._heard_s[number] = now_s
        self._passed[number], self._proof[number] = 0.0, _PROOF
        if min(self._heard_s[each] for each in {number, *among}) > self._looked_s:
            self._patience_s = self._after_s
        others = [each for each in among if each != number]
        for each in others:
            self._passed[each] -= math.log1p(-1 / (len(others) + 1))
        stale = [each for each in others if self._passed[each] >= self._proof[each]]
        for each in stale:
            self._proof[each] *= 2
            self._passed[each] = 0.0
        return stale

    def due_s(self, among: Collection[int]) -> float:
        """When the histories are to be looked at, if nothing comes over one of these until then."""
        quietest_s = min((self._heard_s[each] for each in among), default=self._looked_s)
        return max(quietest_s, self._looked_s) + self._patience_s

    def quiet(self, among: Collection[int], now_s: float) -> list[int]:
        """Those that have brought nothing for long."""
        return [each for each in among if self._heard_s[each] + self._after_s <= now_s]

    def looked(self, now_s: float) -> None:
        """The histories are being looked at."""
        self._looked_s = now_s
        self._patience_s = min(self._patience_s * 2, self._after_s * _LONGEST)
