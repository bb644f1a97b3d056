"""Every way in which a call has been seen to fail has its category."""

import asyncio
import json
import sqlite3
import ssl

import httpx2
import openai
import pytest
from pydantic_ai import exceptions as ai

from mainstay.errors import Category, StorageUnavailable
from mainstay.recovery.classify import classify
from mainstay.recovery.model import AttemptError

REQUEST = httpx2.Request("POST", "http://127.0.0.1/v1/chat/completions")


def openai_error(status: int, body: object = None, headers: dict[str, str] | None = None) -> openai.APIStatusError:
    """What the SDK raises for this response."""
    response = httpx2.Response(status, headers=headers, json=body, request=REQUEST)
    return openai.AsyncOpenAI(api_key="x", base_url="http://127.0.0.1/v1")._make_status_error_from_response(
        response
    )


def model_error(status: int, code: str = "", message: str = "", **more: object) -> ai.ModelHTTPError:
    return ai.ModelHTTPError(status, "m", {"code": code, "message": message, **more}, provider_error_code=code)


def named(name: str, *bases: type[BaseException], **attributes: object) -> BaseException:
    """An exception of an SDK that is not installed here, known by its name alone."""
    error = type(name, bases or (Exception,), {})(name)
    for key, value in attributes.items():
        setattr(error, key, value)
    return error


