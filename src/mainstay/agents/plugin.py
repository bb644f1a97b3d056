"""Which responder did the user plug in?

``responder = "package.module:factory"``: the factory takes no arguments and returns an object with a ``name`` and a
``respond`` method, as `mainstay.messages.Responder` describes.
"""

import importlib
import importlib.util
import inspect
from typing import cast

from mainstay.errors import ConfigError
from mainstay.messages import Responder

__all__ = ["find", "load"]


def find(spec: str, where: str = "service.responder") -> None:
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


def load(spec: str, where: str = "service.responder") -> Responder:
    """The responder that this factory makes.

    Args:
        spec: ``"package.module:factory"``.
        where: the setting, for the message.

    Raises:
        ConfigError: if it cannot be imported or called, or made something else.
    """
    module_name, _, name = spec.partition(":")
    if not module_name or not name:
        raise ConfigError(f'{where}: {spec!r} is not a factory: write it like "package.module:factory"')
    try:
        factory = getattr(importlib.import_module(module_name), name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{where}: {spec}: no module {error.name!r} can be imported from here") from error
    except AttributeError as error:
        raise ConfigError(f"{where}: {module_name} has no {name!r}") from error
    except Exception as error:  # a user's module may raise anything
        raise ConfigError(f"{where}: importing {module_name} failed: {type(error).__name__}: {error}") from error
    if not callable(factory):
        raise ConfigError(f"{where}: {spec} is a {type(factory).__name__}, not a factory")
    try:
        made = factory()
    except Exception as error:
        raise ConfigError(f"{where}: {spec}() failed: {type(error).__name__}: {error}") from error
    problem = _problem(made)
    if problem:
        raise ConfigError(f"{where}: {spec}() made a {type(made).__name__} {problem}")
    return cast("Responder", made)


def _problem(made: object) -> str:
    if not isinstance(getattr(made, "name", None), str):
        return "without a name: give it the attribute `name`"
    respond = getattr(made, "respond", None)
    if not inspect.isasyncgenfunction(respond):
        return "without answers: its method `respond` must be an async generator (async def, with yield)"
    return ""
