"""Does a process live on exactly as long as nothing is missing in it?

Hypothesis chooses what fails; the world ends its process when it is told to, and keeps a list of all that failed in
it, which knows nothing of the machine. The same world then runs on machines that are wrong in one place each.
"""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.mutants import assert_noticed, mutant

from mainstay.containment import machine
from mainstay.containment.model import Contained, ContainmentSettings, Fatal, Origin, Uncaught
from mainstay.errors import Category

SETTINGS = ContainmentSettings(max_errors=3, window=10.0)
HOLES = {Origin.MAIN, Origin.THREAD, Origin.VITAL}
OTHERS = {
    Category.RATE_LIMIT, Category.QUOTA_EXHAUSTED, Category.TIMEOUT, Category.OVERLOADED,
    Category.CONNECTION, Category.SERVER_ERROR, Category.AUTH, Category.PERMISSION,
}  # fmt: skip


def out_of_memory(how: int) -> BaseException:
    """Some of the ways in which running out of memory arrives."""
    hidden = RuntimeError("no room")
    match how % 5:
        case 0:
            return MemoryError()
        case 1:
            return ExceptionGroup("several", [ValueError(), ExceptionGroup("more", [MemoryError()])])
        case 2:
            hidden.__cause__ = MemoryError()
            return hidden
        case 3:
            hidden.__context__ = MemoryError()
            return ExceptionGroup("several", [hidden])
        case _:
            hidden.__cause__ = ValueError()
            hidden.__cause__.__cause__ = hidden  # a circle
            hidden.__cause__.__context__ = MemoryError()  # behind a cause nobody looks further
            return ExceptionGroup("several", [hidden, MemoryError()])


def memory_found_again() -> BaseException:
    """Its author knows of the MemoryError, and says that it is over."""
    handled = RuntimeError("it was too large")
    handled.__context__ = MemoryError()
    handled.__suppress_context__ = True
    return handled


class World:
    """One process after the other."""

    def __init__(self, subject: Any) -> None:  # noqa: ANN401  a module, possibly a mutant of it
        self.machine = subject
        self.now_s = 1000.0
        self.last: tuple[BaseException | None, float] = (None, 0.0)
        self.start()

    def start(self) -> None:
        self.containment = self.machine.Containment(SETTINGS)
        self.counted: list[float] = []

    def happens(
        self, error: BaseException | None, origin: Origin, category: Category, *, memory: bool = False
    ) -> None:
        uncaught = Uncaught(origin=origin, where="here", said="X", category=category, error=error)
        verdict = self.containment.judge(uncaught, self.now_s)
        last, told_s = self.last
        told = error is not None and error is last and self.now_s - told_s < 1.0
        hole = memory or origin in HOLES
        if isinstance(error, SystemExit | KeyboardInterrupt) or (told and not hole):
            assert verdict is None, "no error, or none that is new, was told"
            return
        if error is not None and not told:
            self.last = error, self.now_s
        if not hole and (origin is Origin.PART or (origin is not Origin.REQUEST and category not in OTHERS)):
            self.counted.append(self.now_s)
        recent = [at for at in self.counted if self.now_s - at <= SETTINGS.window]
        if hole or len(recent) > SETTINGS.max_errors:
            assert isinstance(verdict, Fatal), "a process lives on with something missing"
            assert ("memory" in verdict.reason) == memory, "the reason is another one"
            assert verdict.told == told, "an error is told twice, or never"
            self.start()
        else:
            assert isinstance(verdict, Contained), "a process was ended that missed nothing"

    def step(self, action: str, origin: Origin, category: Category, number: int) -> None:
        match action:
            case "error":
                self.happens((RuntimeError(), memory_found_again(), None)[number % 3], origin, category)
            case "bug":
                self.happens(RuntimeError(), Origin.TASK, Category.INTERNAL)
            case "memory":
                self.happens(out_of_memory(number), origin, Category.INTERNAL, memory=True)
            case "exit":
                self.happens((SystemExit(1), KeyboardInterrupt())[number % 2], origin, Category.INTERNAL)
            case "again" if type(self.last[0]) is RuntimeError:
                memory = isinstance(self.last[0].__cause__, MemoryError)
                self.happens(self.last[0], (Origin.TASK, origin)[number % 2], Category.INTERNAL, memory=memory)
            case "again and again":
                for _ in range(4):
                    self.step("again", origin, category, number)
                    self.now_s += 0.6
            case "wait":
                self.now_s += (0.0, 0.6, 1.0, 2.5, 9.0, 10.0, 10.5)[number % 7]
            case _:
                pass


ACTIONS = (
    *("error", "bug", "wait") * 3,
    "again",
    "again and again",
    "words",
    "memory",
    "memory found again",
    "exit",
)
Step = tuple[str, Origin, Category, int]
happenings = st.lists(
    st.tuples(
        st.sampled_from(ACTIONS),
        st.sampled_from(list(Origin)),
        st.sampled_from(list(Category)),
        st.integers(0, 34),
    ),
    max_size=40,
)


def live(subject: Any, steps: list[Step]) -> None:  # noqa: ANN401
    world = World(subject)
    for step in steps:
        world.step(*step)