def raised_from(cause: BaseException, error: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


KNOWN: list[tuple[BaseException, Category]] = [
    # cancellation, and the timeout that looks like it
    (asyncio.CancelledError(), Category.CANCELLED),
    (GeneratorExit(), Category.CANCELLED),
    (ai.RunCancelled("stopped"), Category.CANCELLED),
    (ai.RunTimedOut("late"), Category.TIMEOUT),
    (TimeoutError(), Category.TIMEOUT),
    # a subclass before its base
    (openai.APITimeoutError(REQUEST), Category.TIMEOUT),
    (openai.APIConnectionError(request=REQUEST), Category.CONNECTION),
    (ai.ModelTimeoutError("m", "late"), Category.TIMEOUT),
    (ai.ModelRequestTimeout("m", 1.0), Category.TIMEOUT),
    (ai.ModelConnectionError("m", "gone"), Category.CONNECTION),
    (ai.ModelOverloadedError("m", "busy"), Category.OVERLOADED),
    (ai.ModelUnavailableError("m", "busy"), Category.OVERLOADED),
    (httpx2.ReadTimeout("slow"), Category.TIMEOUT),
    (httpx2.PoolTimeout("ours"), Category.TIMEOUT),
    (httpx2.RemoteProtocolError("cut"), Category.CONNECTION),
    (httpx2.ConnectError("no"), Category.CONNECTION),
    (ConnectionResetError(), Category.CONNECTION),
    (ssl.SSLCertVerificationError("self-signed"), Category.CONNECTION),
    # statuses
    (openai_error(401), Category.AUTH),
    (openai_error(402), Category.QUOTA_EXHAUSTED),
    (openai_error(403), Category.PERMISSION),
    (openai_error(404), Category.INVALID_REQUEST),
    (openai_error(408), Category.TIMEOUT),
    (openai_error(422), Category.INVALID_REQUEST),
    (openai_error(429), Category.RATE_LIMIT),
    (openai_error(500), Category.SERVER_ERROR),
    (openai_error(502), Category.SERVER_ERROR),
    (openai_error(503), Category.OVERLOADED),
    (openai_error(504), Category.TIMEOUT),
    (openai_error(529), Category.OVERLOADED),
    (model_error(403), Category.PERMISSION),
    # the body knows better than the status
    (openai_error(429, {"error": {"code": "insufficient_quota"}}), Category.QUOTA_EXHAUSTED),
    (openai_error(400, {"error": {"code": "context_length_exceeded"}}), Category.CONTEXT_LENGTH),
    (openai_error(400, {"error": {"code": "content_filter"}}), Category.CONTENT_FILTER),
    (
        openai_error(
            429,
            {"error": {"type": "rate_limit_error", "details": {"error_code": "enforced_spend_limit_reached"}}},
        ),
        Category.QUOTA_EXHAUSTED,
    ),
    (
        openai_error(400, {"error": {"status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}}),
        Category.AUTH,
    ),
    (
        openai_error(
            429,
            {
                "error": {
                    "status": "RESOURCE_EXHAUSTED",
                    "details": [{"violations": [{"quotaId": "RequestsPerDay"}]}],
                }
            },
        ),
        Category.QUOTA_EXHAUSTED,
    ),
    (openai_error(403, {"error": {"metadata": {"reasons": ["violence"]}}}), Category.CONTENT_FILTER),
    (model_error(400, "99991400"), Category.RATE_LIMIT),
    (model_error(429, "rate_limit_exceeded"), Category.RATE_LIMIT),
    # an error event inside a stream that began with 200
    (openai.APIError("busy", REQUEST, body={"code": "server_is_overloaded"}), Category.OVERLOADED),
    (named("APIStatusError", status_code=200, type="overloaded_error"), Category.OVERLOADED),
    (named("APIStatusError", status_code=200, type="api_error"), Category.SERVER_ERROR),
    (ai.ModelAPIError("m", "Streamed response ended without a `finish_reason`"), Category.MALFORMED),
    (ai.ModelAPIError("m", "Failed to decode response as JSON: ..."), Category.MALFORMED),
    (json.JSONDecodeError("no", "{", 0), Category.MALFORMED),
    (ai.UnexpectedModelBehavior("odd"), Category.MALFORMED),
    (ai.ContentFilterError("no"), Category.CONTENT_FILTER),
    (ai.ModelContextWindowExceededError("m", "long"), Category.CONTEXT_LENGTH),
    (ai.ModelQuotaExceededError("m", "empty"), Category.QUOTA_EXHAUSTED),
    (ai.UserError("wrong"), Category.INVALID_REQUEST),
    (named("ServerTimeoutError"), Category.TIMEOUT),
    (named("ClientConnectorError", type("ClientConnectionError", (OSError,), {})), Category.CONNECTION),
    # databases, whatever they call it
    (sqlite3.OperationalError("database is locked"), Category.DATABASE),
    (StorageUnavailable("the disk is full"), Category.DATABASE),
    # words, at the very end
    (Exception("Read timed out"), Category.TIMEOUT),
    (Exception("connect ETIMEDOUT 10.0.0.1:443"), Category.TIMEOUT),
    (Exception("connect ECONNREFUSED 127.0.0.1:443"), Category.CONNECTION),
    (Exception("401 Incorrect API key provided"), Category.AUTH),
    (Exception("Rate-limited upstream"), Category.RATE_LIMIT),
    (Exception("RESOURCE_EXHAUSTED"), Category.RATE_LIMIT),
    (Exception("quota exceeded"), Category.QUOTA_EXHAUSTED),
    (Exception("This model's maximum context length is 8192 tokens"), Category.CONTEXT_LENGTH),
    # numbers and names that only look like something
    (Exception("took 4290ms"), Category.INTERNAL),
    (Exception("request id 84299 failed"), Category.INTERNAL),
    (ValueError("rate limit must be positive"), Category.INTERNAL),
    (KeyError("timeout"), Category.INTERNAL),
    # wrapped
    (raised_from(TimeoutError(), RuntimeError("while asking")), Category.TIMEOUT),
    (ExceptionGroup("both", [KeyError("x"), openai_error(429)]), Category.RATE_LIMIT),
    (raised_from(ExceptionGroup("g", [sqlite3.Error()]), RuntimeError()), Category.DATABASE),
    (AttemptError(Category.MALFORMED, "empty"), Category.MALFORMED),
]


@pytest.mark.parametrize(
    ("error", "category"),
    [pytest.param(*row, id=f"{number}-{type(row[0]).__name__}-{row[1]}") for number, row in enumerate(KNOWN)],
)
def test_each_known_failure_has_its_category(error: BaseException, category: Category) -> None:
    assert classify(error).category is category


def test_errors_that_name_each_other_as_causes_do_not_loop() -> None:
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert classify(first).category is Category.INTERNAL


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry-after": "7"}, None, 7.0),
        ({"retry-after": "1.5"}, None, 1.5),
        ({"retry-after-ms": "250"}, None, 0.25),
        ({"retry-after": "Mon, 23 Nov 2026 08:00:30 GMT", "date": "Mon, 23 Nov 2026 08:00:00 GMT"}, None, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 07:00:00 GMT", "date": "Mon, 23 Nov 2026 08:00:00 GMT"}, None, 0.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, None, 360.0),
        ({"x-ratelimit-remaining-tokens": "12", "x-ratelimit-reset-tokens": "6m0s"}, None, None),
        (
            {
                "anthropic-ratelimit-tokens-remaining": "0",
                "anthropic-ratelimit-tokens-reset": "2026-11-23T08:00:20Z",
                "date": "Mon, 23 Nov 2026 08:00:00 GMT",
            },
            None,
            20.0,
        ),
        ({"x-ogw-ratelimit-reset": "3"}, None, 3.0),
        ({}, {"error": {"details": [{"retryDelay": "14s"}]}}, 14.0),
        ({"retry-after": "soon"}, None, None),
        ({"retry-after": "nan"}, None, None),
        ({"retry-after": "-5"}, None, 0.0),
        ({}, None, None),
    ],
)
def test_what_the_server_asks_for_is_understood(
    headers: dict[str, str], body: object, seconds: float | None
) -> None:
    assert classify(openai_error(429, body, headers)).retry_after_s == seconds


def test_a_message_is_one_short_line_without_secrets() -> None:
    body = {"error": {"message": "Incorrect API key provided: sk-or-v1-0123456789abcdef\n" + "x" * 500}}
    failure = classify(openai_error(401, body))
    assert failure.message.startswith("HTTP 401: Incorrect API key provided: ***")
    assert len(failure.message) == 200
    assert "\n" not in failure.message
    assert failure.status == 401


def test_the_deepest_cause_says_what_a_bland_error_does_not() -> None:
    error = raised_from(ConnectionRefusedError("port 4000 refuses"), openai.APIConnectionError(request=REQUEST))
    assert classify(error).message == "Connection error (port 4000 refuses)"


def test_a_model_that_is_not_there_is_the_one_wrong_request_that_another_model_can_answer() -> None:
    assert classify(openai_error(404)).traits.fallback
    assert not classify(openai_error(422)).traits.fallback
