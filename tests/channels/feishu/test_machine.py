"""The tables of what a refusal means, and of what is done about it."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.channels.feishu import machine
from mainstay.channels.feishu.machine import (
    Action,
    Degrade,
    Drop,
    GiveUp,
    Refusal,
    Retry,
    after,
    classify,
)
from mainstay.channels.feishu.model import Delivery, Via
from mainstay.errors import Category
from mainstay.messages import Message, Outcome
from mainstay.recovery.classify import classify as classify_any

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MESSAGE = Message(channel="feishu", bot_id="b", external_id="m", chat_id="c", sender_id="s", text="t", sent_at=NOW)
DELIVERY = Delivery(
    seq=1,
    turn_id="t",
    attempt=1,
    message=MESSAGE,
    outcome=Outcome.ANSWERED,
    text="text",
    notice="",
    via=Via.CARD,
    apologise=False,
    tries=1,
    created_at=NOW,
    text_since=None,
)
AS_POST = replace(DELIVERY, via=Via.POST)
AS_TEXT = replace(DELIVERY, via=Via.TEXT)


@pytest.mark.parametrize(
    ("code", "status", "action", "category"),
    [
        (99991400, 400, Action.WAIT, Category.RATE_LIMIT),
        (99991400, 429, Action.WAIT, Category.RATE_LIMIT),
        (230020, 400, Action.WAIT, Category.RATE_LIMIT),
        (77, 429, Action.WAIT, Category.RATE_LIMIT),
        (1500, 200, Action.WAIT, Category.SERVER_ERROR),
        (77, 500, Action.WAIT, Category.SERVER_ERROR),
        (11020, 400, Action.WAIT, Category.RATE_LIMIT),
        (99991403, 429, Action.QUOTA, Category.QUOTA_EXHAUSTED),
        (200810, 400, Action.PRESSED, Category.SERVER_ERROR),
        (99991403, 400, Action.QUOTA, Category.QUOTA_EXHAUSTED),
        (99991663, 400, Action.REFRESH, Category.AUTH),
        (99991661, 401, Action.REFRESH, Category.AUTH),
        (200850, 400, Action.REOPEN, Category.INVALID_REQUEST),
        (300309, 400, Action.REOPEN, Category.INVALID_REQUEST),
        (300317, 400, Action.SUPERSEDED, Category.INVALID_REQUEST),
        (200740, 400, Action.REPLACE, Category.INVALID_REQUEST),
        (230099, 400, Action.DEGRADE, Category.INVALID_REQUEST),
        (230025, 400, Action.DEGRADE, Category.INVALID_REQUEST),
        (77, 400, Action.DEGRADE, Category.INVALID_REQUEST),
        (230028, 400, Action.APOLOGISE, Category.CONTENT_FILTER),
        (230071, 400, Action.UNTHREAD, Category.INVALID_REQUEST),
        (230011, 400, Action.TERMINAL, Category.INVALID_REQUEST),
        (99992354, 400, Action.TERMINAL, Category.INVALID_REQUEST),
        (10014, 200, Action.CONFIGURE, Category.AUTH),
        (10015, 200, Action.CONFIGURE, Category.AUTH),
        (99991672, 400, Action.CONFIGURE, Category.PERMISSION),
    ],
)
def test_a_refusal_is_named_by_its_code_and_only_else_by_its_status(code, status, action, category):
    refusal = classify(code, status, {}, "message")
    assert (refusal.action, refusal.category) == (action, category)
    assert str(code) in refusal.reason


DOCUMENTED = {
    (Action.WAIT, Category.RATE_LIMIT): [99991400, 230020, 11232, 11233, 11247, 2200],
    (Action.WAIT, Category.SERVER_ERROR): [18121, 230049, 231015, 1500, 5000, 10101, 300120],
    (Action.QUOTA, Category.QUOTA_EXHAUSTED): [99991403],
    (Action.REFRESH, Category.AUTH): [99991661, 99991663, 99991664, 99991665, 99991668, 99991671],
    (Action.REOPEN, Category.INVALID_REQUEST): [200850, 300309],
    (Action.SUPERSEDED, Category.INVALID_REQUEST): [300317],
    (Action.PRESSED, Category.SERVER_ERROR): [200810],
    (Action.REPLACE, Category.INVALID_REQUEST): [200740, 200750, 300311],
    (Action.DEGRADE, Category.INVALID_REQUEST): [230025, 200860, 19036, 230099, 300305, 230001],
    (Action.APOLOGISE, Category.CONTENT_FILTER): [230022, 230028],
    (Action.UNTHREAD, Category.INVALID_REQUEST): [230019, 230071],
    (Action.TERMINAL, Category.INVALID_REQUEST): [
        *(230011, 230110, 230002, 230013, 230017, 230018, 230029, 230034, 230035, 230038, 230053, 232009),
    ],
    (Action.CONFIGURE, Category.AUTH): [10014, 10015, 99991401, 230006],
    (Action.CONFIGURE, Category.PERMISSION): [99991672, 99991679, 230027],
}
"""Every code that the platform's documentation says how to meet."""


@pytest.mark.parametrize("status", [200, 400, 429])
@pytest.mark.parametrize(
    ("code", "action", "category"),
    [(code, *meant) for meant, codes in DOCUMENTED.items() for code in codes],
)
def test_each_documented_code_is_met_as_documented_whatever_its_status(code, status, action, category):
    refusal = classify(code, status, {}, "message (log_id 20261126A)")
    assert (refusal.action, refusal.category) == (action, category)
    assert "log_id 20261126A" in refusal.reason
    assert refusal.narrow == (code in (230020, 11233))


