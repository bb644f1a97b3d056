"""What is exported, PM2 takes without a warning, and it says the same as before."""

import json
from dataclasses import replace

from tests.deploy.conftest import Pm2

from mainstay.deploy.pm2.export import ecosystem
from mainstay.deploy.pm2.machine import translate
from mainstay.deploy.pm2.model import Export, Place, Script, Verdict

APP = Export(name="web", command=("/bin/sleep", "1000"), directory="/srv")


def test_what_has_a_counterpart_comes_back_the_same_by_an_import() -> None:
    app = replace(
        APP,
        command=("node", "server.js", "--x", "a b"),
        cwd="bot",
        env={"A": "1"},
        instances=2,
        autostart=False,
        stop_exit_codes=(0, 3),
        max_restarts=5,
        min_uptime=10.0,
        restart_delay=5.0,
        stop_signal="SIGINT",
        stop_timeout=1.6,
        ready="message",
        ready_timeout=10.0,
        memory_limit=500 * 1024**2,
        log_timestamps=True,
        out_file="out.log",
        error_file="/var/log/err.log",
        instance_var="NR",
        increment_var="PORT",
        user="bot",
        group="www",
    )
    file, _ = ecosystem([app])
    [back], entries = translate(file, place=Place(), look=lambda directory, script: Script.MISSING)
    assert back.settings == {
        "command": ["node", "server.js", "--x", "a b"],
        "cwd": "/srv/bot",
        "instances": 2,
        "env": {"A": "1"},
        "autostart": False,
        "autorestart": True,
        "stop_exit_codes": [0, 3],
        "max_restarts": 5,
        "min_uptime": "10s",
        "restart_delay": "5s",
        "memory_limit": "500MiB",
        "stop_timeout": "1600ms",
        "ready": "message",
        "ready_timeout": "10s",
        "out_file": "/srv/out.log",
        "error_file": "/var/log/err.log",
        "log_timestamps": True,
        "stop_signal": "SIGINT",
        "instance_var": "NR",
        "increment_var": "PORT",
        "user": "bot",
        "group": "www",
    }
    assert all(entry.verdict is not Verdict.UNSUPPORTED for entry in entries)


def test_what_pm2_can_not_have_is_reported_and_secrets_are_left_out() -> None:
    app = replace(APP, secrets=("TOKEN",), ready="notify", others=("watchdog", "log_keep"))
    file, entries = ecosystem([app])
    unsupported = {entry.key for entry in entries if entry.verdict is Verdict.UNSUPPORTED}
    assert unsupported == {"watchdog", "log_keep", "ready"}
    assert "TOKEN" not in json.dumps(file)
    assert any("TOKEN left out" in entry.note for entry in entries)
    assert any("PM2_KILL_SIGNAL=SIGTERM" in entry.note for entry in entries)


def test_a_program_with_a_space_in_its_name_is_no_line_for_the_shell() -> None:
    file, _ = ecosystem([replace(APP, command=("/opt/my app/run", "x"))])
    [back], _ = translate(file, place=Place(), look=lambda directory, script: Script.MISSING)
    assert back.settings["command"] == ["env", "/opt/my app/run", "x"]


def test_the_real_pm2_takes_it_without_a_warning_and_runs_it_as_it_was_asked(real: Pm2) -> None:
    app = replace(
        APP,
        directory=str(real.home),
        instances=2,
        env={"A": "1"},
        stop_exit_codes=(3,),
        memory_limit=500 * 1024**2,
        min_uptime=0.0,
        stop_timeout=5.0,
        log_timestamps=True,
        log_combined=True,
        out_file="logs/all.log",
    )
    other = replace(APP, name="later", directory=str(real.home), autostart=False, restart_delay=5.0)
    file, _ = ecosystem([app, other])
    (real.home / "ecosystem.config.json").write_text(json.dumps(file))
    assert real.warnings("ecosystem.config.json") == []
    listed = real.listed()
    assert [(each["name"], each["pm2_env"]["status"]) for each in listed] == [
        ("later", "stopped"),
        ("web", "online"),
        ("web", "online"),
    ]
    kept = listed[-1]["pm2_env"]
    assert {key: kept[key] for key in ("max_memory_restart", "kill_timeout", "max_restarts", "exec_mode", "A")} == {
        "max_memory_restart": 500 * 1024**2,
        "kill_timeout": 5000,
        "max_restarts": 16,
        "exec_mode": "fork_mode",
        "A": "1",
    }
