"""Every command ends with a code that scripts can use, and errors are one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mainstay.cli.main import VERBS, main, parser

from .conftest import BARE, Project


def python(project: Project, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=project.path, env=BARE, capture_output=True, text=True, timeout=60
    )


def test_without_arguments_it_says_what_to_type_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    for command in (
        "mainstay run",
        'mainstay ask "hello"',
        "mainstay health",
        "mainstay doctor",
        "mainstay init",
    ):
        assert command in out


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["helth"], "mainstay: there is no command helth; did you mean health?"),
        (["--config", "x.toml", "helth"], "mainstay: there is no command helth; did you mean health?"),
        (["ask"], "mainstay ask: the following arguments are required: TEXT (see mainstay ask --help)"),
        (["health", "--jsn"], "mainstay: unrecognized arguments: --jsn (see mainstay --help)"),
        (["config", "chequ"], "mainstay config: argument what: invalid choice: 'chequ'"),
        (
            ["health", "--timeout", "soon"],
            "mainstay health: argument --timeout: 'soon' is not a duration: write it like",
        ),
        (["fault", "rate"], "mainstay: fault: there is no fault rate; did you mean rate-limit?"),
        (["fault", "cut", "--times", "0"], "mainstay: fault: --times must be at least 1"),
        (["fault", "cut", "--after-calls", "-1"], "mainstay: fault: --after-calls must be at least 0"),
        (
            ["fault", "hang", "--after-tokens", "3"],
            "mainstay: fault: --after-tokens means nothing to hang, only to stall, cut, truncate, malformed, ",
        ),
        (
            ["fault", "cut", "--retry-after", "3s"],
            "mainstay: fault: --retry-after means nothing to cut, only to rate-",
        ),
        (["config", "check", "--config", "absent.toml"], "mainstay: absent.toml: can not be read: No such file"),
        (["--config", "absent.toml", "config", "check"], "mainstay: absent.toml: can not be read: No such file"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(project: Project, typed: list[str], expected: str) -> None:
    done = project.quick(*typed)
    assert done.returncode == 2
    assert done.stderr.startswith(expected)
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_every_problem_of_a_configuration_is_a_line(project: Project) -> None:
    (project.path / "mainstay.toml").write_text("[service]\nprot = 1\n[turns]\nconcurrency = 0\n")
    done = project.run("health")
    assert done.returncode == 2
    assert done.stderr == (
        "mainstay: mainstay.toml:2: service.prot: unknown key; did you mean port?\n"
        "mainstay: mainstay.toml:4: turns.concurrency: must be more than 0\n"
    )


def test_a_mistyped_secret_is_not_repeated(project: Project) -> None:
    (project.path / "mainstay.toml").write_text('[models.primary]\nbase_url = "password=hush-hush"\nmodel = "m"\n')
    assert "hush" not in project.quick("config", "check").stderr
    (project.path / "mainstay.toml").write_text('[logs]\nlevel = "sk-0123456789abcdef"\n')
    assert "0123456789" not in project.quick("config", "check").stderr


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("mainstay 0.")


def test_every_verb_is_listed_and_has_a_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listing = capsys.readouterr().out
    for verb in VERBS:
        assert f"\n    {verb} " in listing
        assert main([verb, "--help"]) == 0
        assert capsys.readouterr().out.startswith(f"usage: mainstay {verb}")


def test_only_the_verb_that_is_typed_is_imported(project: Project) -> None:
    code = (
        "import sys; from mainstay.cli.main import main; main(['config', 'check']);"
        "print(sorted(name for name in sys.modules if name.startswith('mainstay.cli.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project.path,
        env=BARE,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    expected = ["config", "main", "running", "terminal"]
    assert done.stdout.splitlines()[-1] == str([f"mainstay.cli.{name}" for name in expected])


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["start", "ecosystem.config.js"], "mainstay import"),
        (["start", "./app.js"], "[apps.NAME]"),
        (["restart", "0"], "apps have no numbers"),
        (["describe", "0"], "apps have no numbers"),
        (["logs", "0"], "apps have no numbers"),
    ],
)
def test_what_is_typed_by_habit_is_answered_with_what_is_typed_here(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(typed) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_who_only_asks_the_supervisor_loads_the_settings_of_no_room(project: Project) -> None:
    code = (
        "import sys; from mainstay.cli.main import main; main(['list']);"
        "print({'mainstay.config.schema', 'mainstay.events', 'asyncio', 'orjson'} & sys.modules.keys() or 'none')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project.path,
        env=BARE,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == ["none"]


def test_a_reader_that_has_seen_enough_is_no_error(project: Project) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as nobody_reads:
        done = subprocess.run(
            [sys.executable, "-m", "mainstay", "config", "schema"],
            cwd=project.path,
            env=BARE,
            stdout=nobody_reads,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (0, b"")


def test_without_the_bot_s_libraries_it_says_what_to_install(project: Project) -> None:
    code = (
        "import sys\nclass Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'sqlalchemy': raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\nfrom mainstay.cli.main import main\nsys.exit(main(['migrate']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project.path, env=BARE, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert (
        done.stderr == "mainstay: this needs the whole bot (sqlalchemy is missing): pip install 'mainstay[bot]'\n"
    )


def test_a_home_that_can_not_be_written_is_one_line(project: Project) -> None:
    done = project.run("migrate", MAINSTAY_HOME="/proc/nowhere")
    assert done.returncode == 1
    assert done.stderr.startswith("mainstay: ")
    assert done.stderr.count("\n") == 1
    assert "/proc/nowhere" in done.stderr


def test_the_parser_of_one_verb_is_that_of_all() -> None:
    alone, together = parser(["health"]), parser()
    typed = ["health", "--json", "--timeout", "2s"]
    assert vars(alone.parse_args(typed)) == vars(together.parse_args(typed))
