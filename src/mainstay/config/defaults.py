"""What holds when the user has said nothing?

A service that runs: without a file and without credentials both models and the Feishu platform are the sandbox's.
A section that the user writes replaces the embedded one whole, so that nobody has to guess what was mixed in.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from mainstay.config.machine import ROOT
from mainstay.config.model import Config, has_credentials

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
    "channels": {"feishu": {}},
}
_WITH_OPENROUTER: Final = {
    "primary": {**_OPENROUTER, "model": "kwaipilot/kat-coder-pro:free"},
    "fallback": {**_OPENROUTER, "model": "google/gemini-2.5-flash-lite"},
}
_SQLITE: Final = "sqlite:///"


def tables(
    section: str, written: Mapping[str, Any] | None, variables: Mapping[str, object]
) -> dict[str, dict[str, Any]]:
    """The embedded tables of a section such as ``models``; none if the file has that section."""
    if written is not None:
        return {}
    if section == "models" and OPENROUTER_KEY in variables:
        return _WITH_OPENROUTER
    return _EMBEDDED[section]


def complete(config: Config, directory: Path) -> Config:
    """The defaults that depend on other settings: the Manager's chain, the database's place, the sandbox's mode."""
    agents = dict(config.agents)
    if ROOT in agents and not agents[ROOT].models:
        agents[ROOT] = replace(agents[ROOT], models=tuple(config.models))
    channels = {
        name: channel if has_credentials(channel) else replace(channel, mode="webhook")
        for name, channel in config.channels.items()
    }
    storage = replace(config.storage, url=_absolute(config, directory))
    return replace(config, agents=agents, channels=channels, storage=storage)


def _absolute(config: Config, directory: Path) -> str:
    """The database's URL, whatever directory a command is typed in."""
    if config.origin("storage.url") == "default":
        return f"{_SQLITE}{config.home / 'mainstay.db'}"
    url = config.storage.url
    path = url.removeprefix(_SQLITE)
    if path == url or not path or path.startswith((":", "file:")):
        return url
    return f"{_SQLITE}{directory / Path(path).expanduser()}"
