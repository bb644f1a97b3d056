"""Nothing of an ecosystem file is dropped in silence, and what is taken means what it meant."""

import json
import os
import shutil
import subprocess
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.deploy.conftest import Pm2
from tests.mutants import mutant

from mainstay.config.schema import SECTIONS
from mainstay.config.values import fit
from mainstay.deploy.pm2 import machine, reading, units
from mainstay.deploy.pm2.absent import ABSENT, MOOT
from mainstay.deploy.pm2.keys import RULES
from mainstay.deploy.pm2.machine import translate
from mainstay.deploy.pm2.model import ALIASES, KEYS, Entry, Imported, Place, Script, Verdict
from mainstay.errors import ConfigError
from mainstay.units import parse_duration

PLACE = Place(home="/home/me", cores=8)
FILES = {"app": Script.BINARY, "tool": Script.TEXT}


def look(directory: str, script: str) -> Script:
    return FILES.get(script.rpartition("/")[2], Script.MISSING)


def imported(*, asked: str | None = None, place: Place = PLACE, **app: object) -> tuple[Imported, dict[str, Entry]]:
    [made], entries = translate({"apps": [{"script": "server.js", **app}]}, place=place, look=look, env=asked)
    return made, {entry.key: entry for entry in entries}


def settings(**app: object) -> dict[str, Any]:
    return dict(imported(**app)[0].settings)


@pytest.mark.parametrize(
    ("written", "command"),
    [
        ({"script": "./dist/server.js"}, ["node", "./dist/server.js"]),
        ({"script": "server.mjs", "interpreter": "bun"}, ["bun", "server.mjs"]),
        ({"script": "bot.py", "args": "--port 3000 'a b' ''"}, ["python3", "bot.py", "--port", "3000", "a b"]),
        ({"script": "app", "args": ["x", 1]}, ["./app", "x", "1"]),
        ({"script": "./app", "exec_interpreter": "none"}, ["./app"]),
        ({"script": "tool"}, ["node", "tool"]),
        ({"script": "redis-server"}, ["redis-server"]),
        ({"script": "npm", "args": "start"}, ["npm", "start"]),
        (
            {"script": "a.js", "node_args": "--max-old-space-size=300 -r x"},
            ["node", "--max-old-space-size=300", "-r", "x", "a.js"],
        ),
        ({"script": "make run && true"}, ["bash", "-c", "make run && true"]),
        ({"cmd": "run.sh"}, ["bash", "run.sh"]),
    ],
)
def test_a_script_is_started_with_the_words_with_which_pm2_starts_it(
    written: dict[str, object], command: list[str]
) -> None:
    [made], _ = translate([written], place=PLACE, look=look)
    assert made.settings["command"] == command