def test_only_waiting_can_help_what_is_said_to_be_retryable():
    for (action, _), codes in DOCUMENTED.items():
        for code in codes:
            decision = decide(classify(code, 400, {}))
            waits = action in (Action.WAIT, Action.PRESSED, Action.QUOTA, Action.REFRESH, Action.SUPERSEDED)
            waits |= action is Action.CONFIGURE and code not in (99991672, 99991679, 230027)
            assert isinstance(decision, Retry) == waits


@pytest.mark.parametrize(("header", "wait_s"), [("7", 7.0), ("-1", 0.0), ("soon", 0.0), ("1e9", 3600.0), ("", 0.0)])
def test_the_platform_says_how_long_to_wait(header, wait_s):
    assert classify(99991400, 429, {"x-ogw-ratelimit-reset": header}).wait_s == wait_s


def decide(refusal, delivery=DELIVERY, *, age_s=0.0):
    return after(refusal, delivery, age_s=age_s, base_s=1.0, cap_s=60.0, max_age_s=3600.0, jitter=1.0)


def refusal(action, **more):
    return Refusal(action=action, category=Category.SERVER_ERROR, reason="why", **more)


@pytest.mark.parametrize(
    ("action", "as_card", "as_text"),
    [
        (Action.WAIT, Retry(1.0), Retry(1.0)),
        (Action.PRESSED, Retry(1.0), Retry(1.0)),
        (Action.SUPERSEDED, Retry(1.0), Retry(1.0)),
        (Action.REFRESH, Retry(1.0), Retry(1.0)),
        (Action.QUOTA, Retry(60.0), Retry(60.0)),
        (Action.CONFIGURE, Retry(60.0), Retry(60.0)),
        (Action.DEGRADE, Degrade(Via.POST, apologise=False), GiveUp("why")),
        (Action.REPLACE, Degrade(Via.POST, apologise=False), GiveUp("why")),
        (Action.APOLOGISE, Degrade(Via.TEXT, apologise=True), Degrade(Via.TEXT, apologise=True)),
        (Action.TERMINAL, GiveUp("why"), GiveUp("why")),
    ],
)
def test_what_becomes_of_an_outcome_that_was_refused(action, as_card, as_text):
    assert decide(refusal(action)) == as_card
    assert decide(refusal(action), AS_TEXT) == as_text


def test_an_outcome_goes_from_card_to_post_to_text_and_no_further():
    assert decide(refusal(Action.DEGRADE), AS_POST) == Degrade(Via.TEXT, apologise=False)
    assert decide(refusal(Action.APOLOGISE), AS_POST) == Degrade(Via.TEXT, apologise=True)
    assert decide(refusal(Action.DEGRADE), replace(AS_POST, apologise=True)) == Degrade(Via.TEXT, apologise=True)


def test_who_can_not_get_ahead_of_a_higher_sequence_shows_the_outcome_without_that_card():
    assert isinstance(decide(refusal(Action.SUPERSEDED), replace(DELIVERY, tries=4)), Retry)
    assert decide(refusal(Action.SUPERSEDED), replace(DELIVERY, tries=5)) == Degrade(Via.POST, apologise=False)


def test_an_apology_that_is_refused_too_is_a_dead_letter():
    assert decide(refusal(Action.APOLOGISE), replace(AS_TEXT, apologise=True)) == GiveUp("why")


def test_a_right_that_only_cards_need_costs_the_card_and_not_the_answer():
    assert decide(refusal(Action.CONFIGURE, scope=True)) == Degrade(Via.POST, apologise=False)
    assert decide(refusal(Action.CONFIGURE, scope=True), AS_TEXT) == Retry(60.0)


def test_nobody_waits_for_what_they_took_back():
    assert decide(refusal(Action.TERMINAL), replace(DELIVERY, outcome=Outcome.CANCELLED)) == Drop()


@pytest.mark.parametrize("action", [Action.WAIT, Action.QUOTA, Action.CONFIGURE, Action.SUPERSEDED])
def test_waiting_ends_at_the_age_limit(action):
    assert isinstance(decide(refusal(action), age_s=3599.9), Retry)
    assert decide(refusal(action), age_s=3600.0) == GiveUp("not delivered within 3600 s: why")


def test_waits_double_up_to_the_cap_and_honour_the_platform_up_to_it():
    waits = [decide(refusal(Action.WAIT), replace(DELIVERY, tries=tries)).after_s for tries in (1, 2, 3, 7, 5000)]
    assert waits == [1.0, 2.0, 4.0, 60.0, 60.0]
    assert decide(refusal(Action.WAIT, wait_s=7.0)) == Retry(7.0)
    assert decide(refusal(Action.WAIT, wait_s=900.0)) == Retry(60.0)


@given(
    st.sampled_from(Action), st.integers(1, 10**6), st.floats(0, 1), st.sampled_from([DELIVERY, AS_POST, AS_TEXT])
)
def test_every_refusal_leads_somewhere(action, tries, jitter, delivery):
    decision = after(
        refusal(action),
        replace(delivery, tries=tries),
        age_s=0.0,
        base_s=0.5,
        cap_s=60.0,
        max_age_s=3600.0,
        jitter=jitter,
    )
    if isinstance(decision, Retry):
        assert 0.0 < decision.after_s <= 60.0


@pytest.mark.parametrize("status", [200, 400, 429])
def test_the_room_that_classifies_any_error_names_each_code_as_this_one_does(status: int) -> None:
    for code in {*machine._ACTIONS, *machine._RATE}:
        ours = classify(code, status, {}, "message").category
        theirs = classify_any(status=status, body={"code": code, "msg": "message"}).category
        assert (code, theirs) == (code, ours)
