"""How fast is the whole service, from outside?"""

import asyncio
import os
from collections.abc import Iterator, Sequence

from bench.harness import Row, Table
from bench.running import (
    PLAIN,
    SERVE,
    Walk,
    Walked,
    burst_after_start,
    ready_embedded,
    ready_with_credentials,
    walk,
)
from bench.traffic import KINDS, Sent, percentile

PER_SECOND = 50
BURST = 150
ROUNDS = 5
WALK_ROUNDS = 3


def tables() -> Iterator[Table]:
    yield _ready()
    yield _after_start()
    yield from _walks()


def _noise() -> str:
    return f"Load average at the end of these rounds: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."


def _ready() -> Table:
    found: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        with_credentials = asyncio.run(ready_with_credentials())
        embedded = asyncio.run(ready_embedded())
        for label, seconds in zip(_READY, (*with_credentials, *embedded), strict=True):
            found.setdefault(label, []).append(seconds)
    rows = [Row(label=label, values=found[label], budget=budget) for label, budget in _READY.items()]
    notes = [
        "From the start of the process `mainstay serve`, its database migrated, to the end of the first answer.",
        "The answer comes from the sandbox at 60 tokens/s, which is 1.2 s of its time.",
        "Embedded: without credentials, so that the sandbox is started too, as a process of its own.",
        _noise(),
    ]
    return Table(title="From `serve` to ready", unit="s", rows=rows, notes=notes)


_READY = {
    "with credentials: /startupz is 200": 1.0,
    "with credentials: first message acknowledged": 1.0,
    "with credentials: first message answered": None,
    "embedded: /startupz is 200": 1.0,
    "embedded: first message acknowledged": 1.0,
}


def _after_start() -> Table:
    cases = {
        f"{chats}, {how}": (command, conversations)
        for chats, conversations in (("1 conversation", 1), (f"{BURST} conversations", BURST))
        for how, command in (("as it is", SERVE), ("plain import", PLAIN))
    }
    found: dict[str, list[list[Sent]]] = {label: [] for label in cases}
    for _ in range(ROUNDS):
        for label, (command, conversations) in cases.items():
            burst = burst_after_start(command, BURST, per_second=PER_SECOND, conversations=conversations)
            found[label].append(asyncio.run(burst))
    notes = [
        f"{PER_SECOND} messages/s in the {BURST / PER_SECOND:g} s after /startupz is 200: agents are imported.",
        "In 1 conversation one is answered after the other; else all that came meanwhile is begun, 32 at once.",
        "Plain: imported in a thread without the measures of `mainstay.agents.warm`.",
        "A round's p99 is the second largest of its 150 latencies.",
        _noise(),
    ]
    rows = [row for label, rounds in found.items() for row in _latencies(label, rounds)]
    return Table(title="Acknowledgement while agents warm up", unit="ms", rows=rows, notes=notes)


def _latencies(label: str, rounds: Sequence[Sequence[Sent]], percents: Sequence[int] = (50, 99)) -> Iterator[Row]:
    for percent in percents:
        values = [percentile([1000 * sent.seconds for sent in each], percent) for each in rounds]
        yield Row(label=f"{label}: p{percent}", values=values, budget=50.0 if percent == 99 else None)


_WALKS = {
    "own responder, 50 messages/s": Walked(count=250, per_second=50, tokens_per_second=60, own_responder=True),
    "agents, 10 messages/s": Walked(count=100, per_second=10, tokens_per_second=60),
    "agents, 50 messages/s (overload)": Walked(count=250, per_second=50, tokens_per_second=60),
    "agents, 200 at once, answers at once": Walked(count=200, per_second=1000, tokens_per_second=0),
    "the same, calls_per_second = 50": Walked(count=200, per_second=1000, tokens_per_second=0, calls_per_second=50),
}


def _walks() -> Iterator[Table]:
    found: dict[str, list[Walk]] = {label: [] for label in _WALKS}
    for _ in range(WALK_ROUNDS):
        for label, walked in _WALKS.items():
            found[label].append(asyncio.run(walk(walked)))
    noise = _noise()
    late_ms = 1000 * max(percentile([sent.late_s for sent in w.sent], 99) for ws in found.values() for w in ws)
    yield Table(
        title="Acknowledgement of a webhook, counted from its scheduled time",
        unit="ms",
        rows=[row for label in list(_WALKS)[:3] for row in _latencies(label, [walk.sent for walk in found[label]])]
        + [
            row
            for kind in KINDS
            for row in _latencies(
                f"the same, {kind}", [[s for s in w.sent if s.kind == kind] for w in found[list(_WALKS)[2]]]
            )
        ],
        notes=[
            "Sealed and signed; verified, stored and synced to disk before it is acknowledged. Half come on new",
            "connections. Overload: more arrives than the machine can answer, and the inbox grows.",
            f"The sender was itself late by {late_ms:.1f} ms at p99 of its worst round; that is included.",
            noise,
        ],
    )
    yield Table(
        title="The whole walk: messages answered to their visible outcome",
        unit="/s",
        rows=[
            Row(label=label, values=[len(w.sent) / w.seconds for w in found[label]]) for label in list(_WALKS)[2:]
        ],
        notes=[
            "From the first webhook to the last outcome. The platform, the model and the sender share the cores."
        ],
    )
    yield Table(
        title="Processor time for one answered message",
        unit="ms",
        rows=[
            Row(label=label, values=[1000 * w.service_cpu_s / len(w.sent) for w in found[label]])
            for label in _WALKS
        ]
        + [
            Row(
                label=f"sandbox's process, {label}",
                values=[1000 * w.sandbox_cpu_s / len(w.sent) for w in found[label]],
            )
            for label in list(_WALKS)[1:2]
        ],
        notes=[
            "An answer of the agents: 74 chunks of text, 6 updates of its card. The own responder's: one of each."
        ],
    )
    last = found[list(_WALKS)[-1]]
    yield Table(
        title="Resident memory of the service",
        unit="MiB",
        rows=[
            Row(label="idle, agents imported", values=[w.idle_mib for w in last]),
            Row(label="after 200 messages", values=[w.after_mib for w in last]),
            Row(label="idle, own responder", values=[w.idle_mib for w in found[next(iter(_WALKS))]]),
        ],
    )
