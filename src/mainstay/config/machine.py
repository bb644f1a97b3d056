"""Do the settings fit together?

What no single value can know: a name that refers to another table, a limit below another one, credentials that are
half there. Pure: settings in, problems out.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal

from mainstay.agents import machine as agents
from mainstay.agents.mcp import machine as mcp
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.config.model import Config, has_credentials
from mainstay.errors import ConfigError
from mainstay.models.budget.machine import is_allowed, might_cost
from mainstay.models.budget.model import limits_of
from mainstay.models.model import ModelSettings
from mainstay.settings import address_flaw, is_sendable
from mainstay.supervisor.app import AppSettings
from mainstay.units import format_dollars, format_duration

__all__ = ["ROOT", "contradictions", "of_channels"]

ROOT = "manager"
"""The agent that every message goes to first."""


def contradictions(config: Config) -> Iterator[tuple[str, str]]:
    """The key and what is wrong with it, for everything that does not fit together."""
    for name, app in config.apps.items():
        yield from _app(f"apps.{name}", app)
    for name, model in config.models.items():
        yield from _model(f"models.{name}", model)
    if ROOT in config.agents or not config.service.responder:
        prefixes = {name: server.prefix_for(name) for name, server in config.mcp.items()}
        yield from agents.contradictions(config.agents, config.models, prefixes, ROOT)
    for name, server in config.mcp.items():
        yield from ((f"mcp.{name}.{key}", what) for key, what in mcp.contradictions(name, server))
    if _serves(config):
        yield from of_channels(config)
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
    yield from _budget(config)


def of_channels(config: Config) -> Iterator[tuple[str, str]]:
    """What is wrong with the channels, for who is about to use them."""
    for name, channel in config.bots.items():
        yield from _channel(f"channels.{name}", channel)
    yield from _shared_bots(config.bots)


def _serves(config: Config) -> bool:
    """Whether the service is kept running here; the variables of another bot have the same names."""
    return not config.apps or any(tuple(app.command[:2]) == ("mainstay", "serve") for app in config.apps.values())


def _app(key: str, app: AppSettings) -> Iterator[tuple[str, str]]:
    asked = {"startup": app.startup, "liveness": app.liveness, "readiness": app.readiness}
    for name, probe in asked.items():
        if probe is None:
            continue
        if sum(map(bool, (probe.http, probe.tcp, probe.command))) != 1:
            yield f"{key}.{name}", "asks nothing, or several things at once: write one of http, tcp and command"
        if probe.success_threshold > 1 and name != "readiness":
            yield f"{key}.{name}.success_threshold", "must be 1: only readiness waits for several successes"
    if app.health is not None and not app.health.http:
        yield f"{key}.health.http", 'is missing: write it like "http://127.0.0.1:3000/health"'
    if app.ready == "probe" and app.startup is None and app.readiness is None:
        yield f"{key}.ready", f"is probe, and there is none: write [{key}.readiness] or [{key}.startup]"


def _model(key: str, model: ModelSettings) -> Iterator[tuple[str, str]]:
    if model.provider == "sandbox":
        return
    if flaw := address_flaw(model.base_url, "https://openrouter.ai/api/v1", "api_key"):
        yield f"{key}.base_url", flaw
    if not is_sendable(model.api_key.reveal()):
        yield f"{key}.api_key", "this key holds a character that no request can: only printable ASCII is allowed"
    if not model.model:
        yield f"{key}.model", "is missing: the endpoint's name of the model"
    if model.first_token_timeout > model.total_timeout:
        limit = format_duration(model.total_timeout)
        yield f"{key}.first_token_timeout", f"is longer than total_timeout, {limit}"


def _channel(key: str, channel: FeishuSettings) -> Iterator[tuple[str, str]]:
    if not has_credentials(channel):
        return
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
    window_s = config.turns.retry_window
    kept = {f"channels.{name}.keep": channel.keep for name, channel in config.bots.items()}
    for key, kept_s in ({"inbox.retention": config.inbox.retention} | kept).items():
        if window_s > kept_s:
            what = f"is longer than {key}, {format_duration(kept_s)}: what is to be tried again would be forgotten"
            yield "turns.retry_window", what


def _budget(config: Config) -> Iterator[tuple[str, str]]:
    """A budget that is not held is worse than none: somebody relies on it."""
    limits = limits_of(config.budget, config.models)
    if config.service.responder:
        for key in _budget_keys(config):
            yield key, "can not be held for an agent of your own (service.responder): take it out"
        return
    asked = {name for agent in config.agents.values() for name in agent.models}
    for name, model in config.models.items():
        if model.provider != "sandbox":
            whole = [limit for scope, _, limit in limits.of(name, "") if scope == "model" or name in asked]
            yield from _affordable(f"models.{name}", model, min(whole, default=None))
    for agent, settings in config.agents.items():
        for name in settings.models:
            chosen = config.models.get(name)
            if chosen and chosen.provider != "sandbox" and not is_allowed(chosen.model, config.budget.allow):
                yield (
                    f"agents.{agent}.models",
                    f"{name} is {chosen.model}, which budget.allow does not have: add it there, or take {name} out",
                )


def _budget_keys(config: Config) -> Iterator[str]:
    """Those that were set."""
    yield from (
        f"budget.{key}" for key in ("per_day", "per_chat_per_day") if getattr(config.budget, key) is not None
    )
    if config.budget.allow:
        yield "budget.allow"
    yield from (
        f"models.{name}.budget_per_day" for name, each in config.models.items() if each.budget_per_day is not None
    )


def _affordable(key: str, model: ModelSettings, limit: Decimal | None) -> Iterator[tuple[str, str]]:
    """Whether spending on this model can be held within its narrowest limit, and it be asked at all."""
    if limit is None:
        return
    if model.price is None:
        yield (
            f"{key}.price",
            "is missing, and without it no budget can be held; for a free model write "
            'price = { input = "0", output = "0" }',
        )
        return
    needed = might_cost(model, 0)
    if 0 < limit < needed:
        yield (
            f"{key}.max_output_tokens",
            f"one answer might cost {format_dollars(needed)} USD, more than its budget of {format_dollars(limit)}, "
            "so that it would never be asked: allow fewer tokens, or more dollars",
        )
