"""What was saved is found again, whatever becomes of the file."""

from pathlib import Path

import pytest

from mainstay.deploy.saved import find, keep
from mainstay.errors import MainstayError

SOME, OTHERS, NONE = {"web:0": True, "web:1": False}, {"web:0": False, "job:0": True}, {"web:0": False}


def test_the_last_one_is_found_and_the_one_before_is_kept(tmp_path: Path) -> None:
    keep(tmp_path, SOME)
    path = keep(tmp_path, OTHERS)
    assert (find(tmp_path).wanted, find(tmp_path).flaw) == (OTHERS, "")
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    assert find(tmp_path).wanted == SOME
    assert "is not there" in find(tmp_path).flaw


@pytest.mark.parametrize("left", [0, 1, 20, 40])
def test_one_that_is_cut_short_is_passed_over_for_the_one_before(left: int, tmp_path: Path) -> None:
    keep(tmp_path, SOME)
    path = keep(tmp_path, OTHERS)
    path.write_bytes(path.read_bytes()[:left])
    found = find(tmp_path)
    assert found.wanted == SOME
    assert found.flaw == f"{path} can not be read: it is cut short or was changed"
    keep(tmp_path, OTHERS)  # does not put the broken one in the place of the good one
    path.write_text("{}")
    assert find(tmp_path).wanted == SOME


def test_an_empty_list_does_not_replace_a_full_one(tmp_path: Path) -> None:
    keep(tmp_path, NONE)
    path = keep(tmp_path, SOME)
    with pytest.raises(MainstayError, match="has 1 instances that are: start them first, or write --force"):
        keep(tmp_path, NONE)
    assert find(tmp_path).wanted == SOME
    path.write_text("")  # nor the one before, when the last one is broken
    keep(tmp_path, OTHERS)
    path.write_text("")
    keep(tmp_path, NONE, force=True)
    assert find(tmp_path).wanted == NONE


def test_a_disk_that_takes_nothing_leaves_what_was_saved(tmp_path: Path) -> None:
    keep(tmp_path, SOME)
    (tmp_path / "saved.json.new").mkdir()
    with pytest.raises(OSError, match=r"saved\.json\.new"):
        keep(tmp_path, OTHERS)
    assert find(tmp_path).wanted == SOME


def test_where_nothing_was_saved_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MainstayError, match="`mainstay save` does"):
        find(tmp_path)
    (tmp_path / "saved.json").write_text('{"v": 9, "wanted": {}}')
    with pytest.raises(MainstayError, match="has version 9, this program reads 1"):
        find(tmp_path)
