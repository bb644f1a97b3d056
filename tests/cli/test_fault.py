"""``mainstay fault`` with models of the user's own, whoever started the sandbox, and when."""

import json

import httpx2
import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from mainstay.sandbox.process import find

from .conftest import Project, running

THREE = """
[models.quick]
provider = "sandbox"
[models.careful]
provider = "sandbox"
[models.cheap]
provider = "sandbox"
[agents.manager]
models = ["quick", "careful", "cheap"]
"""


def faults(project: Project) -> dict[str, list[str]]:
    listed: dict[str, list[dict[str, str]]] = json.loads(project.quick("fault", "list", "--json").stdout)
    return {model: [fault["name"] for fault in active] for model, active in listed.items()}


def test_each_configured_model_is_the_sandbox_s_and_fails_by_its_name(project: Project) -> None:
    (project.path / "mainstay.toml").write_text(THREE)
    assert project.quick("migrate").returncode == 0
    with running(project, "serve", ready="is ready"):
        assert faults(project) == {"quick": [], "careful": [], "cheap": []}
        told = project.quick("fault", "rate-limit", "--model", "quick", "--retry-after", "1m", "--times", "1")
        assert told.stdout == "quick: rate-limit, retry after 1m, the next 1 call; `mainstay fault clear` ends it\n"
        told = project.quick("fault", "cut", "--model", "careful", "--after-tokens", "0", "--after-calls", "1")
        limits = "after 0 tokens, letting 1 call pass first"
        assert told.stdout == f"careful: cut {limits}; `mainstay fault clear` ends it\n"
        assert faults(project) == {"quick": ["rate-limit"], "careful": ["cut"], "cheap": []}
        assert json.loads(project.quick("ask", "--json", "hello").stdout)["model"] == "careful"
        project.quick("fault", "overloaded", "--model", "quick")
        assert json.loads(project.quick("ask", "--json", "once more").stdout)["model"] == "cheap"
        wrong = project.quick("fault", "hang", "--model", "quik")
        assert wrong.returncode == 2
        assert wrong.stderr == "mainstay: fault: the sandbox has no model quik; did you mean quick?\n"
        assert project.quick("fault", "clear").stdout == "all models: no faults\n"


def test_a_sandbox_that_was_there_before_the_models_were_configured_has_them_too(project: Project) -> None:
    assert project.quick("migrate").returncode == 0
    with running(project, "sandbox", ready="sandbox ready"):
        assert faults(project) == {"primary": [], "fallback": []}
        project.quick("fault", "auth", "--model", "primary")
        (project.path / "mainstay.toml").write_text(THREE)
        with running(project, "serve", ready="is ready"):
            known = {"primary": ["auth"], "fallback": []}
            assert faults(project) == known | {"quick": [], "careful": [], "cheap": []}
            assert json.loads(project.quick("ask", "--json", "hello").stdout)["model"] == "quick"


def test_a_sandbox_by_hand_has_the_models_of_the_configuration(project: Project) -> None:
    (project.path / "mainstay.toml").write_text(THREE)
    with running(project, "sandbox", ready="sandbox ready"):
        assert faults(project) == {"quick": [], "careful": [], "cheap": []}


def connected(project: Project) -> ClientConnection:
    """A bot's end of a long connection."""
    address = find(project.path / ".mainstay")
    assert address is not None
    body = {"AppID": address.app_id, "AppSecret": address.app_secret}
    answer = httpx2.post(f"{address.feishu_url}/callback/ws/endpoint", json=body, trust_env=False)
    return connect(answer.json()["data"]["URL"], proxy=None)


def test_the_bot_s_connection_fails_by_name_too(project: Project) -> None:
    with running(project, "sandbox", ready="sandbox ready"):
        nobody = project.quick("fault", "quiet")
        assert nobody.returncode == 1
        assert (
            nobody.stderr == 'mainstay: fault: the bot has no long connection open: is its mode "subscription"?\n'
        )
        with connected(project) as connection:
            told = project.quick("fault", "half-open")
            assert told.stdout == "connection: 1 connection half-open; `mainstay fault clear` ends it\n"
            assert faults(project) == {"primary": [], "fallback": [], "connection": ["half-open"]}
            project.quick("fault", "clear")
            assert faults(project) == {"primary": [], "fallback": []}
            assert project.quick("fault", "kick").stdout == "connection: 1 connection ended, without a CLOSE\n"
            with pytest.raises(ConnectionClosedError):
                connection.recv()
        told = project.quick("fault", "refuse-connections", "--times", "2")
        assert told.stdout == "connection: the next 2 attempts to make one will be refused\n"
        for _ in range(2):
            with pytest.raises(InvalidStatus):
                connected(project)
        connected(project).close()
        wrong = project.quick("fault", "kick", "--model", "primary", "--times", "3")
        assert wrong.returncode == 2
        assert "fault: --model means nothing to kick, which is no model's" in wrong.stderr
        assert "fault: --times means nothing to kick, which is no model's" in wrong.stderr
