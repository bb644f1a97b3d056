"""A message that comes back is the same message."""

import json
import uuid
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.messages import Finished, Message, Outcome, turn_id_of

KEPT = "efcc9226-c1c6-5ec5-ac82-dd6b6efce396"
MESSAGE = Message(
    channel="feishu",
    bot_id="cli_1",
    external_id="om_1",
    chat_id="oc_1",
    sender_id="ou_1",
    text="目标？",
    sent_at=datetime(2026, 11, 23, 8, 46, 50, 907_000, tzinfo=UTC),
)


def test_the_turn_s_id_is_derived_and_never_changes() -> None:
    # Stored rows refer to it: another value here would answer every open message again.
    assert MESSAGE.turn_id == turn_id_of("feishu", "cli_1", "message", "om_1") == KEPT
    assert uuid.UUID(MESSAGE.turn_id).version == 5


@pytest.mark.parametrize("field", ["channel", "bot_id", "kind", "external_id"])
def test_each_part_of_the_key_makes_another_turn(field: str) -> None:
    value = "callback" if field == "kind" else "other"
    assert replace(MESSAGE, **{field: value}).turn_id != MESSAGE.turn_id


def test_what_the_key_does_not_hold_makes_no_other_turn() -> None:
    assert replace(MESSAGE, text="x", chat_id="oc_2", sender_id="ou_2").turn_id == MESSAGE.turn_id


def test_parts_of_the_key_can_not_be_confused() -> None:
    assert turn_id_of("a", "b,c", "message", "d") != turn_id_of("a,b", "c", "message", "d")
    assert turn_id_of('a","b', "c", "message", "d") != turn_id_of("a", 'b","c', "message", "d")


def test_a_lane_is_a_conversation_and_memory_belongs_to_the_sender() -> None:
    assert MESSAGE.lane == "feishu:cli_1:oc_1:main"
    assert replace(MESSAGE, thread_id="omt_1").lane == "feishu:cli_1:oc_1:omt_1"
    assert MESSAGE.person == "feishu:cli_1:ou_1"
    assert replace(MESSAGE, chat_id="oc_2").person == MESSAGE.person


@given(
    text=st.text(st.characters(exclude_categories=("Cs",))),
    sent_at=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    thread=st.booleans(),
)
def test_a_stored_message_is_read_back(text: str, sent_at: datetime, thread: bool) -> None:
    message = replace(MESSAGE, text=text, sent_at=sent_at, reply_in_thread=thread)
    assert Message.from_json(message.to_json()) == message


def test_fields_of_a_newer_version_are_ignored() -> None:
    data = json.loads(MESSAGE.to_json()) | {"mood": "curious"}
    assert Message.from_json(json.dumps(data)) == MESSAGE


def test_fields_that_an_older_version_did_not_write_have_their_default() -> None:
    data = json.loads(MESSAGE.to_json())
    for later in ("reply_in_thread", "retry_of", "reply_to"):
        del data[later]
    assert Message.from_json(json.dumps(data)) == MESSAGE


def test_another_try_is_the_same_message_under_a_name_that_only_its_failed_turn_gives() -> None:
    again = MESSAGE.again()
    assert again.turn_id == MESSAGE.again().turn_id != MESSAGE.turn_id
    assert again.turn_id != replace(MESSAGE, external_id="om_2").again().turn_id
    assert (again.lane, again.person, again.text) == (MESSAGE.lane, MESSAGE.person, MESSAGE.text)
    assert (MESSAGE.target_id, again.target_id, again.again().target_id) == ("om_1",) * 3
    assert {each.asked_turn_id for each in (MESSAGE, again, again.again())} == {MESSAGE.turn_id}
    assert Message.from_json(again.to_json()) == again


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("retryable", [True, False])
def test_only_a_failure_offers_another_try(outcome: Outcome, retryable: bool) -> None:
    assert Finished(outcome=outcome, retryable=retryable).offers_retry == (outcome is Outcome.FAILED and retryable)


def test_a_message_can_not_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        MESSAGE.text = "other"  # type: ignore[misc]


def test_outcomes_are_words() -> None:
    assert [f"{outcome}" for outcome in Outcome] == ["answered", "failed", "cancelled"]
