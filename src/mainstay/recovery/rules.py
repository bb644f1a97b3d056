"""What is known about the errors of providers, SDKs, platforms and databases?

Data only: `mainstay.recovery.classify` reads it, and ``docs/reference/errors.md`` is written from it. Everything is
known by its name, so that no SDK has to be installed; codes are in lower case. The sources are the error pages of
the providers (OpenAI "Error codes", Anthropic "Errors", Google AI "Troubleshooting", OpenRouter "Errors and
Debugging", Azure OpenAI "Content filtering" and "Quotas and limits", Feishu "Generic error codes") and the
exception classes of the SDKs. Recorded bodies that it is tried against are in ``tests/recovery/bodies``.
"""

import re
from collections.abc import Mapping
from typing import Final

from mainstay.errors import Category
from mainstay.recovery.model import Rule, Traits

__all__ = [
    "BUGS",
    "CANCELLED",
    "CLASSES",
    "CODES",
    "COMBINED",
    "DATABASES",
    "FEISHU",
    "LAST_CLASSES",
    "PHRASES",
    "SPECIAL",
    "STATUSES",
    "VAGUE_CLASSES",
    "VAGUE_CODES",
    "VAGUE_STATUSES",
    "WORDS",
]

CANCELLED: Final = frozenset({"CancelledError", "GeneratorExit", "KeyboardInterrupt", "SystemExit"})
"""Somebody wants it to end: whatever else is true of it, it is no failure. By name: asyncio imports much."""

DATABASES: Final = frozenset(
    {"sqlite3", "sqlalchemy", "psycopg", "psycopg2", "psycopg_pool", "asyncpg", "aiosqlite", "redis"}
)
"""Packages whose exceptions are about a database, time-outs and lost connections included."""

BUGS: Final = frozenset(
    {
        "TypeError", "ValueError", "LookupError", "AttributeError", "AssertionError", "NameError",
        "ArithmeticError", "PermissionError",
    }
)  # fmt: skip
"""Programmers and systems word these, about programs: a word in them says nothing about a provider."""


def _by_name(table: Mapping[Category, str]) -> Mapping[str, Category]:
    return {name: category for category, names in table.items() for name in names.split()}


CLASSES: Final = _by_name(
    {
        # Found along the resolution order, so a subclass wins: SDKs derive their time-outs from their connection
        # errors. Requests names the base before the time-out, hence its classes one by one.
        Category.TIMEOUT: """
            TimeoutError APITimeoutError TimeoutException ConnectTimeout ReadTimeout WriteTimeout Timeout
            ConnectTimeoutError ReadTimeoutError ServerTimeoutError RunTimedOut ModelTimeoutError
            ModelRequestTimeout GatewayTimeoutError""",
        Category.CANCELLED: "RunCancelled ClientClosedRequestError",
        Category.MALFORMED: """
            JSONDecodeError UnicodeDecodeError ValidationError APIResponseValidationError DecodingError
            ContentDecodingError ContentTypeError UnmarshalException UnknownApiResponseError
            UnexpectedModelBehavior LengthFinishReasonError""",
        Category.CONTENT_FILTER: """
            ContentFilterFinishReasonError ContentFilterError ContentPolicyViolationError""",
        Category.CONTEXT_LENGTH: "ModelContextWindowExceededError ContextWindowExceededError",
        Category.QUOTA_EXHAUSTED: "ModelQuotaExceededError PaymentRequiredError BudgetExceededError",
        Category.OVERLOADED: "ModelOverloadedError OverloadedError ConcurrencyLimitExceeded LeftAlone",
        Category.INVALID_REQUEST: "UserError SuspendedResponseExpired InvalidArgsException",
        Category.AUTH: "NoAuthorizationException CredentialsError",
        Category.DATABASE: "StorageError",
        Category.CONNECTION: """
            ConnectionError APIConnectionError ModelConnectionError TransportError ClientConnectionError
            ClientPayloadError ChunkedEncodingError ProtocolError NewConnectionError gaierror SSLError
            CertificateError BadStatusLine IncompleteRead IncompleteReadError ConnectionClosed
            ConnectionClosedException ServerUnreachableException WebSocketConnectionClosedError""",
    }
)
"""Classes that decide by themselves."""

