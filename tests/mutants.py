"""How is a module tried with one wrong line in it?"""

import inspect
import types


def mutant(module: types.ModuleType, before: str, after: str, **instead: object) -> types.ModuleType:
    """The module with that change, and with other things under names that it imports."""
    source = inspect.getsource(module)
    assert source.count(before) == 1, f"{before!r} stands {source.count(before)} times in {module.__name__}"
    wrong = types.ModuleType(f"{module.__name__}_mutant")
    exec(compile(source.replace(before, after), f"{module.__name__} mutant", "exec"), wrong.__dict__)
    wrong.__dict__.update(instead)
    return wrong
