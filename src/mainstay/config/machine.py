"""Do the settings fit together?

What no single value can know: a name that refers to another table, a limit below another one, credentials that are
half there. Pure: settings in, problems out.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from mainstay.agents import machine as agents
from mainstay.agents.mcp import machine as mcp
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.config.model import Config, has_credentials
from mainstay.errors import ConfigError
from mainstay.models.model import ModelSettings
from mainstay.units import format_duration

__all__ = ["ROOT", "contradictions"]

ROOT = "manager"
"""The agent that every message goes to first."""


def contradictions(config: Config) -> Iterator[tuple[str, str]]:
    """The key and what is wrong with it, for everything that does not fit together."""
    for name, model in config.models.items():
        yield from _model(f"models.{name}", model)
    if ROOT in config.agents or not config.service.responder:
        prefixes = {name: server.prefix_for(name) for name, server in config.mcp.items()}
        yield from agents.contradictions(config.agents, config.models, prefixes, ROOT)
    for name, server in config.mcp.items():
        yield from ((f"mcp.{name}.{key}", what) for key, what in mcp.contradictions(name, server))
    for name, channel in config.channels.items():
        yield from _channel(f"channels.{name}", channel)
    yield from _shared_bots(config.channels)
    if not config.channels:
        yield "channels", "there is none, so nobody could speak to the service; add [channels.feishu]"
    if config.sandbox.enabled == "false" and config.sandbox_users:
        yield (
            "sandbox.enabled",
            f"is false, and only the sandbox could serve {', '.join(config.sandbox_users)}: "
            'give them credentials, or write enabled = "auto"',
        )
    if not config.storage.url.startswith("sqlite:///"):
        yield (
            "storage.url",
            'this version keeps everything in SQLite; write it like "sqlite:///.mainstay/mainstay.db"',
        )
    yield from _limits(config)


def _model(key: str, model: ModelSettings) -> Iterator[tuple[str, str]]:
    if model.provider == "sandbox":
        return
    address = urlsplit(model.base_url)
    if address.scheme not in ("http", "https") or not address.hostname:
        yield f"{key}.base_url", 'is not an address; write it like "https://openrouter.ai/api/v1"'
    if address.password:
        yield f"{key}.base_url", "holds a password; use api_key"
    if not model.model:
        yield f"{key}.model", "is missing: the endpoint's name of the model"
    if model.first_token_timeout > model.total_timeout:
        limit = format_duration(model.total_timeout)
        yield f"{key}.first_token_timeout", f"is longer than total_timeout, {limit}"


def _channel(key: str, channel: FeishuSettings) -> Iterator[tuple[str, str]]:
    if not has_credentials(channel):
        return
    if channel.mode == "subscription":
        yield (
            f"{key}.mode",
            'this version has no long connection yet; write mode = "webhook" (FEISHU_SUBSCRIPTION_MODE=false) '
            "and let the platform call /webhook/event",
        )
    try:
        channel.validate(key.partition(".")[2])
    except ConfigError as error:
        for problem in error.problems:
            yield key, problem.removeprefix(f"{key}: ")


def _shared_bots(channels: Mapping[str, FeishuSettings]) -> Iterator[tuple[str, str]]:
    for app_id, count in Counter(channel.app_id for channel in channels.values() if channel.app_id).items():
        if count > 1:
            names = [name for name, channel in channels.items() if channel.app_id == app_id]
            yield (
                f"channels.{names[-1]}.app_id",
                f"{app_id} is the bot of {' and '.join(names)}: one channel per bot",
            )


def _limits(config: Config) -> Iterator[tuple[str, str]]:
    health, memory = config.health, config.memory
    if health.degraded_error_rate > health.unhealthy_error_rate:
        yield "health.degraded_error_rate", f"is above unhealthy_error_rate, {health.unhealthy_error_rate:g}"
    if health.window > health.widest_window:
        yield "health.window", f"is longer than widest_window, {format_duration(health.widest_window)}"
    if memory.kept_per_lane < memory.history:
        yield "memory.kept_per_lane", f"is below history, {memory.history}"