VAGUE_CLASSES: Final = _by_name(
    {
        Category.RATE_LIMIT: "ModelRateLimitError RateLimitError",
        Category.OVERLOADED: "ModelUnavailableError ServiceUnavailableError",
        Category.AUTH: "ModelAuthenticationError AuthenticationError",
        Category.PERMISSION: "PermissionDeniedError",
        Category.INVALID_REQUEST: "ModelRequestRejectedError ModelNotFoundError BadRequestError NotFoundError",
        Category.SERVER_ERROR: "ModelServerError InternalServerError ServerError ServerException",
        Category.CONNECTION: "URLError InvalidHandshake",
    }
)
"""Classes that a code in the body or the status makes more precise."""

LAST_CLASSES: Final = _by_name({Category.SERVER_ERROR: "APIError ModelAPIError"})
"""Classes with which SDKs say that the provider failed; asked when nothing else tells why.

One is what becomes of an error in the middle of a stream, which often has a sentence and no code.
"""

CODES: Final = _by_name(
    {
        Category.QUOTA_EXHAUSTED: """
            insufficient_quota credit_balance_exhausted billing_error billing_hard_limit_reached billing_not_active
            organization_spend_limit_exceeded project_spend_limit_exceeded organization_usage_limit_exceeded
            enforced_spend_limit_reached contract_spend_limit_reached linked_organization_spend_limit_reached
            linked_organization_billing_unavailable per_day dailylimitexceeded billing_disabled
            openrouter_credits openrouter_key_limit openrouter_free_tier_daily openrouter_guardrail_budget
            openrouter_workspace_budget weight_exceeds_budget payment_required token_limit_exceeded
            exceeded_current_quota_error servicequotaexceededexception accountoverdueerror arrearage""",
        Category.CONTEXT_LENGTH: """
            context_length_exceeded string_above_max_length request_too_large
            request_body_too_large_after_decoding model_context_window_exceeded payload_too_large
            string_too_long exceed_context_size_error""",
        Category.CONTENT_FILTER: """
            content_filter content_policy_violation image_content_policy_violation responsibleaipolicyviolation
            flagged_input refusal safety prohibited_content blocklist spii recitation image_safety
            data_inspection_failed""",
        Category.MALFORMED: "malformed_function_call unexpected_tool_call malformed_response tool_use_failed",
        Category.OVERLOADED: """
            overloaded_error overloaded server_is_overloaded unavailable service_unavailable
            service_unavailable_error engine_overloaded_error provider_overloaded temporarily_unavailable
            model_capacity_exhausted nocapacity serviceunavailableexception modelnotreadyexception
            serveroverloaded""",
        Category.TIMEOUT: "timeout_error deadline_exceeded timeout send_timeout",
        Category.RATE_LIMIT: """
            rate_limit_exceeded rate_limit_error rate_limit_reached_error ratelimitexceeded ratelimitreached
            rate_limited too_many_requests slow_down resource_exhausted ramp_limit_exceeded
            openrouter_in_flight_budget in_flight_budget_exhausted upstream_provider_shared_pool
            capacity_exhausted throttlingexception""",
        Category.AUTH: """
            invalid_api_key authentication_error api_key_invalid unauthenticated authentication
            expiredtokenexception unrecognizedclientexception invalidsignatureexception""",
        Category.PERMISSION: """
            permission_denied permission_error permissiondenied forbidden request_forbidden region_restricted
            unsupported_country_region_territory organization_on_hold service_disabled accessdeniedexception""",
        Category.CONNECTION: "not_connected",
    }
)
"""Codes that decide by themselves, out of the body or from the exception.

Two of them stand for what a body shows rather than says: ``per_day`` for a violated daily quota of Gemini, and
``flagged_input`` for the verdict of a moderation or guardrail in OpenRouter's ``metadata``.
"""

_ABSENT_CODES: Final = """
    model_not_found not_found_error not_found deploymentnotfound resourcenotfoundexception model_deprecated
    no_endpoints model_unavailable_upstream free_variant_ended"""

VAGUE_CODES: Final = _by_name(
    {
        Category.SERVER_ERROR: "server_error internal_error internal api_error server provider_unavailable error",
        Category.INVALID_REQUEST: """
            invalid_request_error invalid_request invalid_argument failed_precondition invalid_prompt
            """
        + _ABSENT_CODES,
        Category.MALFORMED: "length max_tokens max_tokens_exceeded",
    }
)
"""Codes that the status says better, if there is one."""

