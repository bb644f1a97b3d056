"""``mainstay init``: write files to begin with."""

import argparse
import os
from pathlib import Path
from typing import Final

from mainstay.config.load import FILE_NAME

__all__ = ["DOTENV", "TOML", "add", "run"]

TOML: Final = """\
# The configuration of one agent service. Lines that begin with "#" show a default or an example.
# What holds, and where it comes from: `mainstay config show`. All settings: docs/reference/settings.md.
# Precedence: flag, environment, .env, this file, default. A value "env:NAME" is taken from that variable.

[service]
name = "feishu-agent"
host = "127.0.0.1"
port = 3000
# public_hosts = ["bot.example.com"]    # names under which a proxy or tunnel reaches the service
# drain_timeout = "30s"                 # for running answers when the service stops
# turn_timeout = "180s"                 # for one message, fallbacks included

# What `mainstay start` keeps running: the service, and any other program in a table of its own.
[apps.feishu-agent]
command = "mainstay serve"
ready = "notify"                        # it says so itself
watchdog = "30s"                        # an event loop that is silent for so long is hung
stop_timeout = "35s"                    # a little more than service.drain_timeout
memory_limit = "500MiB"
max_restarts = 5                        # in a row, each after less than min_uptime; then it is given up
min_uptime = "10s"
restart_delay = "5s"                    # the first delay; those in a row grow
# restart_intensity = 20                # so many within restart_period, whatever the uptime
# restart_period = "1h"

# Without models, the sandbox's are used: they answer from a script, and cost nothing. Writing one of these tables
# replaces the sandbox's models.
# [models.primary]
# provider = "openai"                   # any OpenAI-compatible endpoint
# base_url = "https://openrouter.ai/api/v1"
# model = "kwaipilot/kat-coder-pro:free"
# api_key = "env:OPENROUTER_API_KEY"
# first_token_timeout = "20s"
# idle_timeout = "30s"
# total_timeout = "120s"
# price = { input = "0", output = "0" } # US dollars per million tokens, in quotes

# [models.fallback]
# provider = "openai"
# base_url = "https://openrouter.ai/api/v1"
# model = "google/gemini-2.5-flash-lite"
# api_key = "env:OPENROUTER_API_KEY"
# price = { input = "0.10", output = "0.40" }

# [budget]
# per_day = "5.00"                      # US dollars; all models that are asked need a price then
# allow = ["kwaipilot/*:free", "google/gemini-2.5-flash-lite"]

# Every message goes to the manager, who answers or hands over to one of the specialists.
# [agents.manager]
# models = ["primary", "fallback"]      # asked in this order
# instructions = "You are a helpful colleague. Answer briefly, in the language of the question."
# specialists = ["okr"]

# [agents.okr]
# description = "Objectives and key results: writing, reviewing and tracking them."
# instructions = "You review objectives and key results."
# match = ["OKR", "key result"]         # hands over without asking a model

# Without an app_id the bot lives in the sandbox's Feishu. Put the values into .env.
# [channels.feishu]
# kind = "feishu"
# mode = "subscription"                 # a long connection; with an encrypt_key the default is a webhook
# app_id = "env:FEISHU_APP_ID"
# app_secret = "env:FEISHU_APP_SECRET"
# encrypt_key = "env:FEISHU_ENCRYPT_KEY"
# verification_token = "env:FEISHU_VERIFICATION_TOKEN"

# [storage]
# url = "sqlite:///.mainstay/mainstay.db"

# [logs]
# level = "info"
# format = "auto"                       # text on a terminal, json elsewhere
"""

DOTENV: Final = """\
# Secrets of this installation: keep this file out of version control. A variable of the environment wins over it.
# OPENROUTER_API_KEY=
# FEISHU_APP_ID=
# FEISHU_APP_SECRET=
# FEISHU_ENCRYPT_KEY=
# FEISHU_VERIFICATION_TOKEN=
"""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "init", help="write a commented mainstay.toml and .env; existing files stay as they are"
    )
    parser.add_argument("directory", type=Path, nargs="?", default=Path(), help="where; here if absent")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write what is not there yet."""
    args.directory.mkdir(parents=True, exist_ok=True)
    for name, content in ((FILE_NAME, TOML), (".env", DOTENV)):
        print(_write(args.directory / name, content))
    there = "" if args.directory == Path() else f"cd {args.directory}, "
    print(
        f"next: {there}mainstay run; what is missing says `mainstay doctor`; "
        "before version control: add .env and .mainstay to .gitignore"
    )
    return 0


def _write(path: Path, content: str) -> str:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return f"{path} exists already; left as it is"
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    return f"written: {path}"
