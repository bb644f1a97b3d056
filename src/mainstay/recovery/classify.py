"""Which of the fifteen categories is this error?

Decided by class names, attributes and bodies, so that no SDK has to be imported. The order is fixed: cancellation,
the names along the class's resolution order (so that a subclass wins over its base), the provider's own error code,
the HTTP status, the names of classes that say little, and the text last of all. An error that says nothing is asked
for its cause.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from mainstay.errors import Category
from mainstay.recovery.delay import asked_to_wait_s
from mainstay.recovery.model import AttemptError, Failure, Traits
from mainstay.recovery.wording import one_line

__all__ = ["classify"]

_CANCELLED: Final = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt)

_BY_CLASS: Final[Mapping[str, Category]] = {
    # Timeouts come before connections by the resolution order, as SDKs derive the one from the other.
    "RunTimedOut": Category.TIMEOUT,
    "TimeoutError": Category.TIMEOUT,
    "APITimeoutError": Category.TIMEOUT,
    "TimeoutException": Category.TIMEOUT,
    "Timeout": Category.TIMEOUT,
    "ServerTimeoutError": Category.TIMEOUT,
    "ModelTimeoutError": Category.TIMEOUT,
    "ModelRequestTimeout": Category.TIMEOUT,
    "RunCancelled": Category.CANCELLED,
    "ClientClosedRequestError": Category.CANCELLED,
    "JSONDecodeError": Category.MALFORMED,
    "UnicodeDecodeError": Category.MALFORMED,
    "ValidationError": Category.MALFORMED,
    "APIResponseValidationError": Category.MALFORMED,
    "LengthFinishReasonError": Category.MALFORMED,
    "ContentFilterFinishReasonError": Category.CONTENT_FILTER,
    "ContentFilterError": Category.CONTENT_FILTER,
    "UnexpectedModelBehavior": Category.MALFORMED,
    "ModelContextWindowExceededError": Category.CONTEXT_LENGTH,
    "ContextWindowExceededError": Category.CONTEXT_LENGTH,
    "ModelQuotaExceededError": Category.QUOTA_EXHAUSTED,
    "PaymentRequiredError": Category.QUOTA_EXHAUSTED,
    "BudgetExceededError": Category.QUOTA_EXHAUSTED,
    "ModelOverloadedError": Category.OVERLOADED,
    "OverloadedError": Category.OVERLOADED,
    "UserError": Category.INVALID_REQUEST,
    "StorageError": Category.DATABASE,
    "ConnectionError": Category.CONNECTION,
    "gaierror": Category.CONNECTION,
    "SSLError": Category.CONNECTION,
    "TransportError": Category.CONNECTION,
    "ClientConnectionError": Category.CONNECTION,
    "ClientPayloadError": Category.CONNECTION,
    "ConnectionClosed": Category.CONNECTION,
    "ServerUnreachable": Category.CONNECTION,
    "APIConnectionError": Category.CONNECTION,
    "ModelConnectionError": Category.CONNECTION,
}
"""Classes that decide by themselves."""

_BY_VAGUE_CLASS: Final[Mapping[str, Category]] = {
    "ModelRateLimitError": Category.RATE_LIMIT,
    "RateLimitError": Category.RATE_LIMIT,
    "ModelUnavailableError": Category.OVERLOADED,
    "ModelAuthenticationError": Category.AUTH,
    "AuthenticationError": Category.AUTH,
    "PermissionDeniedError": Category.PERMISSION,
    "ModelRequestRejectedError": Category.INVALID_REQUEST,
    "BadRequestError": Category.INVALID_REQUEST,
    "ModelServerError": Category.SERVER_ERROR,
    "InternalServerError": Category.SERVER_ERROR,
    "ServerError": Category.SERVER_ERROR,
}
"""Classes that a code in the body or the status makes more precise."""

_DATABASES: Final = frozenset({"sqlite3", "sqlalchemy", "psycopg", "asyncpg", "redis"})
_BUGS: Final = (TypeError, ValueError, LookupError, AttributeError, AssertionError, NameError, ArithmeticError)

_CODES: Final[Mapping[Category, str]] = {
    Category.QUOTA_EXHAUSTED: """
        insufficient_quota credit_balance_exhausted billing_error billing_hard_limit_reached
        enforced_spend_limit_reached contract_spend_limit_reached organization_spend_limit_exceeded
        project_spend_limit_exceeded organization_usage_limit_exceeded exceeded_current_quota_error""",
    Category.CONTEXT_LENGTH: "context_length_exceeded string_above_max_length request_too_large",
    Category.CONTENT_FILTER: """
        content_filter content_policy_violation responsibleaipolicyviolation safety data_inspection_failed
        moderation refusal""",
    Category.OVERLOADED: """
        overloaded_error overloaded server_is_overloaded unavailable service_unavailable
        service_unavailable_error engine_overloaded_error""",
    Category.TIMEOUT: "timeout_error deadline_exceeded timeout",
    Category.RATE_LIMIT: """
        rate_limit_exceeded rate_limit_error rate_limit_reached_error too_many_requests resource_exhausted
        throttlingexception 99991400""",
    Category.AUTH: """
        invalid_api_key authentication_error api_key_invalid unauthenticated
        99991663 99991664 99991665 99991666 99991668""",
    Category.PERMISSION: """
        permission_denied permission_error unsupported_country_region_territory 99991672 99991679 230003""",
}
_VAGUE_CODES: Final[Mapping[Category, str]] = {
    Category.SERVER_ERROR: "server_error internal_error internal api_error 1500",
    Category.INVALID_REQUEST: "invalid_request_error model_not_found invalid_argument",
}
"""Codes that a status says better, if there is one."""

_BY_CODE: Final = {code: category for category, codes in _CODES.items() for code in codes.split()}
_BY_VAGUE_CODE: Final = {code: category for category, codes in _VAGUE_CODES.items() for code in codes.split()}

_BY_STATUS: Final[Mapping[int, Category]] = {
    401: Category.AUTH,
    402: Category.QUOTA_EXHAUSTED,
    403: Category.PERMISSION,
    408: Category.TIMEOUT,
    413: Category.CONTEXT_LENGTH,
    429: Category.RATE_LIMIT,
    499: Category.CANCELLED,
    503: Category.OVERLOADED,
    504: Category.TIMEOUT,
    529: Category.OVERLOADED,
}

_ABSENT: Final = Traits(fallback=True, retries=0, counts=False)
"""A model that is not there: no other request to it would do better, another model would."""

_BY_TEXT: Final[tuple[tuple[Category, re.Pattern[str]], ...]] = tuple(
    (category, re.compile(pattern, re.IGNORECASE))
    for category, pattern in (
        (
            Category.CONTEXT_LENGTH,
            r"maximum context length|context (window|length) (is )?exceeded|prompt is too long"
            r"|reduce the length of the messages|input token count|too many (input )?tokens",
        ),
        (
            Category.QUOTA_EXHAUSTED,
            r"\bquota (has been |is )?(exceeded|exhausted)|\binsufficient (quota|balance|credits)",
        ),
        (Category.CONTENT_FILTER, r"\bcontent[_ ](filter|policy|management policy)|flagged by moderation"),
        (
            Category.MALFORMED,
            r"without a `?finish_reason|failed to decode response|invalid json|unexpected end of json",
        ),
        (
            Category.RATE_LIMIT,
            r"\brate[- _]?limit(ed|s)?\b|\btoo many requests\b|\bRESOURCE_EXHAUSTED\b|\bHTTP 429\b",
        ),
        (Category.OVERLOADED, r"\boverloaded\b|\bover capacity\b|\bat capacity\b"),
        (Category.TIMEOUT, r"\btimed? ?-?out\b|\bETIMEDOUT\b|\bdeadline exceeded\b"),
        (Category.AUTH, r"\b(incorrect|invalid) api key\b|\bunauthori[sz]ed\b|\bauthentication failed\b"),
        (Category.PERMISSION, r"\bpermission denied\b|\bforbidden\b|\bnot allowed to\b"),
        (
            Category.CONNECTION,
            r"\bECONN(REFUSED|RESET|ABORTED)\b|\bEPIPE\b|\bENOTFOUND\b|\bsocket hang up\b"
            r"|\bconnection (error|refused|reset|closed|aborted|lost)\b|\bpeer closed connection\b",
        ),
        (Category.SERVER_ERROR, r"\binternal server error\b|\bbad gateway\b"),
    )
)


def classify(error: BaseException) -> Failure:
    """The failure that this exception stands for; `Category.INTERNAL` when nothing along its causes says more."""
    for each in _along_the_causes(error):
        category = _category(each)
        if category is not None:
            return _failure(each, category)
    return _failure(error, Category.INTERNAL)


def _failure(error: BaseException, category: Category) -> Failure:
    status = _status(error)
    said = _said(error) or type(error).__name__
    text = said if isinstance(error, AttemptError) or status is None or status < 400 else f"HTTP {status}: {said}"
    return Failure(
        category=category,
        message=one_line(text),
        retry_after_s=asked_to_wait_s(_read(error, "retry_after"), _headers(error), _body(error)),
        status=status,
        special=_ABSENT if category is Category.INVALID_REQUEST and status == 404 else None,
    )


def _along_the_causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what is grouped in it, and what it was raised from; each once."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, BaseExceptionGroup):
            waiting.extend(each.exceptions)
        if each.__cause__ is not None:
            waiting.append(each.__cause__)
        elif each.__context__ is not None and not each.__suppress_context__:
            waiting.append(each.__context__)


def _category(error: BaseException) -> Category | None:
    """The category by this exception alone; None when it says nothing."""
    if isinstance(error, AttemptError):
        return error.category
    if isinstance(error, _CANCELLED):
        return Category.CANCELLED
    names = [cls.__name__ for cls in type(error).__mro__]
    modules = {cls.__module__.partition(".")[0] for cls in type(error).__mro__}
    if modules & _DATABASES:
        return Category.DATABASE
    if found := _first(names, _BY_CLASS):
        return found
    codes = _codes(error)
    return _first(codes, _BY_CODE) or _by_status(_status(error)) or _by_rest(error, names, codes)


def _by_rest(error: BaseException, names: list[str], codes: list[str]) -> Category | None:
    if found := _first(names, _BY_VAGUE_CLASS) or _first(codes, _BY_VAGUE_CODE):
        return found
    if isinstance(error, (*_BUGS, BaseExceptionGroup)):
        return None
    text = _said(error)
    return next((category for category, pattern in _BY_TEXT if pattern.search(text)), None)


def _first(names: Iterable[str], table: Mapping[str, Category]) -> Category | None:
    return next((table[name] for name in names if name in table), None)


def _by_status(status: int | None) -> Category | None:
    if status is None or status < 400:
        return None
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return Category.SERVER_ERROR if status >= 500 else Category.INVALID_REQUEST


def _read(holder: object, name: str) -> object:
    """The attribute, if there is one. Properties of errors may raise; judging an error must not make another."""
    try:
        return getattr(holder, name, None)
    except Exception:  # noqa: BLE001  see above
        return None


def _status(error: BaseException) -> int | None:
    """``status_code`` or ``status`` of the error, or of its response."""
    for holder in (error, _read(error, "response")):
        for name in ("status_code", "status", "code"):
            value = _read(holder, name)
            if isinstance(value, int) and not isinstance(value, bool) and 100 <= value < 600:
                return value
    return None


def _headers(error: BaseException) -> Mapping[str, str]:
    for holder in (error, _read(error, "response")):
        headers = _read(holder, "headers")
        if headers is not None and hasattr(headers, "items"):
            return {str(name).lower(): str(value) for name, value in headers.items()}
    return {}


def _body(error: BaseException) -> Mapping[str, object]:
    """The provider's error object, out of its ``{"error": {...}}`` wrapping."""
    body = _read(error, "body")
    if not isinstance(body, Mapping):
        return {}
    inner = body.get("error")
    return inner if isinstance(inner, Mapping) else body