@pytest.mark.parametrize(
    ("written", "becomes"),
    [
        ({"max_memory_restart": "500M"}, {"memory_limit": "500MiB"}),
        ({"max_memory_restart": "300K"}, {"memory_limit": "300KiB"}),
        ({"max_memory_restart": 1024}, {"memory_limit": "1KiB"}),
        ({"min_uptime": "10s"}, {"min_uptime": "10s"}),
        ({"min_uptime": 2500}, {"min_uptime": "2500ms"}),
        ({"min_uptime": "1h"}, {"min_uptime": "1h"}),
        ({"restart_delay": 5000}, {"restart_delay": "5s"}),
        ({"kill_timeout": 5000}, {"stop_timeout": "5s", "stop_signal": "SIGINT"}),
        ({}, {"stop_timeout": "1600ms", "stop_signal": "SIGINT"}),
        ({"exp_backoff_restart_delay": 100}, {"backoff_base": "100ms", "backoff_cap": "15s"}),
        ({"instances": "max"}, {"instances": 8}),
        ({"instances": 0}, {"instances": 8}),
        ({"instances": -1}, {"instances": 7}),
        ({"instances": "2", "instance_var": "NR"}, {"instances": 2, "instance_var": "NR"}),
        ({"wait_ready": True, "listen_timeout": 10000}, {"ready": "message", "ready_timeout": "10s"}),
        ({"script": "mainstay", "args": "serve", "wait_ready": True}, {"ready": "notify"}),
        ({"cron": "0 3 * * *"}, {"cron_restart": "0 3 * * *"}),
        ({"user": "bot", "gid": 33}, {"user": "bot", "group": "33"}),
        ({"stop_exit_codes": [0, "3"]}, {"stop_exit_codes": [0, 3]}),
        ({"stop_exit_codes": 0}, {"stop_exit_codes": [0]}),
        ({"maxRestarts": 5, "autorestart": False}, {"max_restarts": 5, "autorestart": False}),
        ({"cwd": "srv", "out_file": "a.log"}, {"cwd": "srv", "out_file": "srv/a.log"}),
        ({"error_file": "~/e.log", "time": True}, {"error_file": "/home/me/e.log", "log_timestamps": True}),
        ({"log_file": "all.log"}, {"log_combined": True, "out_file": "all.log"}),
        (
            {"env": {"A": 1, "B": True, "C": {"d": "é"}}, "port": 80},
            {"env": {"A": "1", "B": "true", "C": '{"d": "é"}', "PORT": "80"}},
        ),
        ({"script": "a.py", "env": {"A": "1"}}, {"env": {"A": "1", "PYTHONUNBUFFERED": "1"}}),
    ],
)
def test_what_is_taken_means_what_it_meant(written: dict[str, object], becomes: dict[str, object]) -> None:
    found = settings(**written)
    assert {key: found.get(key) for key in becomes} == becomes


def test_what_was_thrown_away_is_not_rotated_over_a_device() -> None:
    made, entries = imported(out_file="/dev/null", error_file="NULL")
    assert not {"out_file", "error_file"} & made.settings.keys()
    assert entries["out_file"].verdict is Verdict.CHANGED


def test_paths_of_an_ecosystem_elsewhere_lead_to_where_they_led() -> None:
    made, _ = imported(place=Place(directory="/srv"), out_file="logs/o.log")
    assert (made.settings["cwd"], made.settings["out_file"]) == ("/srv", "/srv/logs/o.log")
    made, _ = imported(place=Place(directory="/srv"), cwd="bot", out_file="logs/o.log")
    assert (made.settings["cwd"], made.settings["out_file"]) == ("/srv/bot", "/srv/bot/logs/o.log")


def test_an_environment_is_added_by_its_name_and_an_unknown_one_is_an_error() -> None:
    app = {"env": {"A": "1", "B": "1"}, "env_production": {"B": "2"}, "env_staging": {"B": "3"}}
    made, entries = imported(asked="production", append_env_to_name=True, name="bot", **app)
    assert (made.name, made.settings["env"]) == ("bot-production", {"A": "1", "B": "2"})
    assert entries["env_staging"].verdict is Verdict.UNSUPPORTED
    with pytest.raises(ConfigError, match="env_prodution; did you mean production"):
        imported(asked="prodution", **app)
    with pytest.raises(ConfigError, match="only `env`"):
        imported(asked="production")


