"""Events are API: names, fields and the envelope do not change by accident."""

import dataclasses
import uuid
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from mainstay import events
from mainstay.clock import iso
from mainstay.errors import Category
from mainstay.events import ErrorSeen, Event, TurnFinished, envelope, uuid7
from mainstay.messages import Outcome

AT = datetime(2026, 11, 23, 8, 46, 50, 907_654, tzinfo=UTC)
KINDS = [
    kind
    for kind in (getattr(events, name) for name in events.__all__)
    if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
]


def test_every_event_has_a_name_of_its_own_and_says_what_it_means() -> None:
    names = [kind.name for kind in KINDS]
    assert len(set(names)) == len(names) > 20
    for kind in KINDS:
        assert kind.name.count(".") == 1
        assert kind.__doc__
        assert "(" not in kind.__doc__.splitlines()[0][:20]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_an_event_is_frozen_and_can_not_be_made_with_a_wrong_field(kind: type[Event]) -> None:
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="mood"):
        kind(mood="curious")


def test_the_envelope_holds_where_when_and_what() -> None:
    event = ErrorSeen(category=Category.DATABASE, message="full", where="inbox", turn_id="t1")
    wrapped = envelope(event, at=AT, worker="h:1:2", trace_id="tr")
    assert uuid.UUID(str(wrapped.pop("id"))).version == 7
    assert wrapped == {
        "name": "error.seen",
        "v": 1,
        "at": "2026-11-23T08:46:50.907Z",
        "worker": "h:1:2",
        "turn_id": "t1",
        "trace_id": "tr",
        "data": {"category": "database", "message": "full", "where": "inbox", "logged": False},
    }


def test_an_event_without_a_turn_has_an_empty_one() -> None:
    wrapped = envelope(events.ServiceReady(startup_s=0.5), at=AT, worker="w")
    assert (wrapped["turn_id"], wrapped["data"]) == ("", {"startup_s": 0.5})


def test_an_envelope_can_be_written_as_json() -> None:
    event = TurnFinished(
        turn_id="t", lane="l", agent="manager", answered_by="okr", model="primary", outcome=Outcome.FAILED,
        category=Category.TIMEOUT, attempt=2, latency_s=1.5,
    )  # fmt: skip
    data = orjson.loads(orjson.dumps(envelope(event, at=AT, worker="w")))["data"]
    assert (data["outcome"], data["category"]) == ("failed", "timeout")
    assert set(data) == {field.name for field in dataclasses.fields(TurnFinished)} - {"turn_id"}


def test_ids_sort_by_time_and_carry_it() -> None:
    ids = [uuid7(AT + timedelta(milliseconds=n)) for n in range(200)]
    assert sorted(ids) == ids
    assert uuid.UUID(ids[0]).int >> 80 == int(AT.timestamp() * 1000)
    assert uuid.UUID(ids[0]).variant == uuid.RFC_4122
    assert len({uuid7(AT) for _ in range(200)}) == 200


def test_time_is_written_in_utc_with_milliseconds() -> None:
    assert iso(AT) == "2026-11-23T08:46:50.907Z"
    assert iso(datetime.fromisoformat("2026-11-23T09:46:50+01:00")) == "2026-11-23T08:46:50.000Z"
