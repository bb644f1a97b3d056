"""What crosses the control interface is read back as it was written."""

import json
from dataclasses import fields

import pytest

from mainstay.sandbox.model import Reply, SandboxAddress, SandboxSettings, Shown, Snapshot, to_json
from mainstay.settings import SETTING, SettingInfo

ADDRESS = SandboxAddress(
    pid=1,
    started="mark",
    feishu_url="http://127.0.0.1:1",
    models={"primary": "http://127.0.0.1:2/v1"},
    control_url="http://127.0.0.1:1/sandbox",
    control_token="c",
    app_id="cli_a000000000000001",
    app_secret="s",
    encrypt_key="e",
    verification_token="v",
    model_token="m",
)


def test_an_address_is_read_back_and_what_a_newer_version_added_is_ignored() -> None:
    written = json.loads(to_json(ADDRESS)) | {"added_later": 1}
    assert SandboxAddress.from_json(json.dumps(written)) == ADDRESS


@pytest.mark.parametrize("text", ["{", "{}", "[]", "null", '{"pid": 1}'])
def test_what_is_no_address_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|Expecting"):
        SandboxAddress.from_json(text)


def test_a_snapshot_is_read_back_with_everything_in_it() -> None:
    shown = (Shown(0.5, 1, "text"),)
    reply = Reply(
        message_id="om_1",
        kind="card",
        text="text",
        status="",
        streaming=False,
        final=True,
        parts={"answer": "text"},
        actions=("More",),
        reactions=("OK",),
        history=shown,
    )
    snapshot = Snapshot(
        message_id="om_0",
        revision=3,
        said="hello",
        recalled=False,
        text="text",
        status="",
        streaming=False,
        final=True,
        reactions=("OnIt",),
        replies=(reply,),
    )
    assert Snapshot.from_dict(json.loads(to_json(snapshot))) == snapshot


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("time_scale", "0"), ("time_scale", "nan"), ("time_scale", "2000"), ("tokens_per_second", "-1")],
)
def test_a_setting_that_is_no_speed_is_refused_where_it_is_written(name: str, wrong: str) -> None:
    info: SettingInfo = next(each for each in fields(SandboxSettings) if each.name == name).metadata[SETTING]
    assert info.parse is not None
    with pytest.raises(ValueError, match=wrong):
        info.parse(wrong)
