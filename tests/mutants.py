"""How is a module tried with one wrong line in it?"""

import inspect
import types
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy


def mutant(module: types.ModuleType, before: str, after: str, **instead: object) -> types.ModuleType:
    """The module with that change, and with other things under names that it imports."""
    source = inspect.getsource(module)
    assert source.count(before) == 1, f"{before!r} stands {source.count(before)} times in {module.__name__}"
    wrong = types.ModuleType(f"{module.__name__}_mutant")
    exec(compile(source.replace(before, after), f"{module.__name__} mutant", "exec"), wrong.__dict__)
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
