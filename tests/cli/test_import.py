"""Whoever leaves PM2 brings one file, and has the same apps here."""

import json
import shutil
import sys
import time
from pathlib import Path

import pytest
from tests.cli.conftest import Project

from mainstay.cli.main import VERBS, main
from mainstay.config.load import load
from mainstay.supervisor.client import Daemon

SERVER = """
console.log('mode', process.env.NODE_ENV, process.env.ENABLE_DEVTOOLS)
console.error('to the other file')
process.on('SIGINT', () => { console.log('told to end'); process.exit(0) })
setInterval(() => {}, 1000)
if (process.send) process.send('ready')
"""
ECOSYSTEM = """
module.exports = {
  apps: [{
    name: 'feishu-agent',
    script: './dist/server.js',
    instances: 1, // the connection has a state
    autorestart: true,
    watch: false,
    error_file: './logs/error.log',
    out_file: './logs/out.log',
    log_file: './logs/combined.log',
    time: true,
    max_memory_restart: '500M',
    min_uptime: '10s',
    max_restarts: 5,
    restart_delay: 5000,
    kill_timeout: 5000,
    wait_ready: true,
    listen_timeout: 10000,
    env: { NODE_ENV: 'production', ENABLE_DEVTOOLS: 'true' },
  }],
  deploy: { production: { user: 'me', host: 'h', ref: 'origin/main', repo: 'r', path: '/p', 'post-deploy': 'x' } },
}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def until(log: Path, text: str) -> None:
    """Until that is in this log."""
    until_s = time.monotonic() + 60
    while not log.exists() or text not in log.read_text():
        assert time.monotonic() < until_s


def ecosystem(directory: Path, **app: object) -> None:
    (directory / "ecosystem.json").write_text(json.dumps({"apps": [{"script": "sleep", "name": "web", **app}]}))


def test_the_configuration_of_the_earlier_bot_runs_with_the_same_meaning(project: Project) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    (project.path / "dist").mkdir()
    (project.path / "dist/server.js").write_text(SERVER)
    (project.path / "ecosystem.config.js").write_text(ECOSYSTEM)
    written = project.run("import", "--write")
    assert written.returncode == 0, written.stderr
    assert project.run("config", "check").returncode == 0
    app = load(directory=project.path, environ={}).apps["feishu-agent"]
    assert (app.memory_limit, app.min_uptime, app.max_restarts, app.restart_delay) == (500 * 1024**2, 10.0, 5, 5.0)
    assert (app.stop_timeout, app.stop_signal, app.log_timestamps, app.ready_timeout) == (5.0, "SIGINT", True, 10.0)
    try:
        started = project.run("start", "--json")
        assert [each["state"] for each in json.loads(started.stdout)] == ["ready"], started
        until(project.path / "logs/out.log", "mode")
        project.run("stop", "feishu-agent")
        [stopped] = json.loads(project.run("describe", "feishu-agent", "--json").stdout)
        assert stopped["ended"] == "exit code 0"
    finally:
        project.run("kill")
    lines = (project.path / "logs/out.log").read_text().splitlines()
    assert [line.partition(" ")[2] for line in lines] == ["mode production true", "told to end"]
    assert "to the other file" in (project.path / "logs/error.log").read_text()


def test_it_shows_what_it_would_write_and_writes_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ecosystem(here, args="600", watch=True)
    assert main(["import"]) == 0
    said = capsys.readouterr().out
    assert 'command = ["sleep", "600"]' in said
    assert "web  watch    not supported" in said
    assert [path.name for path in here.iterdir()] == ["ecosystem.json"]


def test_for_programs_it_says_all_of_that_as_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ecosystem(here, max_memory_restart="500M")
    assert main(["import", "ecosystem.json", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["apps"]["web"]["memory_limit"] == "500MiB"
    assert {entry["key"]: entry["verdict"] for entry in said["report"]} == {
        "script": "taken",
        "name": "taken",
        "max_memory_restart": "changed",
    }


def test_what_is_in_the_file_stays_and_no_app_is_written_over(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "mainstay.toml").write_text("# mine\n[service]\nport = 0  # any\n")
    (here / "mainstay.toml").chmod(0o640)
    ecosystem(here)
    assert main(["import", "--write"]) == 0
    assert "the built-in app feishu-agent is there no more" in capsys.readouterr().out
    once = (here / "mainstay.toml").read_text()
    assert once.startswith("# mine\n[service]\nport = 0  # any\n\n[apps.web]\n")
    assert (here / "mainstay.toml").stat().st_mode & 0o777 == 0o640
    assert main(["import", "--write"]) == 2
    assert "[apps.web] is there already" in capsys.readouterr().err
    assert (here / "mainstay.toml").read_text() == once
    assert {path.name for path in here.iterdir()} == {"ecosystem.json", "mainstay.toml"}


def test_a_secret_goes_to_where_secrets_are_and_is_not_shown(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "a'b\\c $x #1"
    ecosystem(here, env={"DB_PASSWORD": secret, "MODE": "x"})
    (here / ".env").write_text("OTHER=1")
    (here / ".env").chmod(0o600)
    assert main(["import"]) == 0
    assert main(["import", "--write"]) == 0
    assert secret not in capsys.readouterr().out + (here / "mainstay.toml").read_text()
    env = load(directory=here, environ={}).apps["web"].env
    assert (getattr(env["DB_PASSWORD"], "reveal", str)(), env["MODE"]) == (secret, "x")
    assert (here / ".env").read_text().startswith("OTHER=1\n")
    assert (here / ".env").stat().st_mode & 0o777 == 0o600


def test_what_is_in_dotenv_stays_also_where_it_is_comments_only(here: Path) -> None:
    ecosystem(here, env={"DB_PASSWORD": "secret"})
    (here / ".env").write_text("# DB_PASSWORD=of-the-old-machine")
    (here / ".env").chmod(0o600)
    assert main(["import", "--write"]) == 0
    assert (here / ".env").read_text() == "# DB_PASSWORD=of-the-old-machine\nDB_PASSWORD='secret'\n"


def test_a_variable_that_looks_like_a_reference_has_the_value_it_had(here: Path) -> None:
    ecosystem(here, env={"MODE": "env:prod"})
    assert main(["import", "--write"]) == 0
    mode = load(directory=here, environ={}).apps["web"].env["MODE"]
    assert getattr(mode, "reveal", str)() == "env:prod"


def test_a_name_that_no_variable_can_have_takes_no_other_along(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ecosystem(here, env={"MY-KEY": "1", "MODE": "x"})
    assert main(["import", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["apps"]["web"]["env"] == {"MODE": "x"}
    [entry] = [entry for entry in said["report"] if entry["key"] == "env"]
    assert entry["verdict"] == "changed"
    assert "MY-KEY" in entry["note"]


def test_a_file_that_would_be_wrong_is_not_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ecosystem(here)
    for before, says in (
        ("[service]\nport = 'x'\n", "mainstay.toml:2: service.port"),
        ("apps = { a = { command = 'x' } }\n", "added"),
    ):
        (here / "mainstay.toml").write_text(before)
        assert main(["import", "--write"]) == 2
        assert says in capsys.readouterr().err
        assert (here / "mainstay.toml").read_text() == before
        assert {path.name for path in here.iterdir()} == {"ecosystem.json", "mainstay.toml"}


def test_a_setting_that_this_version_can_not_have_is_reported_and_left_out(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ecosystem(here, max_restarts=-1)
    assert main(["import", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert "max_restarts" not in said["apps"]["web"]
    [entry] = [entry for entry in said["report"] if entry["key"] == "max_restarts"]
    assert (entry["verdict"], entry["becomes"]) == ("not supported", "")


def test_without_a_file_the_error_says_what_is_looked_for(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import"]) == 2
    assert capsys.readouterr().err == (
        "mainstay: there is no ecosystem.config.js here, nor one of another ending: name the file\n"
    )


def test_what_is_exported_to_pm2_is_read_back_by_import(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mainstay.toml").write_text(
        '[apps.web]\ncommand = "mainstay serve"\nready = "notify"\nlog_keep = 9\nmemory_limit = "1GiB"\n'
        'env = { KEY = "env:SOME_KEY", A = "1", API_KEY = "in-clear" }\n'
    )
    (here / ".env").write_text("SOME_KEY=abcdef\n")
    assert main(["export", "pm2", "--output", "ecosystem.config.json"]) == 0
    out, err = capsys.readouterr()
    assert out == "written: ecosystem.config.json\n"
    assert "log_keep" in err
    text = (here / "ecosystem.config.json").read_text()
    assert "abcdef" not in text
    assert "in-clear" not in text
    [app] = json.loads(text)["apps"]
    assert (app["script"], app["args"]) == (sys.executable, ["-P", "-m", "mainstay", "serve"])
    assert main(["export", "pm2", "--output", "ecosystem.config.json"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["import", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["apps"]["web"]["memory_limit"] == "1GiB"


def test_the_number_of_an_instance_is_where_a_program_of_pm2_looks_for_it(project: Project) -> None:
    shell = "echo nr $NODE_APP_INSTANCE port $PORT; exec sleep 600"
    app = {"script": "sh", "args": ["-c", shell], "instances": 2, "increment_var": "PORT", "port": 3000}
    ecosystem(project.path, **app)
    assert project.run("import", "--write").returncode == 0
    try:
        project.run("start")
        said = ""
        while said.count("port") < 2:
            said = project.run("logs", "-n", "9").stdout
    finally:
        project.run("kill")
    assert {line.partition("| ")[2] for line in said.splitlines()} == {"nr 0 port 3000", "nr 1 port 3001"}


def test_what_was_saved_is_started_again_by_resurrect(project: Project) -> None:
    (project.path / "mainstay.toml").write_text(
        '[apps.web]\ncommand = "sleep 600"\ninstances = 2\n[apps.job]\ncommand = "sleep 600"\n'
    )

    def states() -> dict[str, str]:
        with Daemon(project.path / ".mainstay") as talk:
            return {each["name"]: each["state"] for each in talk.ask("list")}

    try:
        project.run("start", "web")
        assert "saved: 2 of 3 instances are to run" in project.run("save").stdout
        project.run("stop", "all")
        assert "write --force" in project.run("save").stderr
        project.run("kill")
        back = project.run("resurrect", "--json")
        assert (back.returncode, back.stderr) == (0, "")
        assert states() == {"web:0": "ready", "web:1": "ready", "job:0": "stopped"}
        project.run("save")
        saved = project.path / ".mainstay/saved.json"
        saved.write_bytes(saved.read_bytes()[:30])
        project.run("kill")
        broken = project.run("resurrect")
        assert (broken.returncode, "taking the one before" in broken.stderr) == (0, True)
        assert states()["web:1"] == "ready"
        text = (project.path / "mainstay.toml").read_text()
        (project.path / "mainstay.toml").write_text(text.replace("instances = 2\n", ""))
        project.run("kill")
        fewer = project.run("resurrect")
        assert states()["web:0"] == "ready"
        if "scale" in VERBS:
            assert states()["web:1"] == "ready"
        else:
            assert (fewer.returncode, "web:1 is no instance" in fewer.stderr) == (1, True)
    finally:
        project.run("kill")
