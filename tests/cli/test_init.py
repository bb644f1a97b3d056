"""``mainstay init`` gives a beginning that works, and overwrites nothing."""

import re
import tomllib
from pathlib import Path

import pytest

from mainstay.cli.init import DOTENV, TOML
from mainstay.cli.main import main
from mainstay.config.load import load
from mainstay.config.schema import SECTIONS


def test_it_writes_both_files_for_their_owner_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "new")]) == 0
    for name in ("mainstay.toml", ".env"):
        assert (tmp_path / "new" / name).stat().st_mode & 0o777 == 0o600
    assert (
        f"next: cd {tmp_path / 'new'}, mainstay run; what is missing says `mainstay doctor`"
        in capsys.readouterr().out
    )
    config = load(directory=tmp_path / "new", environ={})
    assert config.warnings == ()
    assert config.sandbox_needed


def test_what_is_there_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mainstay.toml").write_text("# mine\n")
    (tmp_path / ".env").symlink_to(tmp_path / "elsewhere")
    assert main(["init", str(tmp_path)]) == 0
    assert (tmp_path / "mainstay.toml").read_text() == "# mine\n"
    assert not (tmp_path / "elsewhere").exists()
    assert capsys.readouterr().out.count("exists already; left as it is") == 2


def test_every_example_in_the_file_works_when_its_comment_sign_is_removed(tmp_path: Path) -> None:
    example = re.compile(r"^# (?=\[[a-z.]+\]$|[a-z_]+ = )", re.MULTILINE)
    whole, uncommented = example.subn("", TOML)
    assert uncommented > 25
    (tmp_path / "mainstay.toml").write_text(whole)
    (tmp_path / ".env").write_text(re.sub(r"^# (\w+)=$", r"\1=abcd", DOTENV, flags=re.MULTILINE))
    config = load(directory=tmp_path, environ={})
    assert not config.sandbox_needed
    assert set(tomllib.loads(whole)) <= set(SECTIONS)


def test_what_it_keeps_running_is_what_is_kept_running_without_it(tmp_path: Path) -> None:
    (tmp_path / "mainstay.toml").write_text(TOML)
    (tmp_path / "nothing").mkdir()
    assert load(directory=tmp_path, environ={}).apps == load(directory=tmp_path / "nothing", environ={}).apps


def test_the_examples_that_claim_to_be_defaults_are(tmp_path: Path) -> None:
    for line in ("drain_timeout", "turn_timeout"):
        written = re.search(rf'^# {line} = "([^"]+)"', TOML, re.MULTILINE)
        assert written is not None
        (tmp_path / "mainstay.toml").write_text(f'[service]\n{line} = "{written[1]}"\n')
        changed = load(directory=tmp_path, environ={})
        (tmp_path / "mainstay.toml").write_text("")
        assert changed.service == load(directory=tmp_path, environ={}).service
