"""`startup` writes one unit where it is asked to, and `unstartup` takes it away."""

import os
import pwd
from pathlib import Path

import pytest

from mainstay.cli.main import main


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "bot"
    made.mkdir()
    (made / "mainstay.toml").write_text('[apps.web]\ncommand = "sleep 600"\nstop_timeout = "50s"\n')
    monkeypatch.chdir(made)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    return made


def files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_a_unit_of_the_system_is_written_below_the_root_and_removed(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root"
    assert main(["startup", "--system", "--root", str(root), "--config", "../bot/mainstay.toml"]) == 0
    assert files(tmp_path) == {"bot/mainstay.toml", "root/etc/systemd/system/mainstay-bot.service"}
    text = (root / "etc/systemd/system/mainstay-bot.service").read_text()
    owner = pwd.getpwuid(os.geteuid()).pw_name
    for line in (f"User={owner}", f"WorkingDirectory={project}", "TimeoutStopSec=80", "WantedBy=multi-user.target"):
        assert line in text.splitlines()
    assert f"daemon --boot --config {project}/mainstay.toml" in text
    assert "systemctl enable mainstay-bot.service" in capsys.readouterr().out
    assert main(["unstartup", "--system", "--root", str(root)]) == 0
    assert files(tmp_path) == {"bot/mainstay.toml"}
    assert main(["unstartup", "--system", "--root", str(root)]) == 1
    assert "nothing to remove" in capsys.readouterr().err


def test_a_unit_of_a_user_is_written_to_that_users_configuration(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAINSTAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", "/opt/node/bin:/usr/bin")
    assert main(["startup", "--user", "--name", "mine", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert files(tmp_path) == {"bot/mainstay.toml"}
    assert main(["export", "systemd", "--user"]) == 0
    assert shown == f"# {tmp_path}/xdg/systemd/user/mine.service\n{capsys.readouterr().out}"
    assert f"Environment=MAINSTAY_HOME={tmp_path}/home" in shown.splitlines()
    assert "Environment=PATH=/opt/node/bin:/usr/bin" in shown.splitlines()
    assert "User=" not in shown
    assert "WantedBy=default.target" in shown


def test_what_only_this_shell_knows_is_said_before_the_machine_starts_without_it(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("PORT", "OPENROUTER_API_KEY", "MAINSTAY_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert main(["startup", "--user", "--dry-run"]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-or-hush-hush")
    assert main(["startup", "--user", "--dry-run"]) == 0
    assert capsys.readouterr().err == (
        "mainstay: OPENROUTER_API_KEY is set in this shell only, and lost at the next boot: "
        f"write it into {project}/.env\n"
    )
    (project / ".env").write_text("OPENROUTER_API_KEY=sk-or-hush-hush\n")
    (project / ".env").chmod(0o600)
    monkeypatch.delenv("OPENROUTER_API_KEY")
    assert main(["startup", "--user", "--dry-run"]) == 0
    assert capsys.readouterr().err == ""
    with (project / "mainstay.toml").open("a") as file:
        file.write('env = { TOKEN = "env:TOKEN" }\n')
    monkeypatch.setenv("TOKEN", "hush-hush")
    assert main(["startup", "--user", "--dry-run"]) == 0
    said = capsys.readouterr().err
    assert said.startswith("mainstay: when the machine starts it: mainstay.toml:4: apps.web.env")
    assert "hush" not in said


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["startup", "--user", "--root", "x"], "--root is for units of the system"),
        (["startup", "--system", "--root", "x", "--name", "../x"], "can not be the name of a unit"),
    ],
)
def test_what_can_not_be_meant_is_an_error(
    typed: list[str], says: str, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(typed) == 2
    assert says in capsys.readouterr().err
    assert files(tmp_path) == {"bot/mainstay.toml"}
