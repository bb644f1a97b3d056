"""Which code of the user's own was meant by ``"package.module:factory"``?

Agents and channels are plugged in the same way: a setting names a factory, which is found before the service
listens, and imported when it is needed.
"""

import importlib
import importlib.util
from collections.abc import Callable

from mainstay.errors import ConfigError

__all__ = ["find", "made"]


def find(spec: str, where: str) -> None:
    """Look for the factory's module without importing it: a misspelt name is told before the service listens.

    Raises:
        ConfigError: if there is no such module.
    """
    module_name = spec.partition(":")[0]
    try:
        found = importlib.util.find_spec(module_name)
    except (ImportError, ValueError):  # a package above it is missing, or has no place of its own
        found = None
    if found is None:
        raise ConfigError(f"{where}: {spec}: no module {module_name!r} can be imported from here")


def made(spec: str, where: str, *given: object) -> object:
    """What the factory makes of what it is given.

    Args:
        spec: ``"package.module:factory"``.
        where: the setting, for the message.
        given: the factory's arguments.

    Raises:
        ConfigError: if it can not be imported or called, or raises.
    """
    make = _factory(spec, where)
    try:
        return make(*given)
    except ConfigError:  # says itself what is wrong
        raise
    except Exception as error:
        raise ConfigError(f"{where}: {spec}() failed: {type(error).__name__}: {error}") from error


def _factory(spec: str, where: str) -> Callable[..., object]:
    module_name, _, name = spec.partition(":")
    if not module_name or not name:
        raise ConfigError(f'{where}: {spec!r} is not a factory: write it like "package.module:factory"')
    try:
        found: object = getattr(importlib.import_module(module_name), name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{where}: {spec}: no module {error.name!r} can be imported from here") from error
    except AttributeError as error:
        raise ConfigError(f"{where}: {module_name} has no {name!r}") from error
    except Exception as error:  # a user's module may raise anything
        raise ConfigError(f"{where}: importing {module_name} failed: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ConfigError(f"{where}: {spec} is a {type(found).__name__}, not a factory")
    return found