def _codes(error: BaseException) -> list[str]:
    """Every machine-readable name that the provider gave the error, the most telling first, in lower case."""
    body = _body(error)
    found: list[object] = []
    if "perday" in str(body.get("details", "")).lower():  # Gemini's daily quota is worded as a rate limit
        found.append("insufficient_quota")
    if _flagged(body):
        found.append("moderation")
    for nested in (body.get("details"), body.get("innererror"), body.get("metadata")):
        for each in nested if isinstance(nested, list) else [nested]:
            if isinstance(each, Mapping):
                found += [each.get(name) for name in ("error_code", "code", "reason", "error_type")]
    found += [body.get(name) for name in ("code", "error_code", "type", "status")]
    found += [_read(error, name) for name in ("provider_error_code", "provider_error_type", "code", "type")]
    return [str(each).lower() for each in found if isinstance(each, str | int)]


def _flagged(body: Mapping[str, object]) -> bool:
    """Whether this is OpenRouter's 403 for a moderated request, which is no question of permission."""
    metadata = body.get("metadata")
    return isinstance(metadata, Mapping) and ("flagged_input" in metadata or "reasons" in metadata)


def _said(error: BaseException) -> str:
    """What the provider said if it said something, else the exception's own text with its deepest cause's."""
    message = _body(error).get("message")
    if isinstance(message, str) and message:
        return message
    own, root = str(error), str([*_along_the_causes(error)][-1])
    return own if root in own else f"{own.rstrip('.')} ({root})"
