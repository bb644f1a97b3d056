"""What providers have been seen to answer is understood, in whatever form the answer is at hand."""

import json

import pytest
from tests.recovery.recorded import PROVIDERS, Recorded, recorded

from mainstay.recovery.classify import classify


@pytest.mark.parametrize(("provider", "answer"), recorded())
def test_a_recorded_answer_has_its_category_its_delay_and_its_consequences(provider: str, answer: Recorded) -> None:
    text = "" if answer.body is None else json.dumps(answer.body)
    for body in (answer.body, text, text.encode(), bytearray(text, "utf-8")):
        failure = classify(status=answer.status, headers=answer.headers, body=body)
        assert (failure.category, failure.retry_after_s, failure.traits) == answer.expected()
        assert failure.nonsense == ()
        assert not answer.message or failure.message == answer.message


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_body_that_can_not_be_read_leaves_what_the_status_says(provider: str) -> None:
    for status in {each.values[1].status for each in recorded(provider)} - {None, 200}:
        for body in (b"\xff\xfe", "<html><title>Oops</title></html>", "{", None, [], 7):
            assert classify(status=status, body=body).category is classify(status=status).category
