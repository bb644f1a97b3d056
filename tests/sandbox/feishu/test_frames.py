"""Frames are written as the official SDK writes them, and nothing that is not one is taken for one."""

import types
from contextlib import suppress
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.sandbox.feishu.frames import Frame, decode, encode

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
FRAMES = st.builds(
    Frame,
    seq_id=st.integers(0, 2**64 - 1),
    log_id=st.integers(0, 2**64 - 1),
    service=st.integers(-(2**31), 2**31 - 1),
    method=st.integers(-(2**31), 2**31 - 1),
    headers=st.lists(st.tuples(TEXTS, TEXTS), max_size=6).map(tuple),
    payload_encoding=st.none() | TEXTS,
    payload_type=st.none() | TEXTS,
    payload=st.none() | st.binary(max_size=300),
    log_id_new=st.none() | TEXTS,
)


def theirs(lark: types.ModuleType, frame: Frame) -> Any:  # noqa: ANN401  the SDK is untyped
    written = import_module("lark_oapi.ws.pb.pbbp2_pb2").Frame()
    written.SeqID, written.LogID, written.service, written.method = (
        frame.seq_id,
        frame.log_id,
        frame.service,
        frame.method,
    )
    for key, value in frame.headers:
        header = written.headers.add()
        header.key, header.value = key, value
    fields = {"payload_encoding": "payload_encoding", "payload_type": "payload_type", "payload": "payload"}
    for theirs_, ours in {**fields, "LogIDNew": "log_id_new"}.items():
        if getattr(frame, ours) is not None:
            setattr(written, theirs_, getattr(frame, ours))
    return written


@given(FRAMES)
def test_a_frame_is_read_as_it_was_written(frame: Frame) -> None:
    assert decode(encode(frame)) == frame


def test_it_is_written_byte_for_byte_as_the_sdk_writes_it(lark: types.ModuleType) -> None:
    @given(FRAMES)
    def check(frame: Frame) -> None:
        assert encode(frame) == theirs(lark, frame).SerializeToString()

    check()


@given(FRAMES, st.data())
def test_a_frame_that_is_cut_off_is_refused(frame: Frame, data: st.DataObject) -> None:
    """But where a whole field is missing that may be missing."""
    written = encode(frame)
    cut = written[: data.draw(st.integers(0, len(written) - 1))]
    try:
        read = decode(cut)
    except ValueError:
        return
    assert encode(read) == cut


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_refused(data: bytes) -> None:
    with suppress(ValueError):
        assert decode(encode(decode(data))) == decode(data)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (b"", "seq_id, log_id, service, method missing"),
        (b"\x08\x00\x10\x00\x18\x01", "method missing"),
        (b"\x0a\x00", "field 1 has the wrong type"),
        (b"\x0b", "field 1 of unknown type 3"),
        (b"\x08" + b"\x80" * 11, "more than 10 bytes"),
        (b"\x2a\x02\x0a\x00", "a header without key or value"),
        (b"\x42\x05ab", "cut off"),
    ],
)
def test_what_is_wrong_with_it_is_said(written: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode(written)


def test_a_field_of_a_later_version_is_passed_over() -> None:
    frame = Frame(payload=b"{}")
    assert decode(encode(frame) + b"\x50\x01\x5a\x01x") == frame


def test_of_a_number_that_is_too_large_the_64_bits_count() -> None:
    assert decode(b"\x08" + b"\xff" * 9 + b"\x7f" + b"\x10\x00\x18\x00\x20\x00").seq_id == 2**64 - 1
