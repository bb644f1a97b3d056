"""What was this provider asked, and what did it do about it?

The provider's own count, to hold against health reports, metrics and bills.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

from mainstay.clock import iso
from mainstay.sandbox.provider.model import ChatRequest

__all__ = ["Call", "Ending", "ProviderRecord"]

Ending = Literal["open", "finished", "rejected", "faulted", "disconnected"]

_SAID_CHARS = 200


@dataclass(slots=True, kw_only=True)
class Call:
    """One request for a chat completion; it changes until it has ended.

    Attributes:
        number: 1 for the first one.
        model: what the client asked for, whatever this provider is called.
        messages: how many.
        digest: see `ChatRequest.digest`.
        said: the beginning of what the user said last.
        tools: the names of those offered.
        fault: the fault that it met, or empty.
        status: the HTTP status; 0 as long as none was sent.
        prompt_tokens: see `mainstay.sandbox.provider.tokens`.
        tokens_sent: tokens of the answer that left this process.
        usage_told: the client was told that it has consumed just that; of any other call it can not know.
        ending: ``open`` while it is being answered, ``finished`` when the whole answer was sent, ``rejected`` when
            the request was wrong, ``faulted`` when the fault ended it, ``disconnected`` when the client left first.
        seconds: how long it took; 0 while it is open.
    """

    number: int
    at: datetime
    model: str = ""
    stream: bool = False
    messages: int = 0
    digest: str = ""
    said: str = ""
    tools: tuple[str, ...] = ()
    fault: str = ""
    status: int = 0
    prompt_tokens: int = 0
    tokens_sent: int = 0
    usage_told: bool = False
    ending: Ending = "open"
    seconds: float = 0.0

    def describe(self, request: ChatRequest) -> None:
        """Write down what was asked."""
        self.model = request.model
        self.stream = request.stream
        self.messages = len(request.messages)
        self.digest = request.digest
        self.said = request.said[:_SAID_CHARS]
        self.tools = tuple(tool.name for tool in request.tools)


class ProviderRecord:
    """The latest calls, and counts of all of them."""

    def __init__(self, limit: int = 10_000) -> None:
        self._calls: deque[Call] = deque(maxlen=limit)
        self._total = 0
        self._endings: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._tokens_sent = 0
        self._told: Counter[str] = Counter(calls=0, prompt_tokens=0, tokens_sent=0)

    @property
    def calls(self) -> Sequence[Call]:
        """The latest calls, oldest first."""
        return tuple(self._calls)

    @property
    def total(self) -> int:
        """How many calls there were, with those that are open and those that are no longer listed."""
        return self._total

    def opened(self, at: datetime) -> Call:
        """A request has come in."""
        self._total += 1
        call = Call(number=self._total, at=at)
        self._calls.append(call)
        return call

    def ended(self, call: Call) -> None:
        """Count a call whose ending is known."""
        self._endings[call.ending] += 1
        self._tokens_sent += call.tokens_sent
        if call.usage_told:
            self._told.update(calls=1, prompt_tokens=call.prompt_tokens, tokens_sent=call.tokens_sent)
        if call.fault:
            self._faults[call.fault] += 1

    def as_json(self, last: int = 1000) -> dict[str, object]:
        """Counts of everything since the start, and so many of the latest calls, for a JSON encoder.

        ``told`` sums up what clients were told to have consumed.
        """
        return {
            "total": self._total,
            "open": self._total - self._endings.total(),
            "endings": dict(self._endings),
            "faults": dict(self._faults),
            "tokens_sent": self._tokens_sent,
            "told": dict(self._told),
            "calls": [asdict(call) | {"at": iso(call.at)} for call in list(self._calls)[-last:]],
        }
