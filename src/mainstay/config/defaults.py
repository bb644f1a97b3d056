"""What holds when the user has said nothing?

A service that runs: without a file and without credentials both models and the Feishu platform are the sandbox's.
A section that the user writes replaces the embedded one whole, so that nobody has to guess what was mixed in.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from mainstay.config.machine import ROOT
from mainstay.config.model import Config
from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.probes.model import HealthSettings

__all__ = ["OPENROUTER_KEY", "SERVICE", "complete", "tables"]

OPENROUTER_KEY: Final = "OPENROUTER_API_KEY"
SERVICE: Final = "feishu-agent"
_OPENROUTER: Final = {
    "provider": "openai",
    "base_url": "https://openrouter.ai/api/v1",
    "api_key": f"env:{OPENROUTER_KEY}",
}
_EMBEDDED: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "apps": {
        SERVICE: {
            "command": "mainstay serve",
            "ready": "notify",
            "watchdog": "30s",
            "stop_timeout": "35s",
            "memory_limit": "500MiB",
            "max_restarts": 5,
            "min_uptime": "10s",
            "restart_delay": "5s",
        }
    },
    "models": {"primary": {"provider": "sandbox"}, "fallback": {"provider": "sandbox"}},
    "agents": {
        ROOT: {
            "instructions": "You are a helpful colleague in a team's chat. Answer briefly, in the language of the "
            "question. Hand over to a specialist when the question is theirs.",
            "specialists": ["okr"],
        },
        "okr": {
            "description": "Objectives and key results: writing, reviewing and tracking them.",
            "instructions": "You review objectives and key results. Say what is good, what can not be measured, "
            "and how to put it better. Answer in the language of the question.",
            "match": ["OKR", "OKRs", "key result", "key results", "关键结果"],
        },
    },
    "mcp": {},
    "channels": {"feishu": {}, "console": {}},
}
_WITH_OPENROUTER: Final = {
    "primary": {**_OPENROUTER, "model": "kwaipilot/kat-coder-pro:free"},
    "fallback": {**_OPENROUTER, "model": "google/gemini-2.5-flash-lite"},
}
_SERVE: Final = ("mainstay", "serve")
_SQLITE: Final = "sqlite:///"


def tables(
    section: str, written: Mapping[str, Any] | None, variables: Mapping[str, object]
) -> dict[str, dict[str, Any]]:
    """The embedded tables of a section such as ``models``; none if the file has that section.

    But for the console, which is there beside whatever channels the file has: a service without it could not be
    spoken to by who operates it.
    """
    if section == "channels" and written and not any(_is_console(name, each) for name, each in written.items()):
        return {"console": {}}
    if written is not None:
        return {}
    if section == "models" and OPENROUTER_KEY in variables:
        return _WITH_OPENROUTER
    return _EMBEDDED[section]


def _is_console(name: str, table: object) -> bool:
    """Also whatever else takes its name."""
    return name == "console" or (isinstance(table, Mapping) and table.get("kind") == "console")


def complete(config: Config) -> Config:
    """The defaults that depend on other settings.

    The Manager's chain, the database's place, how events arrive, how an app is ready, where the service is reached
    and tells its health.
    """
    agents = dict(config.agents)
    if ROOT in agents and not agents[ROOT].models:
        agents[ROOT] = replace(agents[ROOT], models=tuple(config.models))
    bots = {
        name: replace(channel, mode="subscription" if channel.by_connection else "webhook")
        for name, channel in config.bots.items()
    }
    storage = replace(config.storage, url=_absolute(config))
    apps = {name: _app(name, app, config) for name, app in config.apps.items()}
    return replace(config, apps=apps, agents=agents, channels={**config.channels, **bots}, storage=storage)


def _app(name: str, app: AppSettings, config: Config) -> AppSettings:
    """The service of this configuration tells its health where it listens.

    That address is opened for it, so that it can be reloaded without anybody being refused. One with a
    directory of its own has another configuration there. Whoever writes a probe that says when an app is ready
    wants to wait for it, as long as that may take.
    """
    if tuple(app.command) == _SERVE and not app.cwd:
        host, port = config.service.host, config.service.port
        if config.origin(f"apps.{name}.listen") == "default":
            app = replace(app, listen=(f"{f'[{host}]' if ':' in host else host}:{port}",))
        if app.health is None and port:
            app = replace(app, health=HealthSettings(http=f"{config.service.url}/health"))
    if config.origin(f"apps.{name}.ready") == "default" and (app.startup or app.readiness):
        app = replace(app, ready="probe")
    if app.startup and app.ready == "probe" and config.origin(f"apps.{name}.ready_timeout") == "default":
        may_fail_s = app.startup.initial_delay + app.startup.period * app.startup.failure_threshold
        app = replace(app, ready_timeout=app.ready_timeout + may_fail_s)
    return app


def _absolute(config: Config) -> str:
    """The database's URL, whatever directory a command is typed in."""
    if config.origin("storage.url") == "default":
        return f"{_SQLITE}{config.home / 'mainstay.db'}"
    url = config.storage.url
    path = url.removeprefix(_SQLITE)
    if path == url or not path or path.startswith((":", "file:")):
        return url
    return f"{_SQLITE}{config.directory / Path(path).expanduser()}"
