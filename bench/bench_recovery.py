"""What does it cost to guard a call, and what is it worth when something fails?"""

import asyncio
import gc
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from warnings import catch_warnings, simplefilter

from bench import failover
from bench.breakers import BREAKERS, FAILURES, STACKS, Async, Guard, mainstay
from bench.harness import Row, Table, interleaved

from mainstay.recovery.bulkhead import Bulkhead
from mainstay.recovery.call.candidate import Candidate
from mainstay.recovery.call.fallback import Fallback
from mainstay.recovery.call.model import Limits
from mainstay.recovery.retries import RetryBudget

CALLS = 3000
ROUNDS = 9
IMPORTS = 7
AT_ONCE = 100
PAUSE_S = 0.2


def tables() -> Iterator[Table]:
    yield _breaker()
    yield _stack()
    yield _importing()
    yield _half_open()
    yield from failover.tables()


async def _nothing() -> None:
    pass


def _breaker() -> Table:
    guards, missing = _built({label: partial(build, 30.0) for label, build in BREAKERS.items()})
    cases = _ours() | {label: guard(_nothing) for label, guard in guards.items()} | {"no breaker": _nothing}
    found = _timed(cases)
    rows = [Row(label=label, values=values) for label, values in found.items()]
    rows[:3] = [Row(label=row.label, values=row.values, budget=2.0) for row in rows[:3]]
    notes = [
        "Ours keeps a window of 20 outcomes, with failures and slow first tokens; so does pyresilience where it",
        "says so. The others count failures in a row, which is one addition.",
    ]
    return Table(
        title="An awaited call that does nothing, guarded: CPU", unit="us", rows=[*rows, *missing], notes=notes
    )


def _ours() -> dict[str, Async]:
    breaker = mainstay(30.0)

    async def with_permit() -> None:
        with breaker.permit():
            await _nothing()

    async def async_with_permit() -> None:
        async with breaker.permit():
            await _nothing()

    return {
        "mainstay, with": with_permit,
        "mainstay, async with": async_with_permit,
        "mainstay, decorator": breaker(_nothing),
    }


def _stack() -> Table:
    guards, missing = _built(STACKS)
    found = _timed(_our_stack() | {label: guard(_nothing) for label, guard in guards.items()})
    rows = [Row(label=label, values=values) for label, values in found.items()]
    rows[:3] = [Row(label=row.label, values=row.values, budget=10.0) for row in rows[:3]]
    return Table(
        title="The same with retry, breaker and a timeout for each attempt: CPU", unit="us", rows=[*rows, *missing]
    )


def _our_stack() -> dict[str, Async]:
    """Of a function; as agents use it, with a place and a retry budget as well; and with a second candidate."""
    limits = Limits(total_s=30.0)

    def candidate(name: str) -> Candidate[[], None]:
        bulkhead, retries = Bulkhead(name, 32, 32), RetryBudget()
        return Candidate(name, _nothing, limits=limits, breaker=mainstay(30.0), bulkhead=bulkhead, retries=retries)

    return {
        "mainstay": Fallback([Candidate("a", _nothing, limits=limits, breaker=mainstay(30.0))]),
        "mainstay, with places and a retry budget": Fallback([candidate("a")]),
        "mainstay, with a fallback behind it": Fallback([candidate("a"), candidate("b")]),
    }


def _built(builders: Mapping[str, Callable[[], Guard]]) -> tuple[dict[str, Guard], list[Row]]:
    """Those that are installed, and a row for each that is not."""
    guards: dict[str, Guard] = {}
    missing = []
    for label, build in builders.items():
        try:
            guards[label] = build()
        except ImportError:
            missing.append(Row(label=label, note="not installed"))
    return guards, missing


def _timed(cases: Mapping[str, Async]) -> dict[str, list[float]]:
    """Microseconds of one awaited call, of processor time: nothing is waited for, and the machine may be busy."""

    async def calls(call: Async) -> float:
        began = time.thread_time_ns()
        for _ in range(CALLS):
            await call()
        return (time.thread_time_ns() - began) / CALLS / 1000

    def measure(call: Async) -> float:
        gc.collect()
        gc.disable()
        try:
            return runner.run(calls(call))
        finally:
            gc.enable()

    with asyncio.Runner() as runner:
        return interleaved({label: partial(measure, call) for label, call in cases.items()}, rounds=ROUNDS)


def _importing() -> Table:
    code = "import time; began = time.process_time(); import {}; print((time.process_time() - began) * 1000)"

    def cpu_ms(module: str) -> float:
        command = [sys.executable, "-c", code.format(module)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    ours, all_of_it = "mainstay.recovery.breaker.permits", "mainstay.recovery.call.fallback"
    peers = (
        "circuitbreaker",
        "hyx.circuitbreaker",
        "aiobreaker",
        "purgatory",
        "pyresilience",
        "pybreaker",
        "tenacity",
        "stamina",
        "backoff",
        "pydantic_ai.models.fallback",
        "litellm",
    )
    installed = [module for module in peers if find_spec(module.partition(".")[0])]
    found = interleaved(
        {module: partial(cpu_ms, module) for module in (ours, all_of_it, "asyncio", *installed)}, rounds=IMPORTS
    )
    rows = [Row(label=module, values=values) for module, values in found.items()]
    rows[:2] = [Row(label=module, values=found[module], budget=70.0) for module in (ours, all_of_it)]
    missing = [Row(label=module, note="not installed") for module in peers if module not in installed]
    notes = ["Without the start of the interpreter. asyncio is here because nearly everybody imports it."]
    return Table(title="Importing in a fresh process: CPU", unit="ms", rows=[*rows, *missing], notes=notes)


def _half_open() -> Table:
    guards, missing = _built(
        {"mainstay": partial(mainstay, PAUSE_S)}
        | {label: partial(build, PAUSE_S) for label, build in BREAKERS.items()}
    )
    with catch_warnings():
        simplefilter("ignore", RuntimeWarning)  # pybreaker forgets the coroutines of the calls that it refuses
        rows = [Row(label=label, values=[asyncio.run(_passing(guard))]) for label, guard in guards.items()]
    rows[0] = Row(label=rows[0].label, values=rows[0].values, budget=1)
    title = f"Of {AT_ONCE} concurrent calls after the pause, so many pass"
    return Table(title=title, unit="", rows=[*rows, *missing])


async def _passing(guard: Guard) -> int:
    """How many of the calls that come when the pause is over pass before one of them has ended."""
    passed, down, decided = 0, True, asyncio.Event()

    async def target() -> None:
        nonlocal passed
        if down:
            raise ConnectionError
        passed += 1
        await decided.wait()

    async def call() -> None:
        with suppress(Exception):
            await guarded()

    guarded = guard(target)
    for _ in range(2 * FAILURES):
        await call()
    down = False
    await call()
    assert passed == 0, "it is not open"
    await asyncio.sleep(1.5 * PAUSE_S)
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(call())
        await asyncio.sleep(0.1)
        decided.set()
    return passed
