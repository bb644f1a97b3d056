"""Every way in which a call has been seen to fail has its category, its consequences and a clear message."""

import asyncio

import httpx2
import openai
import pytest
from tests.recovery.known import KNOWN, REQUEST, SPECIAL, model_error, openai_error, raised_from

from mainstay.errors import Category
from mainstay.logs.redact import register
from mainstay.recovery.classify import classify
from mainstay.recovery.model import TRAITS, AttemptError, Failure, Rule, Traits


@pytest.mark.parametrize(
    ("error", "category"),
    [pytest.param(*row, id=f"{number}-{type(row[0]).__name__}-{row[1]}") for number, row in enumerate(KNOWN)],
)
def test_each_known_failure_has_its_category(error: BaseException, category: Category) -> None:
    assert classify(error).category is category


@pytest.mark.parametrize(
    ("error", "traits"),
    [pytest.param(*row, id=f"{number}-{type(row[0]).__name__}") for number, row in enumerate(SPECIAL)],
)
def test_what_means_something_else_than_its_category_says_so(error: BaseException, traits: Traits) -> None:
    assert classify(error).traits == traits


# What the caller knows of the response


def test_a_status_a_header_and_a_body_are_enough_each_alone() -> None:
    assert classify(status=429).category is Category.RATE_LIMIT
    assert classify(body={"error": {"code": "insufficient_quota"}}).category is Category.QUOTA_EXHAUSTED
    assert classify(headers={"Retry-After": "3"}).retry_after_s == 3.0
    assert classify() == Failure(category=Category.INTERNAL, message="no more is known")
    assert classify(status=200, body={"code": 0, "msg": "ok"}).category is Category.INTERNAL


def test_what_the_caller_knows_goes_before_what_the_exception_says_of_the_response() -> None:
    failure = classify(
        openai_error(500, {"error": {"message": "old"}}, {"retry-after": "1"}),
        status=429,
        headers={"Retry-After": "9"},
        body=b'{"error": {"message": "new"}}',
    )
    assert failure == Failure(category=Category.RATE_LIMIT, message="HTTP 429: new", retry_after_s=9.0, status=429)


def test_what_the_caller_knows_counts_also_where_a_cause_decides() -> None:
    error = raised_from(httpx2.ReadTimeout("slow"), RuntimeError("while asking"))
    assert classify(error, headers={"retry-after": "9"}).retry_after_s == 9.0


def test_a_402_that_says_when_to_come_back_is_no_empty_account() -> None:
    assert classify(status=402, headers={"retry-after": "5"}).category is Category.RATE_LIMIT
    assert classify(status=402, headers={"retry-after": "nonsense"}).category is Category.QUOTA_EXHAUSTED
    assert classify(status=402).category is Category.QUOTA_EXHAUSTED


def test_an_unknown_code_of_feishu_is_about_the_request() -> None:
    assert classify(status=200, body={"code": 77, "msg": "?"}).category is Category.INVALID_REQUEST
    assert classify(status=500, body={"code": 77, "msg": "?"}).category is Category.SERVER_ERROR
    assert classify(status=200, body={"code": 1500, "message": "?"}).category is Category.INTERNAL  # not Feishu's


# The user's own rules


class MySdkError(Exception):
    pass


class MySdkBusy(MySdkError):
    pass


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (Rule(category=Category.OVERLOADED, class_name="MySdkBusy"), MySdkBusy()),
        (Rule(category=Category.OVERLOADED, class_name="MySdkError"), MySdkBusy()),
        (Rule(category=Category.OVERLOADED, class_name="MySdkBusy"), raised_from(MySdkBusy(), RuntimeError())),
        (Rule(category=Category.OVERLOADED, class_name="MySdkBusy"), ExceptionGroup("g", [MySdkBusy()])),
        (Rule(category=Category.OVERLOADED, code="TPM_exceeded"), model_error(429, "tpm_Exceeded")),
        (Rule(category=Category.OVERLOADED, code="230001"), model_error(400, msg="no", code="230001")),
        (Rule(category=Category.OVERLOADED, status=418), openai_error(418)),
        (Rule(category=Category.OVERLOADED, text="TEA.?pot"), Exception("I am a teapot")),
        (Rule(category=Category.OVERLOADED, text="teapot"), openai_error(400, {"error": {"message": "a teapot"}})),
        (Rule(category=Category.OVERLOADED, status=418, text="teapot"), openai_error(418, {"error": "teapot"})),
    ],
)
def test_a_rule_of_the_user_goes_before_those_that_are_built_in(rule: Rule, error: BaseException) -> None:
    assert classify(error).category is not Category.OVERLOADED
    failure = classify(error, rules=[rule])
    assert (failure.category, failure.traits) == (Category.OVERLOADED, TRAITS[Category.OVERLOADED])


