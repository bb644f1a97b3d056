"""How does the OpenAI API write an answer?

One object, or the events of a stream.
"""

from dataclasses import dataclass

import orjson

from mainstay.sandbox.provider.model import Answer, ChatRequest
from mainstay.sandbox.provider.tokens import ArgumentsPiece, CallPiece, Piece, TextPiece, pieces, prompt_tokens

__all__ = ["DONE", "Completion", "data", "first_event", "last_event", "piece_event", "said", "usage_event", "whole"]

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One answer on its way, with what every message about it repeats.

    Attributes:
        provider: the name of the listener's model, shown as the fingerprint.
        answers_as: the model that the answer names; empty for the one that was asked.
        created: seconds since 1970.
    """

    id: str
    provider: str
    created: int
    request: ChatRequest
    answer: Answer
    answers_as: str = ""

    def head(self, kind: str) -> dict[str, object]:
        """The fields that all objects begin with."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.answers_as or self.request.model,
            "system_fingerprint": f"sandbox-{self.provider}",
        }


def said(completion: Completion) -> tuple[tuple[Piece, ...], str]:
    """The pieces within the client's limit, and the finish reason."""
    everything, limit = tuple(pieces(completion.answer)), completion.request.max_tokens
    if limit is not None and len(everything) > limit:
        return everything[:limit], "length"
    return everything, "tool_calls" if completion.answer.calls else "stop"


def first_event(completion: Completion) -> bytes:
    """Who speaks; carries no token."""
    return _event(completion, {"role": "assistant", "content": None if completion.answer.calls else ""})


def piece_event(completion: Completion, piece: Piece) -> bytes:
    """One token."""
    return _event(completion, _delta(piece))


def last_event(completion: Completion, finish_reason: str) -> bytes:
    """The answer is finished, and why; a stream without it is truncated."""
    return _event(completion, {}, finish_reason)


def usage_event(completion: Completion, tokens: int) -> bytes:
    """What was used; after the last event, for a client that asked."""
    usage = _usage(completion, tokens)
    return data(completion.head("chat.completion.chunk") | {"choices": [], "usage": usage})


def data(value: object) -> bytes:
    """One server-sent event."""
    return b"data: " + orjson.dumps(value) + b"\n\n"


def whole(completion: Completion, sent: tuple[Piece, ...], finish_reason: str | None) -> bytes:
    """The one object in which a client that does not stream gets these pieces."""
    text = "".join(piece.text for piece in sent if isinstance(piece, TextPiece))
    calls = [_call(piece, sent) for piece in sent if isinstance(piece, CallPiece)]
    message: dict[str, object] = {"role": "assistant", "content": None if calls else text}
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    usage = _usage(completion, len(sent))
    return orjson.dumps(completion.head("chat.completion") | {"choices": [choice], "usage": usage})


def _call(call: CallPiece, sent: tuple[Piece, ...]) -> dict[str, object]:
    mine = (piece.text for piece in sent if isinstance(piece, ArgumentsPiece) and piece.index == call.index)
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": "".join(mine)}}


def _usage(completion: Completion, tokens: int) -> dict[str, int]:
    prompt = prompt_tokens(completion.request)
    return {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}


def _event(completion: Completion, delta: dict[str, object], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    usage = {"usage": None} if completion.request.include_usage else {}
    return data(completion.head("chat.completion.chunk") | {"choices": [choice]} | usage)


def _delta(piece: Piece) -> dict[str, object]:
    match piece:
        case TextPiece(text):
            return {"content": text}
        case CallPiece(index, call_id, name):
            function = {"name": name, "arguments": ""}
            return {"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": function}]}
        case ArgumentsPiece(index, text):
            return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}
