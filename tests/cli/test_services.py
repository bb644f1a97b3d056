"""Whoever starts the service brings its database to what it needs; whoever does not needs none."""

import subprocess
import sys
from pathlib import Path

import pytest

from mainstay.cli.services import migrated, services
from mainstay.config.load import load
from mainstay.config.model import Config

from .conftest import BARE, Project

_STAND_IN = "#!/bin/sh\nexec sleep 3600\n"
"""For the service: what is started here only has to run."""


def configured(directory: Path, toml: str) -> Config:
    (directory / "mainstay.toml").write_text(toml)
    return load(directory=directory, environ={})


def stand_in(directory: Path, command: str = "./mainstay serve") -> None:
    (directory / "mainstay").write_text(_STAND_IN)
    (directory / "mainstay").chmod(0o700)
    (directory / "mainstay.toml").write_text(f'[apps.bot]\ncommand = "{command}"\n')


@pytest.mark.parametrize(
    ("app", "is_service"),
    [
        ('command = "mainstay serve"', True),
        ('command = "/opt/bot/.venv/bin/mainstay serve --port 3001"', True),
        ('command = "python3 -P -m mainstay serve"', True),
        ('command = "mainstay sandbox"', False),
        ('command = "python3 serve.py mainstay serve"', False),
        ('command = "python3 -m"', False),
        ('command = "mainstay serve --config other/mainstay.toml"', False),
        ('command = "mainstay serve"\ncwd = "/srv/other"', False),
        ('command = "redis-server"', False),
    ],
)
def test_the_service_of_this_project_is_known_by_its_command(tmp_path: Path, app: str, is_service: bool) -> None:
    assert services(configured(tmp_path, f"[apps.a]\n{app}\n")) == (["a"] if is_service else [])


def test_only_the_apps_that_are_named_are_asked(tmp_path: Path) -> None:
    config = configured(tmp_path, '[apps.a]\ncommand = "mainstay serve"\n[apps.b]\ncommand = "x"\n')
    assert (services(config, ["b"]), services(config, ["a:0"]), services(config, ["all"])) == ([], ["a"], ["a"])


def test_without_the_bot_it_is_said_for_the_service_and_not_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    migrated(configured(tmp_path, '[apps.b]\ncommand = "redis-server"\n'), ())
    assert capsys.readouterr().err == ""
    migrated(configured(tmp_path, '[apps.a]\ncommand = "mainstay serve"\n'), ())
    assert "pip install 'mainstay[bot]'" in capsys.readouterr().err
    assert not (tmp_path / ".mainstay").exists()


def test_two_starts_at_once_migrate_once_and_both_succeed(project: Project) -> None:
    stand_in(project.path)
    command = [sys.executable, "-m", "mainstay", "start", "--json"]
    starts = [
        subprocess.Popen(command, cwd=project.path, env=BARE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    try:
        said = [start.communicate(timeout=60) for start in starts]
        assert [start.returncode for start in starts] == [0, 0], said
        assert b"".join(errors for _, errors in said).count(b"done: ") == 1
        assert project.run("migrate", "--check").returncode == 0
    finally:
        project.run("kill")


def test_other_programs_are_started_without_a_database(project: Project) -> None:
    stand_in(project.path, "./mainstay sandbox")
    try:
        assert project.run("start").returncode == 0
        assert not (project.path / ".mainstay" / "mainstay.db").exists()
    finally:
        project.run("kill")


def test_a_database_that_can_not_be_migrated_is_said_and_the_others_start(project: Project) -> None:
    stand_in(project.path)
    (project.path / ".mainstay").mkdir()
    (project.path / ".mainstay" / "mainstay.db").write_text("no database " * 500)
    try:
        started = project.run("start")
        assert "not a database" in started.stderr
        assert "bot:0" in started.stdout
    finally:
        project.run("kill")
