"""What rooms declare is what can be set, shown and read about."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mainstay.config.schema import SECTIONS
from mainstay.config.show import settings
from mainstay.config.written import json_schema, settings_page
from mainstay.settings import SETTING

EVERY = [of_kind for section in SECTIONS.values() for of_kind in section.of_kinds().values()]
_BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"pydantic", "pydantic_ai", "starlette", "sqlalchemy", "uvicorn", "httpx2",
                                      "openai", "alembic", "cryptography"}:
            raise ImportError(f"{name} was imported")
sys.meta_path.insert(0, Blocked())
from mainstay.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("typed", ["config check", "config show", "config schema", "init", "--help"])
def test_reading_the_configuration_loads_no_framework(tmp_path: Path, typed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _BLOCKED, *typed.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0, done.stderr


def test_every_setting_is_declared_with_help() -> None:
    for section in EVERY:
        for field in dataclasses.fields(section.settings):
            assert SETTING in field.metadata, f"{section.name}.{field.name}"
        for key in section.keys.values():
            assert re.search(r"[.;…]$", key.info.help), f"{section.name}.{key.name}: {key.info.help}"


def test_the_defaults_of_every_room_pass_its_own_rules() -> None:
    from mainstay.config.values import fit

    for section in EVERY:
        for key in section.keys.values():
            if isinstance(key.default, bool | int | float | str) and key.default != "":
                assert fit(key.default, key) == key.default, f"{section.name}.{key.name}"


def test_show_lists_every_setting_with_its_origin_and_no_secret(project) -> None:
    environ = {"FEISHU_APP_ID": "cli_1", "FEISHU_APP_SECRET": "hush-hush", "FEISHU_ENCRYPT_KEY": "hush-hush-2"}
    toml = '[service]\nturn_timeout = 90\n[mcp.files]\ncommand = ["files"]\n'
    shown = {each.key: each for each in settings(project(toml, environ))}
    assert shown["service.turn_timeout"].value == "1m30s"
    assert shown["service.turn_timeout"].origin == "mainstay.toml:2"
    assert shown["channels.feishu.app_secret"].value == "***"
    assert shown["channels.feishu.app_id"].value == "cli_1"
    assert shown["channels.feishu.verification_token"].value == ""
    assert shown["agents.manager.models"].value == ["primary", "fallback"]
    assert shown["memory.history_bytes"].value == "256KiB"
    assert "hush" not in json.dumps([dataclasses.asdict(each) for each in shown.values()])
    for section in SECTIONS.values():
        for name in section.keys:
            assert any(key.startswith(f"{section.name}.") and key.endswith(f".{name}") for key in shown), name


def test_the_schema_knows_every_key_and_refuses_others() -> None:
    schema = json_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert set(schema["properties"]) == set(SECTIONS)
    for name, section in SECTIONS.items():
        table = schema["properties"][name]
        if section.named:
            [table] = table["patternProperties"].values()
        tables = table["anyOf"] if section.kinds else [table]
        for table, of_kind in zip(tables, section.of_kinds().values(), strict=True):
            assert set(table["properties"]) == {*of_kind.keys, *of_kind.tables}
            assert table["additionalProperties"] is False
            for inner, each in of_kind.tables.items():
                assert set(table["properties"][inner]["properties"]) == set(each.keys)
                assert table["properties"][inner]["additionalProperties"] is False
    enabled = schema["properties"]["sandbox"]["properties"]["enabled"]
    assert enabled["enum"] == ["auto", "true", "false", True, False]
    duration = re.compile(schema["properties"]["service"]["properties"]["turn_timeout"]["pattern"])
    assert all(duration.search(text) for text in ("30s", "1h30m", "1h 30m", "env:X"))
    assert not any(duration.search(text) for text in ("soon", "30", "s", ""))


def test_the_page_lists_every_key_and_variable() -> None:
    page = settings_page()
    for section in EVERY:
        for key in section.keys.values():
            assert f"| `{key.name}` |" in page
            for name in key.info.env:
                assert f"`{name}`" in page
    assert "`FEISHU_SUBSCRIPTION_MODE`" in page
