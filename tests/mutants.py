"""How is a module tried with one wrong line in it?"""

import inspect
import types
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy


def mutant(
    module: types.ModuleType, before: str, after: str, *, also: tuple[tuple[str, str], ...] = (), **instead: object
) -> types.ModuleType:
    """The module with that change (and others), and with other things under names that it imports."""
    source = inspect.getsource(module)
    for right, bad in ((before, after), *also):
        assert source.count(right) == 1, f"{right!r} stands {source.count(right)} times in {module.__name__}"
        source = source.replace(right, bad)
    wrong = types.ModuleType(f"{module.__name__}_mutant")
    exec(compile(source, f"{module.__name__} mutant", "exec"), wrong.__dict__)
    wrong.__dict__.update(instead)
    return wrong


def assert_noticed(
    lived: Callable[..., None],
    *drawn: SearchStrategy,
    examples: int = 1500,
    by: type[Exception] | tuple[type[Exception], ...] = AssertionError,
) -> None:
    """Of so many lives in a world with a mutant one fails: the same lives each time, and the first is enough.

    They follow from a number and not from the test's own source, so that a change of its words changes no life.
    """
    search = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises(by):
        seed(0)(search(given(*drawn)(lived)))()
