"""Mainstay: the production runtime for LLM agent services.

What a user may import is named in ``__all__``; a name is loaded when it is first used, so that ``import mainstay``
costs nothing and needs nothing installed but what is used::

    from mainstay import HealthMonitor

    monitor = HealthMonitor()
    with monitor.call("manager"):
        ...
    app.mount("/", monitor.asgi())

The house, from the roof to the ground; a room imports only what lies below it:

========================  ====================================================================
``service``               start reading here: how is one agent service put together?
``schema``                which rooms own tables, and in which version?
``config``                what did the user ask for?
``cli``                   what can be typed?
``web``                   what is served, to whom?
``turns``                 which message is being worked on now?
``channels``              how does this platform talk?
``agents``                how does a message become an answer?
``health``                how well is the service?
``containment``           what becomes of an error that nobody caught?
``sandbox``               what if it fails? (a platform and a model that misbehave on command)
``recovery``              what is done about one failed call?
``models``                which model answers, at what price?
``inbox``                 which accepted messages are not finished yet?
``memory``                what was said before?
``storage``               where is it kept?
``logs``                  how is it written down?
``messages events bus``   the ground, which every room stands on: what a channel and an agent say
``checks settings errors`` to each other, what can happen, how states and settings are declared,
``units clock asgi``      what can go wrong, what time it is, whether a process
``alive``                 is still there
``testing``               the fakes that the project's own tests use, for users' tests too
========================  ====================================================================

Inside a room ``model.py`` holds its data and settings, ``machine.py`` its decisions (no I/O, no clock), and the
other modules are named by what they touch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainstay.checks import Check, Condition
    from mainstay.errors import Category, ConfigError, MainstayError
    from mainstay.health.model import HealthSettings
    from mainstay.health.monitor import HealthMonitor, health_monitor
    from mainstay.messages import Finished, Message, Outcome, Responder, TextAppended, Turn

__all__ = [
    "Category",
    "Check",
    "Condition",
    "ConfigError",
    "Finished",
    "HealthMonitor",
    "HealthSettings",
    "MainstayError",
    "Message",
    "Outcome",
    "Responder",
    "TextAppended",
    "Turn",
    "health_monitor",
]

_HOMES = {
    "Category": "mainstay.errors",
    "Check": "mainstay.checks",
    "Condition": "mainstay.checks",
    "ConfigError": "mainstay.errors",
    "Finished": "mainstay.messages",
    "HealthMonitor": "mainstay.health.monitor",
    "HealthSettings": "mainstay.health.model",
    "MainstayError": "mainstay.errors",
    "Message": "mainstay.messages",
    "Outcome": "mainstay.messages",
    "Responder": "mainstay.messages",
    "TextAppended": "mainstay.messages",
    "Turn": "mainstay.messages",
    "health_monitor": "mainstay.health.monitor",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'mainstay' has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
