"""Which responder did the user plug in?

``responder = "package.module:factory"``: the factory takes no arguments and returns an object with a ``name`` and a
``respond`` method, as `mainstay.messages.Responder` describes.
"""

import inspect
from typing import cast

from mainstay.errors import ConfigError
from mainstay.messages import Responder
from mainstay.plugin import made

__all__ = ["load"]


def load(spec: str, where: str = "service.responder") -> Responder:
    """The responder that this factory makes.

    Args:
        spec: ``"package.module:factory"``.
        where: the setting, for the message.

    Raises:
        ConfigError: if it cannot be imported or called, or made something else.
    """
    responder = made(spec, where)
    problem = _problem(responder)
    if problem:
        raise ConfigError(f"{where}: {spec}() made a {type(responder).__name__} {problem}")
    return cast("Responder", responder)


def _problem(made: object) -> str:
    if not isinstance(getattr(made, "name", None), str):
        return "without a name: give it the attribute `name`"
    respond = getattr(made, "respond", None)
    if not inspect.isasyncgenfunction(respond):
        return "without answers: its method `respond` must be an async generator (async def, with yield)"
    return ""
