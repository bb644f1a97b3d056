"""The reference pages say what the code says."""

import dataclasses
from pathlib import Path

import pytest

from mainstay import errors, events
from mainstay.cli.main import VERBS
from mainstay.cli.reference import PAGES, main

COMMITTED = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_committed_page_is_up_to_date(name: str) -> None:
    assert (COMMITTED / name).read_text("utf-8") == PAGES[name](), "run make reference"


def test_every_verb_event_exception_and_category_is_listed() -> None:
    commands, happenings, wrong = PAGES["commands.md"](), PAGES["events.md"](), PAGES["errors.md"]()
    for verb in VERBS:
        assert f"## `mainstay {verb}`" in commands
    for name in events.__all__:
        kind = getattr(events, name)
        if isinstance(kind, type) and issubclass(kind, events.Event) and kind is not events.Event:
            assert f"## `{kind.name}`" in happenings
            assert all(f"| `{field.name}` |" in happenings for field in dataclasses.fields(kind))
    for name in errors.__all__:
        assert f"| `{name}` |" in wrong or name in ("Category", "nearest", "only_told")
    for category in errors.Category:
        assert f"| `{category}` |" in wrong


def test_a_stale_page_is_found_and_written_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", "--directory", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("run make reference") == len(PAGES)
    assert main(["--write", "--directory", str(tmp_path)]) == 0
    assert main(["--check", "--directory", str(tmp_path)]) == 0
    (tmp_path / "events.md").write_text("edited by hand")
    assert main(["--check", "--directory", str(tmp_path)]) == 1
