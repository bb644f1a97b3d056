"""Which exceptions are there, and what are they?

Real ones of what is installed; of other libraries classes of the same names, bases and packages. `KNOWN` are their
categories, `SPECIAL` those that mean something else for the next step than their category does.
"""

import asyncio
import http.client
import json
import sqlite3
import ssl
import urllib.error
from email.message import Message

import anthropic
import httpx
import httpx2
import openai
import requests
import sqlalchemy.exc
import websockets.exceptions
from pydantic import BaseModel, ValidationError
from pydantic_ai import exceptions as ai

from mainstay.errors import Category, StorageUnavailable
from mainstay.recovery.model import TRAITS, AttemptError, TimedOut, Traits

REQUEST = httpx2.Request("POST", "http://127.0.0.1/v1/chat/completions")


def openai_error(status: int, body: object = None, headers: dict[str, str] | None = None) -> openai.APIStatusError:
    """What the SDK raises for this response."""
    response = httpx2.Response(status, headers=headers, json=body, request=REQUEST)
    return openai.AsyncOpenAI(api_key="x", base_url="http://127.0.0.1/v1")._make_status_error_from_response(
        response
    )


def in_stream(type_: str, status: int = 200) -> anthropic.APIStatusError:
    """What anthropic raises for an error event after HTTP 200: no class of its own, and the stream's status."""
    response = httpx2.Response(status, request=REQUEST)
    return anthropic.APIStatusError(type_, response=response, body={"type": "error", "error": {"type": type_}})


def model_error(status: int, code: str = "", message: str = "", **more: object) -> ai.ModelHTTPError:
    return ai.ModelHTTPError(status, "m", {"code": code, "message": message, **more}, provider_error_code=code)


def named(path: str, *bases: type[BaseException], text: str | None = None, **attributes: object) -> BaseException:
    """An exception of a library that is not installed here, by its package and name."""
    package, _, name = path.rpartition(".")
    error = type(name, bases or (Exception,), {"__module__": package})(name if text is None else text)
    for key, value in attributes.items():
        setattr(error, key, value)
    return error


def kind(path: str, *bases: type[BaseException]) -> type[BaseException]:
    package, _, name = path.rpartition(".")
    return type(name, bases or (Exception,), {"__module__": package})


