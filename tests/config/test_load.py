"""Which value wins, and where did it come from?"""

import json
from pathlib import Path

import pytest

from mainstay.channels.console.model import ConsoleSettings
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.channels.model import PluggedSettings
from mainstay.config.load import load
from mainstay.config.show import settings
from mainstay.errors import ConfigError


def test_nothing_at_all_is_a_service_in_the_sandbox(project, tmp_path: Path) -> None:
    config = project()
    assert (config.service.host, config.service.port) == ("127.0.0.1", 3000)
    assert [model.provider for model in config.models.values()] == ["sandbox", "sandbox"]
    assert config.agents["manager"].models == ("primary", "fallback")
    assert config.agents["manager"].specialists == ("okr",)
    assert config.channels["feishu"].mode == "subscription"
    assert config.sandbox_needed
    assert config.sandbox_users == ("models.primary", "models.fallback", "channels.feishu")
    assert config.home == tmp_path / ".mainstay"
    assert config.storage.url == f"sqlite:///{tmp_path}/.mainstay/mainstay.db"
    assert config.file is None
    assert config.origin("service.port") == "default"
    assert not (tmp_path / ".mainstay").exists()


@pytest.mark.parametrize(
    ("toml", "listen"),
    [
        ("", ("127.0.0.1:3000",)),
        ('[service]\nhost = "::1"\nport = 3001\n', ("[::1]:3001",)),
        ('[apps.feishu-agent]\ncommand = "mainstay serve"\n', ("127.0.0.1:3000",)),
        ('[apps.feishu-agent]\ncommand = "mainstay serve"\nlisten = []\n', ()),
        ('[apps.feishu-agent]\ncommand = "mainstay serve --port 3001"\n', ()),
        ('[apps.feishu-agent]\ncommand = "node app.js"\nlisten = "unix:web.sock"\n', ("unix:web.sock",)),
    ],
)
def test_the_address_of_the_service_is_opened_for_it(project, toml: str, listen: tuple[str, ...]) -> None:
    assert project(toml).apps["feishu-agent"].listen == listen


@pytest.mark.parametrize("written", ["8000", "host:port", "unix:", ["a:1", "a:1"], [3], "a:65536"])
def test_an_address_that_is_none_is_refused(project, written: object) -> None:
    with pytest.raises(ConfigError, match=r"apps\.web\.listen: "):
        project(f"[apps.web]\ncommand = 'it'\nlisten = {json.dumps(written)}\n")


def test_each_source_wins_over_the_one_below(project) -> None:
    toml = "[service]\nport = 3001\n"
    assert project(toml).service.port == 3001
    assert project(dotenv="PORT=3002\n").service.port == 3002
    assert project(environ={"PORT": "3003"}).service.port == 3003
    assert project(environ={"PORT": "3003", "MAINSTAY_SERVICE_PORT": "3004"}).service.port == 3004
    assert project(environ={"PORT": "3003"}, flags={"service.port": "3005"}).service.port == 3005
    assert project(environ={"PORT": "3003"}, flags={"service.port": None}).service.port == 3003


def test_the_origin_of_a_value_is_told(project) -> None:
    toml = (
        '[service]\n\nport = 3001\n[models.primary]\nbase_url = "https://h/v1"\nmodel = "m"\napi_key = "env:KEY"\n'
    )
    config = project(
        toml, environ={"LOG_LEVEL": "warn"}, dotenv="\n# a\n\nKEY=k1234\n", flags={"service.host": "::1"}
    )
    assert config.origin("service.port") == "mainstay.toml:3"
    assert config.origin("logs.level") == "environment LOG_LEVEL"
    assert config.origin("models.primary.api_key") == ".env:4 (mainstay.toml:7)"
    assert config.origin("service.host") == "flag --host"
    assert config.origin("service.name") == "default"
    assert config.logs.level == "warning"
    assert config.models["primary"].api_key.reveal() == "k1234"
    assert config.secrets == ("k1234",)