def test_a_name_that_can_not_be_one_here_is_changed_and_two_of_one_name_are_an_error() -> None:
    made, entries = imported(name="My App.v2")
    assert (made.name, entries["name"].verdict) == ("My-App-v2", Verdict.CHANGED)
    assert imported(script="dist/server.js")[0].name == "server"
    assert imported(name="3000")[0].name == "app-3000"
    with pytest.raises(ConfigError, match="server: 2 apps have this name"):
        translate([{"script": "a/server.js"}, {"script": "b/server.js"}], place=PLACE, look=look)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"kill_timeout": "soon"}, "server: kill_timeout: 'soon' is not a number"),
        ({"max_memory_restart": "1T"}, "is not a size"),
        ({"min_uptime": "3d"}, "is not a number"),
        ({"autorestart": "no"}, "neither true nor false"),
        ({"exec_mode": "threads"}, "neither fork nor cluster"),
        ({"env": "A=1"}, "must be a table"),
        ({"instances": "all"}, "is not a number"),
        ({"script": "serve"}, "PM2's own server"),
    ],
)
def test_what_pm2_would_not_take_is_an_error_of_one_line(written: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        imported(**written)
    assert len(raised.value.problems) == 1


@pytest.mark.parametrize("config", [{}, [], {"apps": []}, None, 3, "x", {"apps": [None]}, [[]], {"deploy": {}}])
def test_what_is_no_ecosystem_is_an_error(config: object) -> None:
    with pytest.raises(ConfigError):
        translate(config, place=PLACE, look=look)


def test_an_unknown_setting_is_reported_with_the_nearest_known_one() -> None:
    _, entries = imported(max_restart=5, wach=False)
    assert entries["max_restart"].note.endswith("did you mean max_restarts?")
    assert entries["wach"].verdict is Verdict.UNSUPPORTED


def test_what_belongs_to_the_whole_file_is_reported_too() -> None:
    _, entries = translate(
        {"apps": {"script": "a.js"}, "deploy": {"production": {}}, "static": [], "aps": 1}, place=PLACE, look=look
    )
    assert {entry.key for entry in entries if not entry.app} == {"deploy", "static", "aps"}


def test_every_setting_of_pm2_has_one_place_in_the_tables() -> None:
    in_command = {"name", "script", "exec_interpreter", "node_args", "args"}
    places = [*RULES, *ABSENT, *MOOT, *in_command]
    assert sorted(places) == sorted(KEYS)


def test_the_settings_and_their_aliases_are_those_of_the_real_pm2(pm2: str, node: str) -> None:
    root = Path(pm2).resolve().parents[1]
    asked = "console.log(JSON.stringify(require(process.argv[1]).schema))"
    ran = subprocess.run([node, "-e", asked, str(root / "lib/tools/Config")], capture_output=True, check=True)
    schema = {key: each for key, each in json.loads(ran.stdout).items() if "\\" not in key}
    aliases = {alias: key for key, each in schema.items() for alias in each["alias"] if alias != key}
    assert set(schema) == KEYS
    assert ALIASES.items() >= aliases.items()


SCRIPTS: list[dict[str, object]] = [
    {"script": "a.js", "args": '--x \'a b\' "c d" "" --e="f g" h"i j"', "node_args": "--no-warnings"},
    {"script": "./sub/b.py", "args": ["x", "y z"]},
    {"script": "c.sh"},
    {"script": "d", "interpreter": "bash"},
    {"script": "e"},
    {"script": "sleep", "args": "600"},
    {"script": "./program", "interpreter": "none", "args": "600"},
    {"script": "sleep 600 && true"},
    {"script": "f.mjs"},
]


def test_the_real_pm2_starts_every_script_with_the_same_words(real: Pm2) -> None:
    (real.home / "sub").mkdir()
    for name in ("a.js", "sub/b.py", "c.sh", "d", "e", "f.mjs"):
        (real.home / name).write_text("")
    (real.home / "program").symlink_to(os.path.realpath("/bin/sleep"))
    apps = [{**app, "name": f"app{n}", "exec_mode": "fork", "autostart": False} for n, app in enumerate(SCRIPTS)]
    (real.home / "ecosystem.json").write_text(json.dumps(apps))
    assert real.warnings("ecosystem.json") == []
    ours, _ = translate(apps, place=PLACE, look=lambda _, script: reading.look(str(real.home), script))

    def words(command: list[str]) -> list[str]:
        """With the paths that they lead to."""
        found = [shutil.which(word) or str(real.home / word) for word in command]
        return [path if Path(path).exists() else word for word, path in zip(command, found, strict=True)]

    for made, theirs in zip(ours, real.listed(), strict=True):
        env = theirs["pm2_env"]
        interpreter = [] if env["exec_interpreter"] == "none" else [env["exec_interpreter"], *env["node_args"]]
        interpreter = ["python3" if word == "python" else word for word in interpreter]
        assert words(list(made.settings["command"])) == words(
            [*interpreter, env["pm_exec_path"], *env.get("args", [])]
        )


VALUES: dict[str, st.SearchStrategy[object]] = {
    "name": st.sampled_from(["web", "a b", "Bot.js"]),
    "args": st.sampled_from(["--x 1", ["a", "b"], ""]),
    "cwd": st.sampled_from(["/srv", "sub"]),
    "instances": st.sampled_from([1, 2, 0, "max", -1, "3"]),
    "exec_mode": st.sampled_from(["fork", "cluster", "cluster_mode"]),
    "env": st.dictionaries(st.sampled_from(["A", "B"]), st.sampled_from(["x", 1, True, None]), max_size=2),
    "max_memory_restart": st.sampled_from(["500M", "1G", 1000, "77"]),
    "min_uptime": st.sampled_from([1000, "10s", "5m"]),
    "max_restarts": st.integers(0, 50),
    "restart_delay": st.integers(0, 9999),
    "kill_timeout": st.integers(0, 9999),
    "exp_backoff_restart_delay": st.integers(0, 500),
    "autorestart": st.booleans(),
    "autostart": st.booleans(),
    "watch": st.sampled_from([True, False, ["src"]]),
    "time": st.booleans(),
    "merge_logs": st.booleans(),
    "out_file": st.sampled_from(["o.log", "/dev/null", "~/o.log"]),
    "log_file": st.sampled_from([True, False, "all.log"]),
    "stop_exit_codes": st.sampled_from([[0], 0, [0, 1]]),
    "uid": st.sampled_from(["bot", 1000]),
    "treekill": st.booleans(),
    "namespace": st.just("x"),
    "vizion": st.booleans(),
    "nonsense": st.none() | st.booleans(),
}
APPS = st.fixed_dictionaries({"script": st.just("a.js")}, optional=VALUES)


def complete(module: types.ModuleType, app: dict[str, object]) -> None:
    """Each setting is in the report once; what is taken as a setting of ours is written, and fits it."""
    [made], entries = module.translate({"apps": [app]}, place=PLACE, look=look)
    assert sorted(entry.key for entry in entries) == sorted(key for key, each in app.items() if each is not None)
    known = SECTIONS["apps"].keys
    for entry in entries:
        if entry.becomes and entry.becomes != "the name":
            assert entry.becomes in made.settings
        assert entry.note or entry.verdict is Verdict.TAKEN
    for key, value in made.settings.items():
        if key in known:
            fit(value, known[key])


@given(APPS)
def test_each_setting_is_reported_once_and_what_is_written_can_be_read(app: dict[str, object]) -> None:
    complete(machine, app)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("made.refuse_spelling(key)", "pass"),
        ("if key not in RULES and key not in _NAMED_APART", "if False"),
        ('if "name" in written:', 'if written.get("name") != "web":'),
        ("first not in written", "True"),
        ('attempt("script", partial(take_command, made, look))', "made.settings['command'] = ['']"),
    ],
)
def test_a_wrong_line_is_seen(before: str, after: str) -> None:
    wrong = mutant(machine, before, after)
    with pytest.raises((AssertionError, KeyError)):
        everything_right(wrong)


def test_of_two_spellings_the_first_name_wins_as_in_pm2() -> None:
    everything_right(machine)


def everything_right(module: types.ModuleType) -> None:
    complete(module, {"script": "a.js", "name": "web", "args": "--x", "vizion": True})
    complete(module, {"script": "a.js", "exec": "b.js", "maxRestarts": None})
    same_command(module, {"script": "a.js", "exec": "b.js"})


def same_command(module: types.ModuleType, app: dict[str, object]) -> None:
    """Of two spellings the first name wins, as in PM2."""
    [made], _ = module.translate([app], place=PLACE, look=look)
    assert made.settings["command"] == ["node", "a.js"]


@given(st.integers(0, 10**9))
def test_milliseconds_are_read_back_as_they_were(milliseconds: int) -> None:
    assert round(parse_duration(units.as_milliseconds(milliseconds)) * 1000) == milliseconds