FEISHU: Final[Mapping[int, Category]] = {
    code: category
    for category, codes in {
        Category.RATE_LIMIT: (99991400, 99991402, 230020, 11020, 11021, 11232, 11233, 11247, 2200),
        Category.QUOTA_EXHAUSTED: (99991403,),
        Category.AUTH: (
            99991661, 99991663, 99991664, 99991665, 99991666, 99991668, 99991669, 99991671, 99991677,
            20005, 20013, 10003, 10005, 10012, 10013, 10014, 10015, 99991401, 99991662, 99991673, 230006,
        ),
        Category.PERMISSION: (99991672, 99991676, 99991679, 230003, 230027),
        Category.CONTENT_FILTER: (230022, 230028, 11248, 11312),
        Category.SERVER_ERROR: (1500, 1663, 1668, 5000, 10101, 10500, 300120, 18121, 230049, 231015, 200810),
        Category.INVALID_REQUEST: (
            230001, 230002, 230011, 230013, 230017, 230018, 230019, 230021, 230025, 230029, 230034, 230035, 230038,
            230053, 230071, 230099, 230110, 232009, 19036, 200740, 200750, 200850, 200860, 300303, 300305, 300309,
            300311, 300317, 99992354, 99992402,
        ),
    }.items()
    for code in codes
}  # fmt: skip
"""Feishu's codes; it sends them as ``code`` beside ``msg``, with HTTP 200, 400 or 429. Any other is vague."""

STATUSES: Final[Mapping[int, Category]] = {
    401: Category.AUTH,
    402: Category.QUOTA_EXHAUSTED,
    403: Category.PERMISSION,
    407: Category.AUTH,
    408: Category.TIMEOUT,
    413: Category.CONTEXT_LENGTH,
    429: Category.RATE_LIMIT,
    499: Category.CANCELLED,
    503: Category.OVERLOADED,
    504: Category.TIMEOUT,
    522: Category.TIMEOUT,
    524: Category.TIMEOUT,
    529: Category.OVERLOADED,
}
"""Any other from 500 is a server's error, any other from 400 an invalid request."""

VAGUE_STATUSES: Final = frozenset({400, 403, 422, 429, 500})
"""Statuses that `PHRASES` make more precise; so are errors without one."""

COMBINED: Final[tuple[Rule, ...]] = (
    # Three that are worded as rate limits (Anthropic, OpenRouter, OpenAI), and that no waiting helps.
    Rule(
        category=Category.QUOTA_EXHAUSTED,
        code="rate_limit_error",
        text=r"\b(extra usage is|usage credits are) required\b",
    ),
    Rule(category=Category.QUOTA_EXHAUSTED, status=429, text=r"\bfree-models-per-day\b"),
    Rule(category=Category.CONTEXT_LENGTH, code="rate_limit_exceeded", text=r"\brequest too large\b"),
    # Feishu's SDK: the long connection is refused, for its credentials or because there are too many of them.
    Rule(category=Category.AUTH, class_name="ServerException", code="514"),
    Rule(category=Category.RATE_LIMIT, class_name="ClientException", code="514"),
)
"""What only several things together tell; tried before anything but a cancellation."""

_ABSENT: Final = Traits(fallback=True, retries=0, counts=False)
_AGAIN: Final = Traits(fallback=True, retries=1, counts=False)
_NOT_MADE: Final = Traits(fallback=True, retries=0, counts=False)
_BROKEN: Final = Traits(fallback=True, retries=0, counts=True)

