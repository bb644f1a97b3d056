"""What passes between a client and the sandbox's model provider?

The vocabulary of one chat completion as the OpenAI API writes it, reduced to what the responder and the faults
need; and how the provider is set up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "Answer",
    "ApiError",
    "ChatMessage",
    "ChatRequest",
    "ProviderSettings",
    "Rejected",
    "Role",
    "Tool",
    "ToolCall",
]

Role = Literal["system", "developer", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """How the provider behaves when no fault is injected.

    Attributes:
        tokens_per_second: the speed of an answer; infinite sends it at once.
        ping_interval_s: time between the comments of a stream that stalls with pings.
        hang_limit_s: how long a call hangs or stalls at most, then its connection is reset; and how long a request
            may take to arrive.
        body_limit_bytes: the largest request that is read; a larger one is answered 413.
        answers_as: the model that the answers name, as those of a router that chose another one than was asked;
            empty: the one that was asked.
    """

    tokens_per_second: float = 60.0
    ping_interval_s: float = 1.0
    hang_limit_s: float = 600.0
    body_limit_bytes: int = 4 * 1024**2
    answers_as: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that the client offers; ``parameters`` is its JSON schema."""

    name: str
    parameters: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call of a function; ``arguments`` is a JSON text, as on the wire."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """One message of the conversation.

    Attributes:
        text: its text parts, joined by lines; parts of other kinds are left out.
        calls: what an assistant called.
        call_id: of a tool's message: the call that it answers.
    """

    role: Role
    text: str
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A valid request for a chat completion.

    Attributes:
        digest: the first 24 hexadecimal digits of the SHA-256 of the messages: equal conversations, equal digest.
        tool_choice: ``"auto"``, ``"none"``, ``"required"``, or the name of the one tool to call.
        max_tokens: where the answer is cut off; None for never.
        response_schema: the JSON schema that the answer must have; None for free text.
    """

    model: str
    messages: tuple[ChatMessage, ...]
    digest: str
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    stream: bool = False
    include_usage: bool = False
    max_tokens: int | None = None
    response_schema: Mapping[str, object] | None = None

    @property
    def said(self) -> str:
        """The last thing that the user said; empty if nothing was."""
        return next((message.text for message in reversed(self.messages) if message.role == "user"), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the responder says.

    Attributes:
        slowness: how many times the usual time each token takes.
    """

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    slowness: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiError:
    """An error in the form of the OpenAI API; ``code`` is a number where a gateway would put a status."""

    status: int
    message: str
    type: str = "invalid_request_error"
    code: str | int | None = None
    param: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def as_json(self) -> dict[str, object]:
        """The body of the response."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class Rejected(Exception):
    """The request can not be answered; ``error`` is what the client is told."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message)
        self.error = error