def test_all_conditions_of_a_rule_have_to_hold_for_the_same_exception() -> None:
    rule = Rule(category=Category.OVERLOADED, class_name="MySdkBusy", status=418)
    assert classify(MySdkBusy(), rules=[rule]).category is Category.INTERNAL
    assert classify(raised_from(openai_error(418), MySdkBusy()), rules=[rule]).category is Category.INVALID_REQUEST
    assert classify(MySdkBusy(), status=418, rules=[rule]).category is Category.OVERLOADED


def test_the_first_rule_that_fits_decides_and_brings_its_traits() -> None:
    traits = Traits(fallback=False, retries=7, counts=False)
    rules = [
        Rule(category=Category.AUTH, status=500),
        Rule(category=Category.TIMEOUT, status=418, traits=traits),
        Rule(category=Category.OVERLOADED, status=418),
    ]
    failure = classify(openai_error(418, headers={"x-should-retry": "false"}), rules=rules)
    assert (failure.category, failure.traits) == (Category.TIMEOUT, traits)


def test_no_rule_makes_a_failure_of_a_cancellation() -> None:
    everything = [Rule(category=Category.OVERLOADED, class_name="BaseException")]
    assert classify(asyncio.CancelledError(), rules=everything).category is Category.CANCELLED
    assert classify(RuntimeError(), rules=everything).category is Category.OVERLOADED


# What is said about it


def test_a_message_is_one_short_line_without_secrets() -> None:
    body = {"error": {"message": "Incorrect API key provided: sk-or-v1-0123456789abcdef\n" + "x" * 500}}
    failure = classify(openai_error(401, body))
    assert failure.message.startswith("HTTP 401: Incorrect API key provided: ***")
    assert len(failure.message) == 200
    assert "\n" not in failure.message
    assert failure.status == 401


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (classify(TimeoutError()), "TimeoutError"),
        (
            classify(raised_from(ConnectionError("port 1 refuses"), openai.APIConnectionError(request=REQUEST))),
            "Connection error (port 1 refuses)",
        ),
        (classify(Exception("\u200b\ud800")), "Exception"),
        (classify(AttemptError(Category.MALFORMED, "the stream ended")), "the stream ended"),
        (classify(ExceptionGroup("g", [KeyError("x"), TimeoutError("late")])), "late"),
        (classify(ExceptionGroup("g", [KeyError("x"), KeyError("y")])), "'x'"),
        (classify(status=502, body="<html><title>502 Bad\nGateway</title></html>"), "HTTP 502: 502 Bad Gateway"),
        (classify(status=502, body="<html>"), "HTTP 502: no more is known"),
        (classify(status=503, body="upstream connect error"), "HTTP 503: upstream connect error"),
        (classify(status=400, body={"code": 230001, "msg": "no"}), "HTTP 400: code 230001: no"),
        (classify(status=503, body={"error": "Server overloaded"}), "HTTP 503: Server overloaded"),
        (classify(status=401, body={"error": "invalid", "error_description": "no such"}), "HTTP 401: no such"),
        (classify(status=422, body={"detail": "no such field"}), "HTTP 422: no such field"),
    ],
)  # fmt: skip
def test_the_message_is_what_was_said_most_clearly(failure: Failure, message: str) -> None:
    assert failure.message == message


def test_a_secret_at_the_end_of_what_is_read_is_not_shown_by_half() -> None:
    register(["correct-horse-battery"])
    for blanks in (3990, 7990):
        assert "correct" not in classify(Exception(" " * blanks + "correct-horse-battery and more")).message


def test_what_a_moderation_quotes_of_a_person_is_not_repeated() -> None:
    body = {"error": {"code": 403, "message": "flagged", "metadata": {"flagged_input": "my own words"}}}
    assert "my own words" not in classify(openai_error(403, body)).message
