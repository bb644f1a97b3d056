"""What a run that hung has left is kept for as long as somebody asks for it, whatever a program does there."""

from pathlib import Path

from mainstay.supervisor.evidence import discard, keep_only, place, prepare


def test_what_a_program_has_put_there_keeps_nothing_else(tmp_path: Path) -> None:
    prepare(tmp_path)
    for run in map(str, range(20)):
        place(tmp_path, run).mkdir() if int(run) % 2 else place(tmp_path, run).touch()
    place(tmp_path, "web:0.7").touch()
    keep_only(tmp_path, ["web:0.7"])
    assert [path for path in place(tmp_path, "").iterdir() if path.is_file()] == [place(tmp_path, "web:0.7")]


def test_what_was_written_half_goes_with_its_run(tmp_path: Path) -> None:
    prepare(tmp_path)
    half = place(tmp_path, "web:0.7").with_name("web-0.7.part")
    half.touch()
    place(tmp_path, "web:0.8").touch()
    discard(tmp_path, "web:0.7")
    assert not half.exists()
    assert place(tmp_path, "web:0.8").exists()
