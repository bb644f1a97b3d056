"""An ecosystem file is read as PM2 reads it, or one line says why not."""

import os
from pathlib import Path

import pytest

from mainstay.deploy.pm2 import reading
from mainstay.deploy.pm2.model import Script
from mainstay.deploy.pm2.reading import look, read
from mainstay.errors import ConfigError

APP = {"apps": [{"script": "a.js"}]}


def written(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        '{"apps": [{"script": "a.js"}]}',
        '\ufeff{"apps": [{"script": "a.js"}]}',
        '// ours\n{"apps": [ /* one */ {"script": "a.js", }, // the last\n ],\n}\n',
    ],
)
def test_json_may_have_comments_and_commas_at_ends(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert read(written(tmp_path, "ecosystem.json", text)) == APP


def test_what_looks_like_a_comment_in_a_text_is_none(tmp_path: Path) -> None:
    text = '{"url": "http://x/*,]*/", "more": ",}"}'
    assert read(written(tmp_path, "e.json", text)) == {"url": "http://x/*,]*/", "more": ",}"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ecosystem.config.js", "console.log('noise')\nmodule.exports = { apps: [{ script: `${'a'}.js` }] }"),
        (
            "ecosystem.config.cjs",
            "const path = require('path'); exports.apps = [{script: path.basename('/x/a.js')}]",
        ),
        ("ecosystem.config.mjs", "export default { apps: [{ script: 'a.js', notHere: () => 1 }] }"),
        ("ecosystem.json", "{apps: [{script: process.platform && 'a.js'}]}"),
    ],
)
def test_javascript_is_read_by_node(name: str, text: str, tmp_path: Path, node: str) -> None:
    assert read(written(tmp_path, name, text)) == APP


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("e.config.js", "module.exports = { apps: [", "node says: Unexpected end of input .*e.config.js:1"),
        ("e.config.js", "throw new Error('no such thing')", "node says: no such thing"),
        ("e.config.js", "require('./absent')", "node says: .*Cannot find module './absent'"),
        ("e.config.js", "process.exit(3)", "node says: nothing, and ends with 3"),
        ("e.config.js", "process.stdout.write('x'); module.exports = {}", "prints to standard output"),
        ("e.json", "{apps: [}", "is not JSON: .*line 1.*; and as JavaScript: node says: Unexpected token"),
    ],
)
def test_a_broken_file_is_an_error_of_one_line(name: str, text: str, says: str, tmp_path: Path, node: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        read(written(tmp_path, name, text))
    assert "\n" not in str(raised.value)


def test_a_file_that_is_never_done_ends(tmp_path: Path, node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_DEADLINE_S", 0.5)
    with pytest.raises(ConfigError, match="node was not done with it within 500ms"):
        read(written(tmp_path, "e.config.js", "for (;;) {}"))


def test_without_node_the_error_says_how_to_make_json_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"only node can read JavaScript.*JSON.stringify"):
        read(written(tmp_path, "e.config.js", "module.exports = {}"))
    with pytest.raises(ConfigError, match="is not JSON"):
        read(written(tmp_path, "e.json", "{apps: []}"))


def test_what_can_not_be_read_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read(tmp_path / "absent.json")
    with pytest.raises(ConfigError, match="YAML is not read"):
        read(written(tmp_path, "e.yaml", "apps: []"))
    (tmp_path / "latin.json").write_bytes(b'"\xe9"')
    with pytest.raises(ConfigError, match="not UTF-8"):
        read(tmp_path / "latin.json")
    with pytest.raises(ConfigError, match="nested too deeply"):
        read(written(tmp_path, "deep.json", "[" * 100_000))


def test_a_program_is_told_from_a_text(tmp_path: Path) -> None:
    written(tmp_path, "tool", "#!/usr/bin/env node\n")
    (tmp_path / "program").symlink_to(os.path.realpath("/bin/sh"))
    assert look(str(tmp_path), "tool") is Script.TEXT
    assert look(str(tmp_path), "program") is Script.BINARY
    assert look(str(tmp_path), "absent") is Script.MISSING
    assert look("", str(tmp_path)) is Script.MISSING
