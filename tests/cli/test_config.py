"""``mainstay config`` shows what holds and where it came from."""

import json

from .conftest import Project


def test_check_says_what_was_read_and_what_stands_in(project: Project) -> None:
    (project.path / "mainstay.toml").write_text("[service]\n")
    done = project.run("config", "check")
    assert done.returncode == 0
    assert done.stdout == (
        f"{project.path}/mainstay.toml: right\n"
        "the sandbox stands in for models.primary, models.fallback, channels.feishu\n"
    )


def test_check_warns_about_readable_secrets(project: Project) -> None:
    (project.path / ".env").write_text("LOG_LEVEL=debug\n")
    (project.path / ".env").chmod(0o644)
    assert "warning: .env can be read by other users" in project.run("config", "check").stdout


def test_show_tells_the_origin_of_each_value_and_no_secret(project: Project) -> None:
    (project.path / ".env").write_text("OPENROUTER_API_KEY=sk-or-hush-hush\n")
    done = project.run("config", "show")
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines()}
    assert lines["service.port"] == ["service.port", str(project.port), "environment", "PORT"]
    assert lines["models.primary.api_key"] == ["models.primary.api_key", "***", ".env:1", "(default)"]
    assert "hush" not in done.stdout
    shown = json.loads(project.quick("config", "show", "--json").stdout)
    assert shown["service.port"] == {"value": project.port, "origin": "environment PORT"}
    assert shown["models.primary.api_key"]["value"] == "***"


def test_the_schema_is_json(project: Project) -> None:
    schema = json.loads(project.quick("config", "schema").stdout)
    assert schema["properties"]["service"]["properties"]["port"]["default"] == 3000
