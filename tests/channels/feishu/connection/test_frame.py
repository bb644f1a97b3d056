"""Is a frame what the platform's own SDK makes of it, and is everything else refused?"""

import random
from importlib import import_module
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.channels.feishu.connection.frame import CONTROL, DATA, Frame, decode, encode

if TYPE_CHECKING:
    from lark_oapi.ws.pb.pbbp2_pb2 import Frame as Theirs

pytestmark = pytest.mark.usefixtures("lark")

UINT64 = st.integers(0, 2**64 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
FRAMES = st.builds(
    Frame,
    seq_id=UINT64,
    log_id=UINT64,
    service=INT32,
    method=INT32,
    headers=st.lists(st.tuples(TEXT, TEXT), max_size=6).map(tuple),
    payload_encoding=st.none() | TEXT,
    payload_type=st.none() | TEXT,
    payload=st.none() | st.binary(max_size=300),
    log_id_new=st.none() | TEXT,
)
EVENT = Frame(
    seq_id=0,
    log_id=7301234567890123456,
    service=33554678,
    method=DATA,
    headers=(
        ("timestamp", "1764143046123"),
        ("type", "event"),
        ("message_id", "9f6f4a64-6c0c-4d2e-9f0a-1c2d3e4f5a6b"),
        ("sum", "1"),
        ("seq", "0"),
        ("trace_id", "a1b2"),
    ),
    payload='{"schema":"2.0","event":{"text":"你好 👋🏽 שלום"}}'.encode(),
)
CORPUS = (
    Frame(service=33554678, method=CONTROL, headers=(("type", "ping"),)),
    Frame(service=-1, method=CONTROL, headers=(("type", "pong"),), payload=b'{"PingInterval":120}'),
    EVENT,
    Frame(seq_id=2**64 - 1, log_id=2**63, service=-(2**31), method=2**31 - 1, log_id_new="", payload=b""),
    Frame(service=1, method=DATA, payload_encoding="gzip", payload_type="json", payload=bytes(range(256)) * 500),
)


def empty() -> "Theirs":
    """Imported late, as all of the SDK: with it comes what takes two seconds in every worker."""
    return import_module("lark_oapi.ws.pb.pbbp2_pb2").Frame()


def theirs(frame: Frame) -> "Theirs":
    made = empty()
    made.SeqID, made.LogID, made.service, made.method = frame.seq_id, frame.log_id, frame.service, frame.method
    for key, value in frame.headers:
        made.headers.add(key=key, value=value)
    for name, value in (
        ("payload_encoding", frame.payload_encoding),
        ("payload_type", frame.payload_type),
        ("payload", frame.payload),
        ("LogIDNew", frame.log_id_new),
    ):
        if value is not None:
            setattr(made, name, value)
    return made


@pytest.mark.parametrize("frame", CORPUS)
def test_frames_of_the_corpus_are_written_as_the_sdk_writes_them_and_read_back(frame: Frame) -> None:
    data = encode(frame)
    assert data == theirs(frame).SerializeToString()
    assert decode(data) == frame


@given(FRAMES)
def test_every_frame_is_written_as_the_sdk_writes_it_and_read_back(frame: Frame) -> None:
    data = encode(frame)
    assert data == theirs(frame).SerializeToString()
    assert decode(data) == frame


def read_again(data: bytes) -> bytes | None:
    """What the SDK writes of what it has read; None if it can not."""
    frame = empty()
    try:
        frame.ParseFromString(data)
        written: bytes = frame.SerializeToString()
    except Exception:  # noqa: BLE001  theirs has many
        return None
    return written


@given(st.binary(max_size=200) | st.builds(lambda a, b: encode(a) + encode(b), FRAMES, FRAMES))
def test_any_bytes_are_a_frame_or_one_kind_of_error(data: bytes) -> None:
    try:
        frame = decode(data)
    except ValueError:
        return
    assert decode(encode(frame)) == frame
    kept = sum(len(part) for part in (frame.payload or b"", frame.extra)) + sum(
        len(key) + len(value) for key, value in frame.headers
    )
    assert kept <= len(data)


@settings(max_examples=300)
@given(FRAMES, st.randoms(use_true_random=False))
def test_a_damaged_frame_that_is_taken_is_taken_as_the_sdk_takes_it(frame: Frame, rng: random.Random) -> None:
    data = bytearray(encode(frame))
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data))
        match rng.randrange(3):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                data.insert(at, rng.randrange(256))
            case 2 if len(data) > 1:
                del data[at]
    damaged = bytes(data)
    try:
        ours = encode(decode(damaged))
    except ValueError:
        return
    assert ours == read_again(damaged)


def test_what_a_later_version_adds_is_part_of_the_acknowledgement() -> None:
    added = b"\x52\x03new" + b"\x58\x07" + b"\x61" + bytes(8) + b"\x6d" + bytes(4)
    data = encode(EVENT) + added
    assert decode(data).extra == added
    assert encode(decode(data)) == data == read_again(data)


@pytest.mark.parametrize("cut", range(len(encode(Frame(service=33554678, method=DATA)))))
def test_a_frame_that_lacks_what_is_required_is_refused(cut: int) -> None:
    with pytest.raises(ValueError, match=r"cut off|required"):
        decode(encode(Frame(service=33554678, method=DATA))[:cut])


def test_a_frame_whose_payload_is_cut_off_is_refused() -> None:
    with pytest.raises(ValueError, match="cut off"):
        decode(encode(EVENT)[:-1])


@pytest.mark.parametrize(
    "data",
    [
        encode(EVENT) + b"\x0b",  # a group
        encode(EVENT) + b"\x00\x00",  # field 0
        encode(EVENT) + b"\x52\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # longer than there is anything
        encode(EVENT) + b"\x08" + b"\xff" * 11,  # a number without end
        encode(EVENT) + b"\x2a\x03\x0a\x01k",  # a header without a value
        encode(EVENT) + b"\x32\x01\xff",  # not UTF-8
        b"",
    ],
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"field|cut off|no end|header|utf-8"):
        decode(data)
