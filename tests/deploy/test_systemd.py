"""systemd itself has nothing to say against a unit, and nothing but that unit is touched."""

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mainstay.deploy.systemd.install import Manager, install, remove
from mainstay.deploy.systemd.machine import is_of, unit_text
from mainstay.deploy.systemd.model import Unit, unit_name
from mainstay.errors import MainstayError

UNIT = Unit(directory="/srv/bot", command=(sys.executable, "-P", "-m", "mainstay"), user="root", stop_s=35.0)
STRANGE = '/srv/a b $HOME %h "q" \\x/öä 价'


def verified(unit: Unit, directory: Path, *, damage: str = "") -> list[str]:
    """What systemd says about it."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    path = directory / unit_name("bot")
    path.write_text(unit_text(unit).replace(*damage.split("->")) if damage else unit_text(unit))
    whose = [] if unit.user else ["--user"]
    ran = subprocess.run(
        [analyze, *whose, "verify", str(path)],
        env={"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(directory), "HOME": str(directory)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return [*ran.stderr.splitlines(), *([f"exit code {ran.returncode}"] if ran.returncode else [])]


@pytest.mark.parametrize("user", ["root", ""])
def test_systemd_has_nothing_to_say_against_a_unit(user: str, tmp_path: Path) -> None:
    assert verified(replace(UNIT, user=user), tmp_path) == []
    strange = replace(
        UNIT,
        user=user,
        directory=STRANGE,
        arguments=("--config", f"{STRANGE}/mainstay.toml"),
        environment={"PATH": "/usr/bin:/my bin", "X": "a\"b\\c$d%e'f\n"},
    )
    assert verified(strange, tmp_path) == []


def test_systemd_would_say_so_if_a_line_were_wrong(tmp_path: Path) -> None:
    assert verified(UNIT, tmp_path, damage="KillMode=process->KillMod=process")
    assert verified(UNIT, tmp_path, damage="WatchdogSec=30->WatchdogSec=often")


def test_every_word_of_the_command_arrives_as_it_is(tmp_path: Path) -> None:
    """As systemd reads it: specifiers, variables and quotes are undone one after the other, systemd.service(5).

    There are no variables in the program's own path.
    """
    program = f"{STRANGE}/.venv/bin/python"
    words = ("--config", f"{STRANGE}/mainstay.toml", "")
    [line] = [
        each
        for each in unit_text(replace(UNIT, command=(program, "-P"), arguments=words)).splitlines()
        if each.startswith("ExecStart=")
    ]
    first, *others = [word.replace("%%", "%") for word in shlex.split(line.removeprefix("ExecStart="))]
    undone = [first, *(word.replace("$$", "$") for word in others)]
    assert undone == [program, "-P", "daemon", "--boot", *words]


def test_a_crash_of_the_supervisor_leaves_the_apps_and_is_followed_by_a_start() -> None:
    lines = unit_text(UNIT).splitlines()
    assert {"KillMode=process", "Restart=on-failure", "Type=notify", "OOMPolicy=continue", "Delegate=yes"} <= {
        *lines
    }
    assert "TimeoutStopSec=65" in lines


def manager(directory: Path, *, is_user: bool = False) -> Manager:
    return Manager(directory=directory, is_user=is_user, reachable=False)


def everything(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_it_is_written_once_replaced_by_the_same_project_and_removed(tmp_path: Path) -> None:
    (tmp_path / "other.service").write_text("[Unit]\n")
    path, left = install(unit_text(UNIT), "mainstay-bot.service", "/srv/bot", manager(tmp_path))
    assert (path.read_text(), path.stat().st_mode & 0o777) == (unit_text(UNIT), 0o644)
    assert left == [["systemctl", "daemon-reload"], ["systemctl", "enable", "mainstay-bot.service"]]
    install(unit_text(replace(UNIT, stop_s=1.0)), "mainstay-bot.service", "/srv/bot", manager(tmp_path))
    assert everything(tmp_path) == {"mainstay-bot.service", "other.service"}
    _, left = remove("mainstay-bot.service", "/srv/bot", manager(tmp_path, is_user=True))
    assert left == [
        ["systemctl", "--user", "disable", "mainstay-bot.service"],
        ["systemctl", "--user", "daemon-reload"],
    ]
    assert everything(tmp_path) == {"other.service"}


def test_the_unit_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    install(unit_text(UNIT), "mainstay-bot.service", "/srv/bot", manager(tmp_path))
    for attempt in (
        lambda: install(unit_text(UNIT), "mainstay-bot.service", "/home/bot", manager(tmp_path)),
        lambda: remove("mainstay-bot.service", "/home/bot", manager(tmp_path)),
    ):
        with pytest.raises(MainstayError, match="was not written for /home/bot: choose another name"):
            attempt()
    assert is_of((tmp_path / "mainstay-bot.service").read_text(), "/srv/bot")
    with pytest.raises(MainstayError, match="is not there"):
        remove("mainstay-web.service", "/srv/bot", manager(tmp_path))


def test_where_it_may_not_be_written_one_line_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MainstayError, match=r"x\.service: File exists$"):
        install(unit_text(UNIT), "x.service", "/srv/bot", manager(tmp_path / "file"))
    with pytest.raises(MainstayError, match=r"x\.service: Permission denied; run it with sudo, or with --user$"):
        install(unit_text(UNIT), "x.service", "/srv/bot", manager(Path("/sys/kernel")))  # root may not either


@pytest.mark.parametrize(
    ("directory", "name"),
    [("bot", "mainstay-bot"), ("My bot!", "mainstay-My-bot"), ("价", "mainstay-project"), ("", "mainstay-project")],
)
def test_a_directory_of_any_name_gives_a_name_that_a_unit_may_have(directory: str, name: str) -> None:
    assert unit_name(directory) == f"{name}.service"
