"""What may be written about MCP servers, and what of it is shown."""

import json

import pytest

from mainstay.config.show import settings
from mainstay.settings import Secret

GOOD = '[mcp.files]\ncommand = ["npx", "-y", "files"]\n'
MANAGER = '[agents.manager]\nmodels = ["primary"]\n'


def test_a_server_by_command_and_one_by_url_join_an_agent(project) -> None:
    toml = (
        f'{GOOD}env = {{ TOKEN = "env:FILES_TOKEN", LEVEL = "debug" }}\nread_only = ["list"]\n'
        '[mcp.web]\nurl = "https://web.example/mcp"\nheaders = { Authorization = "Bearer env:WEB_TOKEN" }\n'
        f'timeout = "5s"\nprefix = "w-"\n{MANAGER}mcp = ["files", "web"]\n'
    )
    config = project(toml, environ={"FILES_TOKEN": "hush-files", "WEB_TOKEN": "hush-web"})
    files, web = config.mcp["files"], config.mcp["web"]
    assert files.command == ("npx", "-y", "files")
    assert files.env == {"TOKEN": Secret("hush-files"), "LEVEL": "debug"}
    assert web.headers == {"Authorization": Secret("Bearer hush-web")}
    assert (files.prefix_for("files"), web.prefix_for("web"), web.timeout) == ("files_", "w-", 5.0)
    assert config.agents["manager"].mcp == ("files", "web")


def test_no_secret_of_a_table_is_shown_and_each_is_masked_elsewhere(project) -> None:
    toml = (
        f'{GOOD}env = {{ A = "env:ONE", API_KEY = "hush-two", LEVEL = "debug" }}\n'
        '[mcp.web]\nurl = "https://web.example/mcp"\nheaders = { X = "hush-three", Y = "env:FOUR" }\n'
    )
    config = project(toml, environ={"ONE": "hush-one", "FOUR": "hush-four"})
    shown = {each.key: each for each in settings(config)}
    assert shown["mcp.files.env"].value == {"A": "***", "API_KEY": "***", "LEVEL": "debug"}
    assert shown["mcp.web.headers"].value == {"X": "***", "Y": "***"}
    assert shown["mcp.files.headers"].text == "-"
    assert "hush" not in json.dumps([each.value for each in shown.values()])
    assert "hush" not in repr(config.mcp["web"])
    assert set(config.secrets) == {"hush-one", "hush-three", "hush-four"}


def test_words_of_a_command_may_be_the_same(project) -> None:
    assert project('[mcp.x]\ncommand = ["run", "-v", "-v"]\n').mcp["x"].command == ("run", "-v", "-v")


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("[mcp.x]\n", "mainstay.toml:1: mcp.x.url: is missing: write where the server is, or what starts it"),
        (f'{GOOD}url = "https://h/mcp"\n', "mainstay.toml:2: mcp.files.command: is given beside url"),
        ('[mcp.x]\nurl = "h/mcp"\n', "mainstay.toml:2: mcp.x.url: is not an address"),
        ('[mcp.x]\nurl = "http://h:port/mcp"\n', "mainstay.toml:2: mcp.x.url: is not an address"),
        ('[mcp.x]\nurl = "https://u:p@h/mcp"\n', "mcp.x.url: holds a user or a password; use headers"),
        (
            '[mcp.x]\nurl = "https://h/mcp"\ncwd = "/"\n',
            "mainstay.toml:3: mcp.x.cwd: is for a server with a command",
        ),
        ('[mcp.x]\nurl = "https://h/mcp"\nenv = { A = "b" }\n', "mcp.x.env: is for a server with a command"),
        (f'{GOOD}headers = {{ A = "b" }}\n', "mcp.files.headers: are for a server with a url"),
        (f'{GOOD}headers = {{ "A b" = "c" }}\n', "mcp.files.headers: 'A b' is not the name of a header"),
        (f'{GOOD}env = {{ "A=" = "c" }}\n', "mcp.files.env: 'A=' is not the name of a variable"),
        (f"{GOOD}env = {{ A = 1 }}\n", "mcp.files.env: A must be text in quotes"),
        (f'{GOOD}env = {{ A = "b\\u0000c" }}\n', "mcp.files.env: A has a line break or a NUL in it"),
        (f'{GOOD}env = "A=b"\n', "mcp.files.env: write a table of texts"),
        (
            f'{GOOD}env = {{ A = "env:NOT_THERE" }}\n',
            "mainstay.toml:3: mcp.files.env: the environment variable NOT_THERE is not set, here or in .env",
        ),
        ('[mcp.x]\ncommand = "npx -y some"\n', "mcp.x.command: 'npx -y some' is one word with spaces"),
        ('[mcp.x]\ncommand = [""]\n', "mcp.x.command: [''] is not a command"),
        ("[mcp.x]\ncommand = [1]\n", "mcp.x.command: [1] is not a command"),
        (f'{GOOD}prefix = "a.b"\n', "mcp.files.prefix: 'a.b' is no prefix"),
        (f'[mcp.{"x" * 40}]\ncommand = ["a"]\n', "is too long for the beginning of a tool's name"),
        (f'{GOOD}tools = ["read", "write"]\nread_only = ["reed"]\n', "reed is not among tools; did you mean read?"),
        (f"{GOOD}timeout = 0\n", "mcp.files.timeout: must be more than 0"),
        (f"{GOOD}connect_timeout = 0\n", "mcp.files.connect_timeout: must be more than 0"),
        (f'{GOOD}{MANAGER}mcp = ["flies"]\n', "agents.manager.mcp: there is no MCP server named flies; did you"),
        (f'{MANAGER}mcp = ["files"]\n', "there is no MCP server named files; add [mcp.files]"),
        (
            f'{GOOD}[mcp.files_two]\ncommand = ["b"]\n{MANAGER}mcp = ["files", "files_two"]\n',
            "agents.manager.mcp: tools of files and files_two could have the same name",
        ),
        (
            f'{GOOD}{MANAGER}mcp = ["files"]\ntools = ["m:files_read"]\n',
            "agents.manager.mcp: a tool of files could have the name of the tool files_read",
        ),
        (
            f'{GOOD}prefix = ""\n{MANAGER}mcp = ["files"]\nperson_memory = true\n',
            "a tool of files could have the name of the tool remember: give [mcp.files] another prefix",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(problems, toml: str, expected: str) -> None:
    assert any(expected in problem for problem in problems(toml)), problems(toml)