def test_dotenv_never_touches_the_process(project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAINSTAY_SERVICE_NAME", raising=False)
    assert project(dotenv="MAINSTAY_SERVICE_NAME=other\n").service.name == "other"
    import os

    assert "MAINSTAY_SERVICE_NAME" not in os.environ


def test_dotenv_values_are_taken_as_they_are(project) -> None:
    config = project(
        dotenv="FEISHU_APP_ID=\"cli_1\"\nexport FEISHU_APP_SECRET='pa$${HOME}ss #1'\nFEISHU_ENCRYPT_KEY=k # note\n"
    )
    assert config.channels["feishu"].app_secret.reveal() == "pa$${HOME}ss #1"
    assert config.channels["feishu"].encrypt_key.reveal() == "k"


def test_an_empty_variable_counts_as_not_set(project) -> None:
    assert project(environ={"PORT": "", "LOG_LEVEL": ""}).service.port == 3000
    assert project(dotenv="PORT=\nLOG_LEVEL\n").origins == {}


def test_feishu_variables_fill_the_channel_named_feishu_and_no_other(project) -> None:
    toml = (
        '[channels.feishu]\nkind = "feishu"\n'
        '[channels.second]\nkind = "feishu"\napp_id = "cli_2"\napp_secret = "s2s2"\nverification_token = "t2t2"\n'
    )
    environ = {"FEISHU_APP_ID": "cli_1", "FEISHU_APP_SECRET": "s1s1", "FEISHU_ENCRYPT_KEY": "k1k1"}
    config = project(toml, environ)
    assert config.channels["feishu"].app_id == "cli_1"
    assert config.channels["second"].app_id == "cli_2"
    assert not config.channels["second"].encrypt_key
    assert config.sandbox_users == ("models.primary", "models.fallback")


def test_every_named_table_has_variables_of_its_own(project) -> None:
    toml = '[models.my-model]\nbase_url = "https://h/v1"\nmodel = "m"\n'
    config = project(
        toml, {"MAINSTAY_MODELS_MY_MODEL_MODEL": "other", "MAINSTAY_MODELS_MY_MODEL_IDLE_TIMEOUT": "7s"}
    )
    assert config.models["my-model"].model == "other"
    assert config.models["my-model"].idle_timeout == 7.0


def test_an_openrouter_key_alone_gives_two_models(project) -> None:
    config = project(environ={"OPENROUTER_API_KEY": "sk-or-1"})
    assert {model.base_url for model in config.models.values()} == {"https://openrouter.ai/api/v1"}
    assert config.models["primary"].model == "kwaipilot/kat-coder-pro:free"
    assert config.models["primary"].api_key.reveal() == "sk-or-1"
    assert config.origin("models.primary.api_key") == "environment OPENROUTER_API_KEY (default)"
    assert config.sandbox_users == ("channels.feishu",)


def test_a_section_of_the_file_replaces_the_embedded_one_whole(project) -> None:
    config = project('[models.only]\nprovider = "sandbox"\n[agents.manager]\ninstructions = "x"\n')
    assert list(config.models) == ["only"]
    assert list(config.agents) == ["manager"]
    assert config.agents["manager"].models == ("only",)


@pytest.mark.parametrize(
    ("more", "mode"),
    [
        ({}, "subscription"),
        ({"FEISHU_ENCRYPT_KEY": "k1k1"}, "webhook"),
        ({"FEISHU_VERIFICATION_TOKEN": "t1t1"}, "webhook"),
        ({"FEISHU_ENCRYPT_KEY": "k1k1", "FEISHU_SUBSCRIPTION_MODE": "true"}, "subscription"),
        ({"FEISHU_ENCRYPT_KEY": "k1k1", "FEISHU_SUBSCRIPTION_MODE": "false"}, "webhook"),
    ],
)
def test_a_bot_without_anything_to_verify_a_webhook_with_has_a_long_connection(project, more, mode) -> None:
    real = {"FEISHU_APP_ID": "cli_1", "FEISHU_APP_SECRET": "s1s1"}
    assert project(environ=real | more).channels["feishu"].mode == mode


@pytest.mark.parametrize(("written", "mode"), [("true", "subscription"), ("false", "webhook")])
def test_in_the_sandbox_both_ways_are_to_be_had(project, written: str, mode: str) -> None:
    assert project(environ={"FEISHU_SUBSCRIPTION_MODE": written}).channels["feishu"].mode == mode


def test_a_webhook_that_could_not_be_verified_is_refused(problems) -> None:
    real = {"FEISHU_APP_ID": "cli_1", "FEISHU_APP_SECRET": "s1s1", "FEISHU_SUBSCRIPTION_MODE": "false"}
    [problem] = problems(environ=real)
    assert "channels.feishu: a webhook needs encrypt_key" in problem


def test_the_home_can_be_moved(project, tmp_path: Path) -> None:
    config = project(environ={"MAINSTAY_HOME": "/var/lib/bot"})
    assert config.home == Path("/var/lib/bot")
    assert config.storage.url == "sqlite:////var/lib/bot/mainstay.db"
    assert project(environ={"MAINSTAY_HOME": "state"}).home == tmp_path / "state"


def test_a_relative_database_lies_beside_the_file_wherever_a_command_is_typed(tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "project" / "mainstay.toml"
    file.parent.mkdir()
    file.write_text('[storage]\nurl = "sqlite:///data/bot.db"\n')
    monkeypatch.chdir(tmp_path)
    config = load(Path("project/mainstay.toml"), environ={})
    assert config.storage.url == f"sqlite:///{file.parent}/data/bot.db"
    assert config.home == file.parent / ".mainstay"


def test_an_absolute_database_stays_where_it_is(project) -> None:
    assert project('[storage]\nurl = "sqlite:////srv/x.db"\n').storage.url == "sqlite:////srv/x.db"


def test_older_variables_are_accepted(project) -> None:
    config = project(environ={"NODE_ENV": "production", "ENABLE_DEVTOOLS": "true", "AI_MODEL_TIER": "fallback"})
    assert (config.service.environment, config.service.devtools, config.service.model_tier) == (
        "production",
        True,
        "fallback",
    )


def test_a_kubernetes_service_of_the_same_name_configures_nothing(project) -> None:
    links = {
        "MAINSTAY_PORT": "tcp://10.0.0.7:3000",
        "MAINSTAY_PORT_3000_TCP_ADDR": "10.0.0.7",
        "MAINSTAY_SERVICE_HOST": "10.0.0.7",
        "MAINSTAY_SERVICE_PORT": "8080",
        "MAINSTAY_SERVICE_PORT_HTTP": "8080",
    }
    config = project(environ=links)
    assert (config.service.host, config.service.port) == ("127.0.0.1", 3000)
    assert project(environ={"MAINSTAY_SERVICE_HOST": "10.0.0.7"}).service.host == "10.0.0.7"


def test_true_and_auto_are_both_written_plainly(project) -> None:
    assert project("[sandbox]\nenabled = true\n").sandbox.enabled == "true"
    assert project('[sandbox]\nenabled = "auto"\n').sandbox_needed


def test_readable_secrets_are_warned_about(project, tmp_path: Path) -> None:
    assert project(dotenv="PORT=3001\n").warnings == ()
    (tmp_path / ".env").chmod(0o644)
    assert project().warnings == (".env can be read by other users of this machine; run: chmod 600 .env",)


def test_the_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "absent.toml", environ={})


PROBED = """
[service]
port = 4000

[apps.web]
command = "serve"

[apps.web.startup]
http = "http://127.0.0.1:4000/startupz"
period = "2s"
failure_threshold = 100

[apps.web.readiness]
command = ["test", "-e", "ready"]
"""


def test_an_app_with_a_probe_for_it_is_ready_by_that_and_has_as_long_as_that_may_take(project) -> None:
    web = project(PROBED).apps["web"]
    assert (web.ready, web.ready_timeout) == ("probe", 230.0)
    assert web.startup.http == "http://127.0.0.1:4000/startupz"
    assert (web.readiness.command, web.readiness.period) == (("test", "-e", "ready"), 10.0)
    assert web.liveness is None
    own = project(PROBED.replace('"serve"', '"serve"\nready = "started"\nready_timeout = "5s"')).apps["web"]
    assert (own.ready, own.ready_timeout) == ("started", 5.0)
    assert project(PROBED).origin("apps.web.startup.period") == "mainstay.toml:10"


def test_the_service_is_asked_for_its_health_where_it_listens(project) -> None:
    app = project('[service]\nport = 4000\nhost = "::"\n').apps["feishu-agent"]
    assert app.health.http == "http://[::1]:4000/health"
    assert (app.ready, app.watchdog) == ("notify", 30.0)
    assert project("[service]\nport = 0\n").apps["feishu-agent"].health is None
    written = '[service]\nport = 4000\n[apps.bot]\ncommand = "mainstay serve"\n'
    assert project(written).apps["bot"].health.http == "http://127.0.0.1:4000/health"
    own = project(f'{written}[apps.bot.health]\nhttp = "http://127.0.0.1:5000/health"\n').apps["bot"]
    assert own.health.http == "http://127.0.0.1:5000/health"
    elsewhere = project(f'{written}cwd = "other"\n').apps["bot"]
    assert (elsewhere.health, elsewhere.listen) == (None, ())


def test_the_console_is_there_whatever_other_channels_there_are(project) -> None:
    for written in (
        "\n",
        "[channels.feishu]\n",
        '[channels.team]\nkind = "feishu"\n',
        '[channels.x]\nkind = "a:b"\n',
    ):
        channels = project(written).channels
        assert channels["console"] == ConsoleSettings(), written
    assert project("[channels.console]\nkeep = '1h'\n").channels == {"console": ConsoleSettings(keep=3600.0)}
    named = project('[channels.desk]\nkind = "console"\n').channels
    assert list(named) == ["desk"], "one is enough"
    assert isinstance(project('[channels.console]\nkind = "feishu"\n').channels["console"], FeishuSettings)


def test_settings_of_a_channel_are_those_of_its_kind(project) -> None:
    written = '[channels.slack]\nkind = "acme.slack:Slack"\noptions = { token = "env:TOKEN", room = "c" }\n'
    config = project(written, environ={"TOKEN": "t-1", "MAINSTAY_CHANNELS_CONSOLE_WAITING": "5"})
    slack, console = config.channels["slack"], config.channels["console"]
    assert isinstance(slack, PluggedSettings)
    assert (slack.text("token"), slack.text("room"), slack.text("other", "x")) == ("t-1", "c", "x")
    assert "t-1" not in repr(slack)
    assert config.secrets == ("t-1",)
    assert isinstance(console, ConsoleSettings)
    assert console.waiting == 5
    assert config.sandbox_users == ("models.primary", "models.fallback"), "nobody needs the sandbox's platform"
    shown = {each.key: each.value for each in settings(config)}
    assert shown["channels.slack.options"] == {"token": "***", "room": "c"}
    assert shown["channels.console.waiting"] == 5
