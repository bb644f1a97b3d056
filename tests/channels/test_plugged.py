"""A channel of one's own is made like those that come with Mainstay, or its author is told why not."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainstay.asgi import Mount, Receive, Scope, Send
from mainstay.bus import Bus
from mainstay.channels.kinds import KINDS, settings_of
from mainstay.channels.model import PluggedSettings
from mainstay.channels.plugged import made
from mainstay.channels.seam import Service
from mainstay.clock import SystemClock
from mainstay.config.load import load
from mainstay.errors import ConfigError
from mainstay.guard import Unguarded
from mainstay.health.http import Lifecycle
from mainstay.health.monitor import HealthMonitor
from mainstay.wiring import web

GOOD = """
class Channel:
    mounts = ()

    def __init__(self, name, settings, service):
        self.given = name, settings.text("key"), service

    async def run(self): ...

    def replier(self, message, turn_id, attempt): ...

    def checks(self):
        return []
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module of the user's, to be written by the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "their_channel.py"
    sys.modules.pop("their_channel", None)


@pytest.fixture
def service() -> Service:
    async def nothing(*_: object) -> None: ...

    return Service(
        storage=None,
        bus=Bus(),
        clock=SystemClock(),
        http=None,
        guard=Unguarded(),
        accept=nothing,
        cancel=nothing,
        stop=nothing,
        find=nothing,
        unanswered=nothing,
        depth=nothing,
        answered_before=nothing,
        suggest=nothing,
        retry_window_s=60.0,
    )


def test_the_factory_is_given_name_settings_and_the_service(module: Path, service: Service) -> None:
    module.write_text(GOOD)
    settings = PluggedSettings(kind="their_channel:Channel", options={"key": "value"})
    assert made("slack", settings, service).given == ("slack", "value", service)


def test_a_service_without_a_bot_of_a_kind_loads_only_what_can_be_set_about_one() -> None:
    code = "import sys, mainstay.service; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = [each for each in done.stdout.split() if each.startswith("mainstay.channels.feishu")]
    assert {each.rpartition(".")[2] for each in loaded} == {"feishu", "connection", "model"}


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        (GOOD, "no_such_module:Channel", "channels.slack.kind: no_such_module:Channel: no module 'no_such_module'"),
        (GOOD, "their_channel:Other", "channels.slack.kind: their_channel has no 'Other'"),
        (GOOD, "their_channel:Channel", "channels.slack: options.key: is missing, or empty"),
        ("x = 1", "their_channel:x", "channels.slack.kind: their_channel:x is a int, not a factory"),
        ("def make(n, s, v): return n", "their_channel:make", "made a str without mounts, run, replier, checks"),
        ("def make(): ...", "their_channel:make", "channels.slack.kind: their_channel:make() failed: TypeError"),
        ("1/0", "their_channel:make", "importing their_channel failed: ZeroDivisionError"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    module: Path, service: Service, source: str, kind: str, said: str
) -> None:
    module.write_text(source)
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        made("slack", PluggedSettings(kind=kind), service)
    assert "\n" not in str(caught.value)


async def nobody(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("nobody asks")


@pytest.mark.parametrize("path", ["/", "/health", "/chat"])
def test_a_path_that_is_taken_is_told(module: Path, service: Service, tmp_path: Path, path: str) -> None:
    config = load(directory=tmp_path, environ={})
    console = made("console", KINDS["console"].settings(), service)
    module.write_text(GOOD)
    theirs = made("slack", PluggedSettings(kind="their_channel:Channel", options={"key": "x"}), service)
    theirs.mounts = [Mount(path=path, app=nobody)]
    channels = {"console": console, "slack": theirs}
    with pytest.raises(ConfigError, match=rf"channels\.slack: {path} is answered by something else"):
        web(config, HealthMonitor(), Lifecycle(), channels, lambda *_: None, sandbox=False)
    theirs.mounts = [Mount(path="/slack", app=nobody)]
    web(config, HealthMonitor(), Lifecycle(), channels, lambda *_: None, sandbox=False)


def test_the_kinds_that_come_with_mainstay_are_made_in_the_same_way(service: Service) -> None:
    with pytest.raises(ConfigError, match=r"channels\.feishu: app_id is missing"):
        made("feishu", KINDS["feishu"].settings(), service)
    assert [mount.path for mount in made("console", KINDS["console"].settings(), service).mounts] == ["/chat"]
    assert settings_of("their.module:factory") is PluggedSettings
    assert settings_of("slack") is None
