"""``mainstay backup`` and ``restore``: what they make, what they refuse, what they say."""

import json
import re
from pathlib import Path

import pytest

from mainstay.cli.main import main

from .conftest import Project, running


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A project with a database, as the current directory."""
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    assert main(["migrate"]) == 0
    capsys.readouterr()
    return tmp_path


def backups(made: Path) -> list[str]:
    return sorted(each.name for each in (made / ".mainstay" / "backups").iterdir())


def test_a_backup_holds_the_configuration_and_no_secrets_unless_asked(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backup"]) == 0
    said = capsys.readouterr().out
    assert "whole; with mainstay.toml\n" in said
    assert "without .env, which holds secrets" in said
    database, configuration = backups(made)
    assert configuration == f"{database}.toml"
    assert main(["backup", "--with-secrets", "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["inside"] == ["mainstay.db", "mainstay.toml", ".env"]
    assert Path(f"{about['path']}.env").read_text() == (made / ".env").read_text()
    assert {(made / ".mainstay" / "backups" / name).stat().st_mode & 0o777 for name in backups(made)} == {0o600}


def test_what_is_not_there_is_not_said_to_be_left_out(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (made / ".env").unlink()
    (made / "mainstay.toml").unlink()
    assert main(["backup"]) == 0
    assert re.fullmatch(r"backed up: \S+ \(\d\.\d MiB\), whole\n", capsys.readouterr().out)


def test_so_many_are_kept_as_were_asked_for(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        assert main(["backup", "--keep", "2"]) == 0
    assert len([name for name in backups(made) if name.endswith(".db")]) == 2
    assert len(backups(made)) == 4
    assert capsys.readouterr().out.count("removed: ") == 1


def test_a_backup_goes_where_it_was_told_to(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (made / "elsewhere").mkdir()
    assert main(["backup", "elsewhere", "--keep", "1"]) == 0
    assert main(["backup", "mine.db"]) == 0
    assert (made / "mine.db").exists()
    assert len(list((made / "elsewhere").glob("feishu-agent-*.db"))) == 1
    capsys.readouterr()
    assert main(["backup", "mine.db"]) == 1
    assert "mine.db exists already, and is left as it is" in capsys.readouterr().err
    assert main(["backup", "other.db", "--keep", "1"]) == 2
    assert "--keep N goes with dated backups" in capsys.readouterr().err
    assert not (made / "other.db").exists()


def test_a_restore_says_what_it_did(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backup", "b.db"]) == 0
    assert main(["restore", "b.db"]) == 0
    said = capsys.readouterr().out
    [kept] = (made / ".mainstay").glob("mainstay.db.before-*")
    assert f"kept: {kept} is the database that was there before" in said
    assert "mainstay migrate" not in said
    assert main(["restore", "b.db", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lacking"] == []


def test_nothing_is_restored_under_a_service_that_was_started_by_hand(project: Project) -> None:
    assert project.quick("migrate").returncode == 0
    with running(project, "serve", ready="is ready"):
        assert project.run("backup", "b.db").returncode == 0
        refused = project.quick("restore", "b.db")
        assert refused.returncode == 1
        assert "it is in use by process" in refused.stderr
    assert project.run("restore", "b.db").returncode == 0


def test_nothing_is_restored_between_two_starts_of_a_service_that_is_kept_running(project: Project) -> None:
    (project.path / "mainstay").write_text("#!/bin/sh\nexit 1\n")
    (project.path / "mainstay").chmod(0o700)
    configuration = '[apps.bot]\ncommand = "./mainstay serve"\nrestart_delay = "1h"\n'
    (project.path / "mainstay.toml").write_text(configuration)
    try:
        project.run("start")
        assert project.quick("backup", "b.db").returncode == 0
        refused = project.quick("restore", "b.db")
        assert refused.returncode == 1
        assert "the service is kept running (bot:0): run `mainstay stop bot` first" in refused.stderr
        assert project.run("stop").returncode == 0
        assert project.quick("restore", "b.db").returncode == 0
    finally:
        project.run("kill")
