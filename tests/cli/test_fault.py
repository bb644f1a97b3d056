"""``mainstay fault`` with models of the user's own, whoever started the sandbox, and when."""

import json

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
    listed: dict[str, list[dict[str, str]]] = json.loads(project.run("fault", "list", "--json").stdout)
    return {model: [fault["name"] for fault in active] for model, active in listed.items()}


def test_each_configured_model_is_the_sandbox_s_and_fails_by_its_name(project: Project) -> None:
    (project.path / "mainstay.toml").write_text(THREE)
    assert project.run("migrate").returncode == 0
    with running(project, "serve", ready="is ready"):
        assert faults(project) == {"quick": [], "careful": [], "cheap": []}
        told = project.run("fault", "rate-limit", "--model", "quick", "--retry-after", "1m", "--times", "1")
        assert told.stdout == "quick: rate-limit, retry after 1m, the next 1 call; `mainstay fault clear` ends it\n"
        told = project.run("fault", "cut", "--model", "careful", "--after-tokens", "0", "--after-calls", "1")
        limits = "after 0 tokens, letting 1 call pass first"
        assert told.stdout == f"careful: cut {limits}; `mainstay fault clear` ends it\n"
        assert faults(project) == {"quick": ["rate-limit"], "careful": ["cut"], "cheap": []}
        assert json.loads(project.run("ask", "--json", "hello").stdout)["model"] == "careful"
        project.run("fault", "overloaded", "--model", "quick")
        assert json.loads(project.run("ask", "--json", "once more").stdout)["model"] == "cheap"
        wrong = project.run("fault", "hang", "--model", "quik")
        assert wrong.returncode == 2
        assert wrong.stderr == "mainstay: fault: the sandbox has no model quik; did you mean quick?\n"
        assert project.run("fault", "clear").stdout == "all models: no faults\n"


def test_a_sandbox_that_was_there_before_the_models_were_configured_has_them_too(project: Project) -> None:
    assert project.run("migrate").returncode == 0
    with running(project, "sandbox", ready="sandbox ready"):
        assert faults(project) == {"primary": [], "fallback": []}
        project.run("fault", "auth", "--model", "primary")
        (project.path / "mainstay.toml").write_text(THREE)
        with running(project, "serve", ready="is ready"):
            known = {"primary": ["auth"], "fallback": []}
            assert faults(project) == known | {"quick": [], "careful": [], "cheap": []}
            assert json.loads(project.run("ask", "--json", "hello").stdout)["model"] == "quick"


def test_a_sandbox_by_hand_has_the_models_of_the_configuration(project: Project) -> None:
    (project.path / "mainstay.toml").write_text(THREE)
    with running(project, "sandbox", ready="sandbox ready"):
        assert faults(project) == {"quick": [], "careful": [], "cheap": []}