def failing(subject: Any, limits: ContainmentSettings, ran_s: float, times: int) -> tuple[bool, float, list[float]]:  # noqa: ANN401
    """A part that fails each time that it ran for so long.

    Returns whether the process was ended for it, how much time had passed by then, and each wait.
    """
    containment, now_s, failures, waits = subject.Containment(limits), 0.0, 0, []
    for _ in range(times):
        now_s += ran_s
        failed = Uncaught(origin=Origin.PART, where="p", said="X", category=Category.CONNECTION, error=OSError())
        if isinstance(containment.judge(failed, now_s), Fatal):
            return True, now_s, waits
        failures, wait_s = subject.restart(failures, ran_s, limits)
        now_s += wait_s
        waits.append(wait_s)
    return False, now_s, waits


def stay_up_or_end(subject: Any, limits: ContainmentSettings, share: float) -> None:  # noqa: ANN401
    each_s = limits.window / limits.max_errors  # a part that fails more often than this can not stay up
    longest_s = each_s / 2
    ended, after_s, waits = failing(subject, limits, share * 0.49 * each_s, 2 * limits.max_errors + 2)
    assert ended, "a part that can not stay up leaves the process half alive for ever"
    assert after_s < 1.5 * limits.window, "a process was half alive for too long"
    assert waits, "the first failure ended the process"
    assert waits[0] == min(1.0, longest_s)
    assert all(later == min(2 * wait, longest_s) for wait, later in pairwise(waits))
    ended, _, waits = failing(subject, limits, (1.01 + share) * each_s, 100)
    assert not ended, "a part that stays up for long ended the process"
    assert set(waits) == {min(1.0, longest_s)}, "a part that stayed up for long is not started soon"


limits = st.builds(ContainmentSettings, max_errors=st.integers(1, 50), window=st.floats(1.0, 3600.0))
shares = st.floats(0.0, 1.0)


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(happenings)
def test_a_process_lives_on_exactly_as_long_as_nothing_is_missing(steps: list[Step]) -> None:
    live(machine, steps)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(limits, shares)
def test_a_part_stays_up_or_ends_the_process(some: ContainmentSettings, share: float) -> None:
    stay_up_or_end(machine, some, share)


MUTANTS = {
    "a thread may be missing": ("{Origin.MAIN, Origin.THREAD, Origin.VITAL}", "{Origin.MAIN, Origin.VITAL}"),
    "the main thread may be missing": (
        "{Origin.MAIN, Origin.THREAD, Origin.VITAL}",
        "{Origin.THREAD, Origin.VITAL}",
    ),
    "a vital part may be missing": ("{Origin.MAIN, Origin.THREAD, Origin.VITAL}", "{Origin.MAIN, Origin.THREAD}"),
    "every task is missed": ("if uncaught.origin in _LEAVES_A_HOLE:", "if uncaught.origin is not Origin.PART:"),
    "memory is not looked for in groups": ("waiting.extend(each.exceptions)", "pass"),
    "memory is not looked for in causes": ("waiting.append(each.__cause__)", "pass"),
    "memory is not looked for behind errors": ("waiting.append(each.__context__)", "pass"),
    "memory that was found again is out": (" and not each.__suppress_context__", ""),
    "one error fewer": ("> self._settings.max_errors and", ">= self._settings.max_errors and"),
    "one error more": ("maxlen=settings.max_errors + 1)", "maxlen=settings.max_errors + 2)"),
    "errors count for ever": ("now - self._counted[0] <= self._settings.window", "True"),
    "errors count for half the time": ("<= self._settings.window", "<= self._settings.window / 2"),
    "a provider ends the process": ("uncaught.category not in _FAULTS_OF_OTHERS", "True"),
    "whoever sends requests ends the process": ("uncaught.origin is not Origin.REQUEST and ", ""),
    "a database does not count": (
        "        Category.PERMISSION,\n",
        "        Category.PERMISSION, Category.DATABASE,\n",
    ),
    "a part of our own does not count": ("if uncaught.origin is Origin.PART:", "if False:"),
    "told by two counts twice": ("< _ONE_REPORT_S:", "< 0.0:"),
    "what was told before leaves no hole": (
        "        if error is not None and any(",
        "        if told:\n            return None\n        if error is not None and any(",
    ),
    "a hole is told twice": ('ended with {uncaught.said}", told)', 'ended with {uncaught.said}")'),
    "an object counts only once for ever": ("< _ONE_REPORT_S:", "< 1e9:"),
    "an object counts as long as it is quiet in between": (
        "    if now - vars(error).get(_TOLD",
        "    vars(error)[_TOLD], before = now, vars(error).get(_TOLD, float('-inf'))\n"
        "    if now - before < 1.0:\n        return True\n"
        "    if False and now - vars(error).get(_TOLD",
    ),
    "an exit is an error": ("SystemExit | KeyboardInterrupt", "KeyboardInterrupt"),
    "Ctrl-C is an error": ("SystemExit | KeyboardInterrupt", "SystemExit"),
    "the waits do not grow": ("2.0 ** min(failures - 1, 30)", "2.0 ** 0"),
    "the waits grow too far": (
        "longest_s = settings.window / settings.max_errors / 2",
        "longest_s = settings.window",
    ),
    "a part is started again at once": ("_FIRST_WAIT_S: Final = 1.0", "_FIRST_WAIT_S: Final = 0.0"),
    "how long a part ran is forgotten": ("1 if ran_s > longest_s else failures + 1", "failures + 1"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_world_notices_a_machine_that_is_wrong(name: str) -> None:
    wrong = mutant(machine, *MUTANTS[name])

    def lived(steps: list[Step], some: ContainmentSettings, share: float) -> None:
        live(wrong, steps)
        stay_up_or_end(wrong, some, share)

    assert_noticed(lived, happenings, limits, shares)