SPECIAL: Final[tuple[tuple[str, Rule], ...]] = (
    *(
        (
            "a breaker refused it: no call was made",
            Rule(category=category, class_name="LeftAlone", traits=_NOT_MADE),
        )
        for category in (Category.OVERLOADED, Category.CONNECTION)
    ),
    *(
        ("the certificate is not accepted: it would be refused again", rule)
        for rule in (
            Rule(category=Category.CONNECTION, class_name="SSLCertVerificationError", traits=_BROKEN),
            Rule(category=Category.CONNECTION, text=r"certificate[ _]verify[ _]failed", traits=_BROKEN),
        )
    ),
    *(
        ("the model is not there: no request to it would do better, another model would", rule)
        for rule in (
            Rule(category=Category.INVALID_REQUEST, status=404, traits=_ABSENT),
            Rule(category=Category.INVALID_REQUEST, class_name="ModelNotFoundError", traits=_ABSENT),
            *(Rule(category=Category.INVALID_REQUEST, code=code, traits=_ABSENT) for code in _ABSENT_CODES.split()),
        )
    ),
    (
        "somebody else changed it meanwhile: the SDKs try again too",
        Rule(category=Category.INVALID_REQUEST, status=409, traits=_AGAIN),
    ),
    *(
        ("a limit of this process: it says nothing about the other side", rule)
        for rule in (
            Rule(category=Category.TIMEOUT, class_name="PoolTimeout", traits=_AGAIN),
            Rule(category=Category.OVERLOADED, class_name="ConcurrencyLimitExceeded", traits=_AGAIN),
        )
    ),
)
"""Why, and which failures of a category mean something else for the next step than the category does."""


def _patterns(*rows: tuple[Category, str]) -> tuple[tuple[Category, re.Pattern[str]], ...]:
    return tuple((category, re.compile(pattern, re.IGNORECASE)) for category, pattern in rows)


PHRASES: Final = _patterns(
    (
        Category.CONTEXT_LENGTH,
        r"\bmaximum context length\b|\bcontext (window|length|limit)\b.{0,20}\bexceeded\b|\bprompt is too long\b"
        r"|\bexceeds? (the |this model's )?context (window|limit)\b|\breduce the length of the messages\b"
        r"|\binput token count\b.{0,40}\bexceeds\b|\bnumber of tokens allowed\b|\btoo many (input )?tokens\b"
        r"|\binput is too long\b|\binput tokens exceed",
    ),
    (
        Category.QUOTA_EXHAUSTED,
        r"\bcredit balance is too low\b|\bspecified (workspace )?api usage limits\b|\bkey limit exceeded\b"
        r"|\bquota (has been |is )?(exceeded|exhausted)\b|\binsufficient (quota|balance|credits)\b"
        r"|\bspend(ing)? (limit|cap)\b|\benable billing\b|\bexceeded your current quota\b",
    ),
    (
        Category.CONTENT_FILTER,
        r"\bcontent[_ ](filter|policy|management policy)\b|\bflagged by moderation\b|\binput was flagged\b"
        r"|\bflagged as potentially violating\b|\bour safety system\b",
    ),
    (Category.PERMISSION, r"\b(location|country|region|territory)\b.{0,24}\bnot supported\b"),
    (Category.AUTH, r"\b(incorrect|invalid) (x-)?api[- ]key\b|\bapi key not valid\b|\binvalid x-api-key\b"),
    (Category.OVERLOADED, r"\boverloaded\b|\b(over|at) capacity\b|\bexperiencing high demand\b"),
)
"""Sentences of providers whose codes and statuses say less than they know."""

WORDS: Final = _patterns(
    (
        Category.MALFORMED,
        r"without a `?finish_reason|failed to decode response|invalid json|unexpected end of json",
    ),
    (Category.RATE_LIMIT, r"\brate[- _]?limit(ed|s)?\b|\btoo many requests\b|\bRESOURCE_EXHAUSTED\b|\bHTTP 429\b"),
    (Category.TIMEOUT, r"\btimed? ?-?out\b|\bETIMEDOUT\b|\bdeadline exceeded\b"),
    (Category.AUTH, r"\bunauthori[sz]ed\b|\bauthentication failed\b"),
    (Category.PERMISSION, r"\bpermission denied\b|\bforbidden\b|\bnot allowed to\b"),
    (
        Category.CONNECTION,
        r"\bECONN(REFUSED|RESET|ABORTED)\b|\bEPIPE\b|\bENOTFOUND\b|\bsocket hang up\b"
        r"|\bconnection (error|refused|reset|closed|aborted|lost)\b|\bpeer closed connection\b"
        r"|\bnetwork is unreachable\b|\bno route to host\b|\bname resolution\b",
    ),
    (Category.SERVER_ERROR, r"\binternal server error\b|\bbad gateway\b"),
)
"""Words of errors that say nothing else, between word boundaries: a request id or a duration is no status."""
