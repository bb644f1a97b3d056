"""How is a module tried with one wrong line in it?"""

import inspect
import types


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
