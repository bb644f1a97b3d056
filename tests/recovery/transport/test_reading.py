"""What the bytes of a response say, wherever they are cut."""

import gzip
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.errors import Category
from mainstay.recovery.model import Failure
from mainstay.recovery.transport import reading
from mainstay.recovery.transport.reading import Reading

SSE = {"content-type": "text/event-stream; charset=utf-8"}
JSON = {"content-type": "application/json"}
CHUNK = b'data: {"choices": [{"delta": {"content": "the \\"error\\" of [DONE]"}}], "error": null}\n\n'
OVERLOADED = b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error"}}\n\n'
LOST = b'data: {"error": {"message": "lost", "code": 502}, "choices": []}\n\n'


def verdict(
    status: int, headers: Mapping[str, str], pieces: Sequence[bytes], *, whole: bool = True
) -> Category | str | None:
    """The first verdict, as the category of a failure or as it is."""
    judge = Reading(status, headers)
    for piece in pieces:
        if found := judge.feed(piece):
            return found.category if isinstance(found, Failure) else found
    found = judge.end(whole=whole)
    return found.category if isinstance(found, Failure) else found


STREAMS: list[tuple[bytes, Category | str | None]] = [
    (CHUNK * 2, None),
    (CHUNK + b"data: [DONE]\n\n", "good"),
    (CHUNK + b"data:[DONE]\r\n\r\n", "good"),
    (b": comment\n\nevent: ping\ndata: {}\n\n" + CHUNK, None),
    (b'event: message_stop\ndata: {"type": "message_stop"}\n\n', "good"),
    (b"event: response.completed\rdata: {}\r\r", "good"),
    (b'event: response.incomplete\ndata: {"response": {}}\n\n', "good"),
    (b'event: response.failed\ndata: {"response": {"error": {"code": "server_error"}}}\n\n', Category.SERVER_ERROR),
    (b'event: error\ndata: {"type": "error", "code": "rate_limit_exceeded"}\n\n', Category.RATE_LIMIT),
    (b"event: error\ndata: no JSON\n\n", Category.SERVER_ERROR),
    (b'data: {"error": {"message": "oops"}}\n\n', Category.SERVER_ERROR),
    (CHUNK + OVERLOADED, Category.OVERLOADED),
    (CHUNK + LOST + b"data: [DONE]\n\n", Category.SERVER_ERROR),
    (CHUNK + b"data: [DONE]\n\n" + LOST, "good"),
    (b'data: {"error": {}}\n\ndata: {"error": "a word"}\n\n', None),
    (b"data: " + b"x" * 200_000 + b"\n\ndata: [DONE]\n\n", "good"),
]


@given(data=st.data())
@pytest.mark.parametrize(("stream", "expected"), STREAMS)
def test_a_stream_says_the_same_wherever_it_is_cut(
    stream: bytes, expected: Category | str | None, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, min(len(stream), 300)), max_size=20)))
    ends = [len(stream) - cut for cut in data.draw(st.lists(st.integers(0, min(len(stream), 60)), max_size=20))]
    edges = sorted({0, *cuts, *ends, len(stream)})
    pieces = [stream[start:end] for start, end in pairwise(edges)]
    assert verdict(200, SSE, pieces, whole=False) == expected


class _Forgetful(reading._Events):
    """A mutant: takes the end of a piece for the end of a line."""

    def feed(self, text: bytes) -> reading.Verdict | None:
        found = super().feed(text) or super().feed(b"\n")
        self._line.clear()
        return found


class _Hasty(reading._Events):
    """A mutant: looks for the last event anywhere."""

    def feed(self, text: bytes) -> reading.Verdict | None:
        return "good" if b"[DONE]" in text else super().feed(text)


class _Endless(reading._Events):
    """A mutant: never goes on after a line that is too long."""

    def feed(self, text: bytes) -> reading.Verdict | None:
        return None if self._skipping else super().feed(text)