def raised_from(cause: BaseException, error: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def raised_during(context: BaseException, error: BaseException) -> BaseException:
    error.__context__ = context
    return error


def of_validation() -> ValidationError:
    class Number(BaseModel):
        value: int

    try:
        Number(value="x")  # type: ignore[arg-type]  that is the point
    except ValidationError as error:
        return error
    raise AssertionError


def with_response(error: Exception, response: object) -> Exception:
    error.response = response  # type: ignore[attr-defined]
    return error


LITELLM = {
    name: kind(f"litellm.exceptions.{name}", base)
    for name, base in {
        "RateLimitError": openai.RateLimitError,
        "BadRequestError": openai.BadRequestError,
        "Timeout": openai.APITimeoutError,
        "APIConnectionError": openai.APIConnectionError,
        "ServiceUnavailableError": openai.APIStatusError,
        "InternalServerError": openai.InternalServerError,
        "BudgetExceededError": Exception,
    }.items()
}


def litellm(name: str, *bases: type[BaseException], **attributes: object) -> BaseException:
    """As LiteLLM raises it: of OpenAI's classes, made without their constructors, with a status of its own."""
    cls = LITELLM.get(name) or kind(f"litellm.exceptions.{name}", *bases)
    error = cls.__new__(cls, f"litellm.{name}")
    for key, value in attributes.items():
        setattr(error, key, value)
    return error


AIOHTTP = kind("aiohttp.client_exceptions.ClientError")
AIO_CONNECTION = kind("aiohttp.client_exceptions.ClientConnectionError", AIOHTTP)
AIO_OS = kind("aiohttp.client_exceptions.ClientOSError", AIO_CONNECTION, OSError)
AIO_SERVER = kind("aiohttp.client_exceptions.ServerConnectionError", AIO_CONNECTION)
AIO_RESPONSE = kind("aiohttp.client_exceptions.ClientResponseError", AIOHTTP)

KNOWN: list[tuple[BaseException, Category]] = [
    # cancellation, and the timeouts that look like it
    (asyncio.CancelledError(), Category.CANCELLED),
    (GeneratorExit(), Category.CANCELLED),
    (KeyboardInterrupt(), Category.CANCELLED),
    (SystemExit(1), Category.CANCELLED),
    (raised_from(openai_error(429), asyncio.CancelledError()), Category.CANCELLED),
    (raised_from(asyncio.CancelledError(), RuntimeError("stopped")), Category.CANCELLED),
    (raised_from(asyncio.CancelledError(), TimeoutError()), Category.TIMEOUT),
    (raised_during(asyncio.CancelledError(), RuntimeError("broke while it was being stopped")), Category.INTERNAL),
    (ai.RunCancelled("stopped"), Category.CANCELLED),
    (ai.RunTimedOut("late"), Category.TIMEOUT),
    (TimeoutError(), Category.TIMEOUT),
    (TimedOut("idle", 1.0), Category.TIMEOUT),
    (openai_error(499), Category.CANCELLED),
    # a subclass before its base
    (openai.APITimeoutError(REQUEST), Category.TIMEOUT),
    (openai.APIConnectionError(request=REQUEST), Category.CONNECTION),
    (anthropic.APITimeoutError(REQUEST), Category.TIMEOUT),
    (anthropic.APIConnectionError(request=REQUEST), Category.CONNECTION),
    (ai.ModelTimeoutError("m", "late"), Category.TIMEOUT),
    (ai.ModelRequestTimeout("m", 1.0), Category.TIMEOUT),
    (ai.ModelConnectionError("m", "gone"), Category.CONNECTION),
    (ai.ModelOverloadedError("m", "busy"), Category.OVERLOADED),
    (ai.ModelUnavailableError("m", "busy"), Category.OVERLOADED),
    (httpx2.ReadTimeout("slow"), Category.TIMEOUT),
    (httpx2.PoolTimeout("ours"), Category.TIMEOUT),
    (httpx.ConnectTimeout("slow"), Category.TIMEOUT),
    (httpx2.RemoteProtocolError("cut"), Category.CONNECTION),
    (httpx2.ConnectError("no"), Category.CONNECTION),
    (httpx.ReadError("no"), Category.CONNECTION),
    (httpx2.DecodingError("odd"), Category.MALFORMED),
    (requests.ConnectTimeout("slow"), Category.TIMEOUT),  # its base ConnectionError comes before its base Timeout
    (requests.ReadTimeout("slow"), Category.TIMEOUT),
    (requests.ConnectionError("no"), Category.CONNECTION),
    (requests.exceptions.ChunkedEncodingError("cut"), Category.CONNECTION),
    (requests.JSONDecodeError("no", "{", 0), Category.MALFORMED),
    (ConnectionResetError(), Category.CONNECTION),
    (asyncio.IncompleteReadError(b"", 4), Category.CONNECTION),
    (http.client.IncompleteRead(b""), Category.CONNECTION),
    (ssl.SSLCertVerificationError("self-signed"), Category.CONNECTION),
    (OSError(101, "Network is unreachable"), Category.CONNECTION),
    (websockets.exceptions.ConnectionClosedError(None, None), Category.CONNECTION),
    (named("aiohttp.client_exceptions.ServerTimeoutError", AIO_SERVER, TimeoutError), Category.TIMEOUT),
    (named("aiohttp.client_exceptions.ServerDisconnectedError", AIO_SERVER), Category.CONNECTION),
    (named("aiohttp.client_exceptions.ClientConnectorError", AIO_OS), Category.CONNECTION),
    (named("aiohttp.client_exceptions.ClientPayloadError", AIOHTTP), Category.CONNECTION),
    (named("aiohttp.client_exceptions.ContentTypeError", AIO_RESPONSE, status=200), Category.MALFORMED),
    (named("aiohttp.client_exceptions.ClientResponseError", AIOHTTP, status=429), Category.RATE_LIMIT),
    (litellm("Timeout"), Category.TIMEOUT),
    (litellm("APIConnectionError", status_code=500), Category.CONNECTION),
    (litellm("RateLimitError", status_code=429), Category.RATE_LIMIT),
    (litellm("ContextWindowExceededError", LITELLM["BadRequestError"], status_code=400), Category.CONTEXT_LENGTH),
    (litellm("ContentPolicyViolationError", LITELLM["BadRequestError"], status_code=400), Category.CONTENT_FILTER),
    (litellm("BadRequestError", status_code=400), Category.INVALID_REQUEST),
    (litellm("ServiceUnavailableError", status_code=503), Category.OVERLOADED),
    (
        litellm("MidStreamFallbackError", LITELLM["ServiceUnavailableError"], status_code=503),
        Category.OVERLOADED,
    ),
    (litellm("BudgetExceededError"), Category.QUOTA_EXHAUSTED),
    # statuses
    (openai_error(400), Category.INVALID_REQUEST),
    (openai_error(401), Category.AUTH),
    (openai_error(402), Category.QUOTA_EXHAUSTED),
    (openai_error(403), Category.PERMISSION),
    (openai_error(404), Category.INVALID_REQUEST),
    (openai_error(408), Category.TIMEOUT),
    (openai_error(409), Category.INVALID_REQUEST),
    (openai_error(413), Category.CONTEXT_LENGTH),
    (openai_error(422), Category.INVALID_REQUEST),
    (openai_error(429), Category.RATE_LIMIT),
    (openai_error(500), Category.SERVER_ERROR),
    (openai_error(502), Category.SERVER_ERROR),
    (openai_error(503), Category.OVERLOADED),
    (openai_error(504), Category.TIMEOUT),
    (openai_error(524), Category.TIMEOUT),
    (openai_error(529), Category.OVERLOADED),
    (model_error(403), Category.PERMISSION),
    (urllib.error.HTTPError("http://x", 503, "no", Message(), None), Category.OVERLOADED),
    (with_response(requests.HTTPError("no"), httpx.Response(401)), Category.AUTH),
    # a class that knows before the code, the code before the status, the status before the text
    (ai.ModelQuotaExceededError("m", "empty", provider_error_code="rate_limit_exceeded"), Category.QUOTA_EXHAUSTED),
    (openai_error(429, {"error": {"code": "insufficient_quota"}}), Category.QUOTA_EXHAUSTED),
    (openai_error(503, {"error": {"code": "rate_limit_exceeded"}}), Category.RATE_LIMIT),
    (openai_error(401, {"error": {"message": "Rate limit reached: the request timed out"}}), Category.AUTH),
    (openai_error(502, {"error": {"message": "The model is overloaded"}}), Category.SERVER_ERROR),
    (openai_error(400, {"error": {"message": "your request timed out of range"}}), Category.INVALID_REQUEST),
    # what says little is asked after what says more
    (openai_error(503, {"error": {"code": "server_error"}}), Category.OVERLOADED),
    (openai.APIError("no", REQUEST, body={"code": "server_error"}), Category.SERVER_ERROR),
    (openai_error(500, {"error": {"message": "Overloaded"}}), Category.OVERLOADED),
    (ai.ModelRequestRejectedError("m", "no"), Category.INVALID_REQUEST),
    (ai.ModelRateLimitError("m", "busy"), Category.RATE_LIMIT),
    (ai.ModelAuthenticationError("m", "no"), Category.AUTH),
    (ai.ModelServerError("m", "broke"), Category.SERVER_ERROR),
    # an error event inside a stream that began with 200
    (openai.APIError("busy", REQUEST, body={"code": "server_is_overloaded"}), Category.OVERLOADED),
    (openai.APIError("busy", REQUEST, body={"code": 502}), Category.SERVER_ERROR),
    (openai.APIError("busy", REQUEST, body={"code": 429}), Category.RATE_LIMIT),
    (openai.APIError("An error occurred during streaming", REQUEST, body=None), Category.SERVER_ERROR),
    (openai.APIError("boom", REQUEST, body={"message": "boom"}), Category.SERVER_ERROR),
    (openai.APIError("slow", REQUEST, body={"message": "upstream timed out"}), Category.TIMEOUT),
    (ai.ModelAPIError("m", "boom"), Category.SERVER_ERROR),
    (openai_error(403, {"error": {"code": "AccountOverdueError"}}), Category.QUOTA_EXHAUSTED),
    (openai_error(400, {"error": {"code": "Arrearage", "message": "Access denied"}}), Category.QUOTA_EXHAUSTED),
    (openai_error(429, {"error": {"code": "ServerOverloaded"}}), Category.OVERLOADED),
    (openai_error(400, {"error": {"code": 400, "type": "exceed_context_size_error"}}), Category.CONTEXT_LENGTH),
    (PermissionError(13, "Permission denied"), Category.INTERNAL),
    (in_stream("overloaded_error"), Category.OVERLOADED),
    (in_stream("api_error"), Category.SERVER_ERROR),
    (in_stream("rate_limit_error"), Category.RATE_LIMIT),
    (named("anthropic.APIStatusError", status_code=200, type="overloaded_error"), Category.OVERLOADED),
    (ai.ModelAPIError("m", "Streamed response ended without a `finish_reason`"), Category.MALFORMED),
    (ai.ModelAPIError("m", "Failed to decode response as JSON: ..."), Category.MALFORMED),
    # what is wrong with the answer
    (json.JSONDecodeError("no", "{", 0), Category.MALFORMED),
    (of_validation(), Category.MALFORMED),
    (ai.UnexpectedModelBehavior("odd"), Category.MALFORMED),
    (ai.OutputTokenLimitExceeded("cut"), Category.MALFORMED),
    (ai.IncompleteToolCall("cut"), Category.MALFORMED),
    (ai.ContentFilterError("no"), Category.CONTENT_FILTER),
    (ai.ModelContextWindowExceededError("m", "long"), Category.CONTEXT_LENGTH),
    (ai.ModelNotFoundError("m", "none"), Category.INVALID_REQUEST),
    # what is ours
    (ai.UserError("wrong"), Category.INVALID_REQUEST),
    (ai.SuspendedResponseExpired("late"), Category.INVALID_REQUEST),
    (ai.ConcurrencyLimitExceeded("full"), Category.OVERLOADED),
    (ai.UsageLimitExceeded("The next request would exceed the request_limit of 50"), Category.INTERNAL),
    (ai.ModelRetry("again"), Category.INTERNAL),
    # databases, whatever they call it
    (sqlite3.OperationalError("database is locked"), Category.DATABASE),
    (sqlalchemy.exc.TimeoutError("pool"), Category.DATABASE),
    (StorageUnavailable("the disk is full"), Category.DATABASE),
    (named("redis.exceptions.TimeoutError", TimeoutError), Category.DATABASE),
    (named("redis.exceptions.ConnectionError", ConnectionError), Category.DATABASE),
    (named("psycopg.OperationalError", text="connection refused"), Category.DATABASE),
    (named("psycopg_pool.PoolTimeout"), Category.DATABASE),
    (named("asyncpg.exceptions.TooManyConnectionsError"), Category.DATABASE),
    # Feishu's SDK
    (named("lark_oapi.ws.exception.ConnectionClosedException"), Category.CONNECTION),
    (named("lark_oapi.ws.exception.ServerUnreachableException"), Category.CONNECTION),
    (named("lark_oapi.ws.exception.ClientException", code=10014), Category.AUTH),
    (named("lark_oapi.ws.exception.ClientException", code=514), Category.RATE_LIMIT),
    (named("lark_oapi.ws.exception.ServerException", code=514), Category.AUTH),
    (named("lark_oapi.ws.exception.ServerException", code=1), Category.SERVER_ERROR),
    (named("lark_oapi.core.exception.NoAuthorizationException"), Category.AUTH),
    (
        named("lark_oapi.channel.errors.OutboundSendError", raw_code=99991400, code="permission_denied"),
        Category.RATE_LIMIT,
    ),
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
    (Exception("the strategy of generate limits"), Category.INTERNAL),
    (ValueError("rate limit must be positive"), Category.INTERNAL),
    (KeyError("timeout"), Category.INTERNAL),
    # wrapped
    (raised_from(TimeoutError(), RuntimeError("while asking")), Category.TIMEOUT),
    (raised_during(openai_error(429), RuntimeError("while handling it")), Category.RATE_LIMIT),
    (raised_from(raised_from(sqlite3.Error(), KeyError("a")), RuntimeError()), Category.DATABASE),
    (AttemptError(Category.MALFORMED, "empty"), Category.MALFORMED),
    # grouped: the first that says something; what says nothing only without it, a cancellation only alone
    (ExceptionGroup("g", [KeyError("x"), openai_error(429)]), Category.RATE_LIMIT),
    (ExceptionGroup("g", [openai_error(500), openai_error(429)]), Category.SERVER_ERROR),
    (BaseExceptionGroup("g", [asyncio.CancelledError(), openai_error(429)]), Category.RATE_LIMIT),
    (BaseExceptionGroup("g", [asyncio.CancelledError(), KeyError("timeout")]), Category.INTERNAL),
    (BaseExceptionGroup("g", [asyncio.CancelledError(), asyncio.CancelledError()]), Category.CANCELLED),
    (BaseExceptionGroup("g", [raised_from(openai_error(429), asyncio.CancelledError())]), Category.CANCELLED),
    (ExceptionGroup("g", [ExceptionGroup("h", [KeyError("x")]), TimeoutError()]), Category.TIMEOUT),
    (ExceptionGroup("g", [KeyError("x"), raised_from(openai_error(401), RuntimeError())]), Category.AUTH),
    (raised_from(openai_error(401), ExceptionGroup("g", [KeyError("x")])), Category.AUTH),
    (raised_from(ExceptionGroup("g", [sqlite3.Error()]), RuntimeError()), Category.DATABASE),
    (ExceptionGroup("2 timeouts and a rate limit", [KeyError("x")]), Category.INTERNAL),
    (ai.FallbackExceptionGroup("all failed", [openai_error(503), openai_error(401)]), Category.OVERLOADED),
]

ABSENT = Traits(fallback=True, retries=0, counts=False)
OURS = Traits(fallback=True, retries=1, counts=False)
BROKEN = Traits(fallback=True, retries=0, counts=True)

SPECIAL: list[tuple[BaseException, Traits]] = [
    (openai_error(404), ABSENT),
    (openai_error(400, {"error": {"code": "model_not_found"}}), ABSENT),
    (openai.APIError("no", REQUEST, body={"code": "model_not_found"}), ABSENT),
    (ai.ModelNotFoundError("m", "none"), ABSENT),
    (openai_error(409), OURS),
    (httpx2.PoolTimeout("ours"), OURS),
    (raised_from(httpx.PoolTimeout("ours"), openai.APITimeoutError(REQUEST)), OURS),
    (ai.ConcurrencyLimitExceeded("full"), OURS),
    (ssl.SSLCertVerificationError("self-signed"), BROKEN),
    (raised_from(ssl.SSLCertVerificationError("self-signed"), httpx2.ConnectError("no")), BROKEN),
    (
        raised_from(
            raised_from(ssl.SSLCertVerificationError("self-signed"), httpx2.ConnectError("no")),
            openai.APIConnectionError(request=REQUEST),
        ),
        BROKEN,
    ),
    (Exception("socket hang up: certificate verify failed"), BROKEN),
    (openai_error(503, headers={"x-should-retry": "false"}), BROKEN),
    (openai_error(503, headers={"x-should-retry": "true"}), TRAITS[Category.OVERLOADED]),
    (openai_error(400), TRAITS[Category.INVALID_REQUEST]),
    (openai_error(422), TRAITS[Category.INVALID_REQUEST]),
    (httpx2.ConnectError("no"), TRAITS[Category.CONNECTION]),
]
