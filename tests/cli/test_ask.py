"""``mainstay ask`` goes the whole way, from the pretended platform through the service and back."""

import json
import subprocess
import sys

import pytest

from .conftest import BARE, Project, running


@pytest.fixture(autouse=True)
def _no_faults(request: pytest.FixtureRequest) -> None:
    if "service" in request.fixturenames:
        request.getfixturevalue("service").quick("fault", "clear")


def test_the_answer_and_who_gave_it_is_printed_as_json(service: Project) -> None:
    done = service.run("ask", "--json", "hello", "there")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert list(answer) == ["outcome", "text", "agent", "model", "hops", "seconds"]
    assert (answer["outcome"], answer["agent"]) == ("answered", "manager")
    assert (answer["model"], answer["hops"]) == ("primary", [])
    assert "hello there" in answer["text"]
    assert answer["seconds"] > 0


def test_a_specialist_is_named(service: Project) -> None:
    assert json.loads(service.quick("ask", "--json", "review my OKR").stdout)["agent"] == "okr"


def test_without_a_terminal_the_answer_is_the_only_output(service: Project) -> None:
    done = service.quick("ask", "how are you")
    assert done.returncode == 0
    assert "how are you" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert not done.stdout.startswith("\n")
    assert done.stderr.startswith("manager answered with model primary in ")


def test_a_fallback_shows_as_a_hop(service: Project) -> None:
    injected = service.quick("fault", "rate-limit", "--model", "primary", "--times", "1")
    assert injected.stdout == "primary: rate-limit, the next 1 call; `mainstay fault clear` ends it\n"
    answer = json.loads(service.quick("ask", "--json", "hello").stdout)
    assert answer["model"] == "fallback"
    assert answer["hops"] == [{"from": "primary", "to": "fallback", "category": "rate_limit"}]


def test_a_failure_is_shown_and_is_code_1(service: Project) -> None:
    service.quick("fault", "auth")
    listed = service.run("fault", "list")
    assert listed.stdout.split() == ["MODEL", "FAULT", "primary", "auth", "fallback", "auth"]
    done = service.quick("ask", "--json", "hello")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["outcome"] == "failed"
    assert answer["text"]
    service.quick("fault", "clear")
    assert service.quick("fault", "list").stdout == "no faults\n"
    assert json.loads(service.quick("fault", "list", "--json").stdout) == {"primary": [], "fallback": []}
    assert service.quick("ask", "hello").returncode == 0


BROKEN = """
class Broken:
    name = "broken"

    async def respond(self, message, turn):
        raise ConnectionError("nobody there")
        yield


factory = Broken
"""


def test_a_failure_that_may_be_tried_again_says_so_beside_the_answer(project: Project) -> None:
    (project.path / "broken.py").write_text(BROKEN)
    (project.path / "mainstay.toml").write_text('[service]\nresponder = "broken:factory"\n')
    assert project.quick("migrate").returncode == 0
    with running(project, "serve", ready="is ready"):
        done = project.quick("ask", "hello")
        assert done.returncode == 1
        assert done.stderr.endswith(" s; the card offers another try\n")
        assert list(json.loads(project.quick("ask", "--json", "hello").stdout)) == [
            "outcome",
            "text",
            "agent",
            "model",
            "hops",
            "seconds",
        ]


def test_an_answer_that_does_not_come_in_time_is_code_1(service: Project) -> None:
    service.quick("fault", "hang", "--for", "20s")
    done = service.quick("ask", "--json", "--timeout", "1s", "--chat", "oc_" + "b" * 32, "hello")
    assert done.returncode == 1
    assert "no outcome within 1s" in done.stderr
    assert json.loads(done.stdout)["outcome"] == "failed"


def test_people_and_chats_are_told_apart(service: Project) -> None:
    service.quick("ask", "--as", "ou_anna", "remember the blue door")
    answer = json.loads(service.quick("ask", "--json", "--as", "ou_ben", "what did I say?").stdout)
    assert "blue door" not in answer["text"]


def test_no_time_at_all_is_a_mistake_and_not_the_usual_time(project: Project) -> None:
    done = project.quick("ask", "--timeout", "0s", "hello")
    assert (done.returncode, done.stderr) == (2, "mainstay: ask: --timeout must be more than 0\n")


def test_without_a_sandbox_it_is_code_3(project: Project) -> None:
    done = project.quick("ask", "hello")
    assert done.returncode == 3
    assert done.stderr.startswith("mainstay: no sandbox runs for ")
    assert project.quick("fault", "list").returncode == 3


def test_a_sandbox_without_a_service_is_code_3(project: Project) -> None:
    command = [sys.executable, "-m", "mainstay", "sandbox"]
    with subprocess.Popen(command, cwd=project.path, env=BARE, stdout=subprocess.PIPE, text=True) as sandbox:
        assert sandbox.stdout is not None
        try:
            assert any("sandbox ready" in line for line in sandbox.stdout)
            done = project.quick("ask", "hello")
            assert done.returncode == 3
            assert done.stderr.startswith("mainstay: the sandbox runs, but no service listens to it")
        finally:
            sandbox.terminate()
        assert sandbox.wait(20) == 0