@pytest.mark.parametrize("mutant", [_Forgetful, _Hasty, _Endless])
def test_the_property_finds_mutants(mutant: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_Events", mutant)
    wrong = 0
    for stream, expected in STREAMS:
        for size in (1, 7, 60_000) if len(stream) < 1000 else (60_000,):
            pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
            wrong += verdict(200, SSE, pieces, whole=False) != expected
    assert wrong


@pytest.mark.parametrize(
    ("status", "body", "category"),
    [
        (429, b'{"error": {"code": "insufficient_quota"}}', Category.QUOTA_EXHAUSTED),
        (429, b"", Category.RATE_LIMIT),
        (400, b'{"error": {"code": "context_length_exceeded"}}', Category.CONTEXT_LENGTH),
        (
            400,
            b'[{"error": {"status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}}]',
            Category.AUTH,
        ),
        (400, b'{"code": 99991400, "msg": "too many"}', Category.RATE_LIMIT),
        (503, b"<html>", Category.OVERLOADED),
        (503, b'{"error": "' + b"x" * 100_000 + b'"}', Category.OVERLOADED),
        (599, b"null", Category.SERVER_ERROR),
        (404, b"{}", Category.INVALID_REQUEST),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_an_error_response_is_judged_with_as_much_of_its_body_as_was_read(
    status: int, body: bytes, category: Category, whole: bool
) -> None:
    assert verdict(status, JSON, [body], whole=whole) == category


def test_a_failure_carries_status_wait_and_words_of_the_response() -> None:
    judge = Reading(429, {**JSON, "retry-after": "7"})
    judge.feed(b'{"error": {"message": "slow down"}}')
    failure = judge.end(whole=True)
    assert isinstance(failure, Failure)
    assert (failure.status, failure.retry_after_s, failure.message) == (429, 7.0, "HTTP 429: slow down")
    bare = Reading(503, {}).end(whole=True)
    assert isinstance(bare, Failure)
    assert bare.message.startswith("HTTP 503: ")


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        (JSON, b'{"choices": [], "error": null}', "good"),
        (JSON, b'{"error": {"message": "lost", "type": "server_error"}}', Category.SERVER_ERROR),
        ({"content-type": "application/problem+json"}, b'{"error": {"code": "timeout"}}', Category.TIMEOUT),
        (JSON, b'{"error": {"message": "' + b"x" * 100_000 + b'"}}', "good"),
        (JSON, b'{"half": ', "good"),
        ({"content-type": "text/plain"}, b'{"error": {"message": "lost"}}', "good"),
        ({}, b"", "good"),
    ],
)
def test_a_good_status_is_a_success_unless_the_whole_body_is_an_error_object(
    headers: dict[str, str], body: bytes, expected: Category | str
) -> None:
    assert verdict(200, headers, [body]) == expected
    assert verdict(200, headers, [body], whole=False) is None


@pytest.mark.parametrize(
    ("encoding", "packed"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("x-gzip", gzip.compress)]
)
def test_a_compressed_body_is_read_too(encoding: str, packed: Callable[[bytes], bytes]) -> None:
    quota = packed(json.dumps({"error": {"code": "insufficient_quota"}}).encode())
    assert verdict(429, {**JSON, "content-encoding": encoding}, [quota[:9], quota[9:]]) is Category.QUOTA_EXHAUSTED
    done = packed(CHUNK + b"data: [DONE]\n\n")
    pieces = [done[at : at + 1] for at in range(len(done))]
    assert verdict(200, {**SSE, "content-encoding": encoding}, pieces, whole=False) == "good"


@pytest.mark.parametrize("encoding", ["br", "gzip"])
def test_what_can_not_be_unpacked_is_judged_by_its_end_alone(encoding: str) -> None:
    headers = {**SSE, "content-encoding": encoding}
    assert verdict(200, headers, [b"data: [DONE]\n\n"], whole=False) is None
    assert verdict(200, headers, [b"data: [DONE]\n\n"]) == "good"
    assert verdict(429, {**JSON, "content-encoding": encoding}, [b"\x00\x01"]) is Category.RATE_LIMIT


def test_a_body_that_unpacks_without_bound_is_not_followed() -> None:
    bomb = gzip.compress(bytes(64 * 1024**2))
    judge = Reading(500, {**JSON, "content-encoding": "gzip"})
    judge.feed(bomb)
    assert judge._body is None
    assert verdict(500, {**JSON, "content-encoding": "gzip"}, [bomb]) is Category.SERVER_ERROR
