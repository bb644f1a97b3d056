"""How is a channel made, whatever its kind?"""

from typing import cast

from mainstay.channels.kinds import KINDS, ChannelSettings
from mainstay.channels.seam import Channel, Service
from mainstay.errors import ConfigError
from mainstay.plugin import made as made_by

__all__ = ["made"]


def made(name: str, settings: ChannelSettings, service: Service) -> Channel:
    """The channel of this name.

    Raises:
        ConfigError: if its settings do not fit, or its factory can not be imported or made something else.
    """
    spec = KINDS[settings.kind].factory if settings.kind in KINDS else settings.kind
    where = f"channels.{name}.kind"
    try:
        channel = made_by(spec, where, name, settings, service)
    except ConfigError as error:
        raise ConfigError(*(_with(f"channels.{name}", problem) for problem in error.problems)) from error
    missing = [each for each in ("mounts", "run", "replier", "checks") if not hasattr(channel, each)]
    if missing:
        raise ConfigError(
            f"{where}: {spec}() made a {type(channel).__name__} without {', '.join(missing)}: "
            "see mainstay.channels.seam.Channel"
        )
    return cast("Channel", channel)


def _with(where: str, problem: str) -> str:
    return problem if problem.startswith(where) else f"{where}: {problem}"
