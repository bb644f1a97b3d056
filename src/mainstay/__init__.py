"""Mainstay: the production runtime for LLM agent services.

What a user may import is named in ``__all__``; a name is loaded when it is first used, so that ``import mainstay``
costs nothing and needs nothing installed but what is used::

    from mainstay import HealthMonitor

    monitor = HealthMonitor()
    with monitor.call("manager"):
        ...
    app.mount("/", monitor.asgi())

    from mainstay import Candidate, Fallback

    answer = Fallback([Candidate("primary", ask_primary), Candidate("fallback", ask_fallback)])
    text = await answer("what is a lease?")

The house, from the roof to the ground; a room imports only what lies below it:

========================  ====================================================================
``service``               start reading here: how does one agent service live?
``wiring``                how are the rooms joined?
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
``supervisor``            are the processes as asked?
``deploy``                how does it come from PM2, or go to systemd?
``recovery``              what is done about one failed call?
``models``                which model answers, at what price?
``inbox``                 which accepted messages are not finished yet?
``memory``                what was said before?
``storage``               where is it kept?
``logs``                  how is it written down?
``messages events bus``   the ground, which every room stands on: what a channel and an agent say
``checks guard settings`` to each other, what can happen, how states and settings are declared,
``errors units clock``    whether a call may be made, what can go wrong, what time it is,
``asgi alive notify``     whether a process is still there, how it tells that it is well,
``plugin certificates``   which code of the user's own was meant, whose certificates are trusted
``testing``               the fakes that the project's own tests use, for users' tests too
========================  ====================================================================

Inside a room ``model.py`` holds its data and settings, ``machine.py`` its decisions (no I/O, no clock), and the
other modules are named by what they touch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainstay.errors import Category, MainstayError
    from mainstay.health.monitor import HealthMonitor, health_monitor
    from mainstay.messages import Finished, Message, Outcome, Responder, TextAppended, Turn
    from mainstay.recovery.breaker.permits import Breaker
    from mainstay.recovery.call.candidate import Candidate
    from mainstay.recovery.call.fallback import Fallback
    from mainstay.recovery.classify import classify
    from mainstay.recovery.transport.guard import GuardTransport

__all__ = [
    "Breaker",
    "Candidate",
    "Category",
    "Fallback",
    "Finished",
    "GuardTransport",
    "HealthMonitor",
    "MainstayError",
    "Message",
    "Outcome",
    "Responder",
    "TextAppended",
    "Turn",
    "classify",
    "health_monitor",
]

_HOMES = {
    "Breaker": "mainstay.recovery.breaker.permits",
    "Candidate": "mainstay.recovery.call.candidate",
    "Category": "mainstay.errors",
    "Fallback": "mainstay.recovery.call.fallback",
    "Finished": "mainstay.messages",
    "GuardTransport": "mainstay.recovery.transport.guard",
    "HealthMonitor": "mainstay.health.monitor",
    "MainstayError": "mainstay.errors",
    "Message": "mainstay.messages",
    "Outcome": "mainstay.messages",
    "Responder": "mainstay.messages",
    "TextAppended": "mainstay.messages",
    "Turn": "mainstay.messages",
    "classify": "mainstay.recovery.classify",
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
