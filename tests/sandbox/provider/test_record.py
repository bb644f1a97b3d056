import json

from mainstay.sandbox.provider.record import ProviderRecord
from mainstay.testing.clock import ManualClock


def test_old_calls_are_forgotten_but_counted() -> None:
    record = ProviderRecord(limit=2)
    for _ in range(5):
        call = record.opened(ManualClock().now())
        call.ending, call.fault, call.tokens_sent = "faulted", "cut", 3
        record.ended(call)
    assert [call.number for call in record.calls] == [4, 5]
    summary = record.as_json()
    assert (summary["total"], summary["endings"], summary["faults"]) == (5, {"faulted": 5}, {"cut": 5})
    assert summary["tokens_sent"] == 15
    assert [call["number"] for call in record.as_json(last=1)["calls"]] == [5]  # type: ignore[attr-defined]


def test_what_clients_were_told_is_summed_up_apart() -> None:
    record = ProviderRecord()
    for told in (True, False, True):
        call = record.opened(ManualClock().now())
        call.prompt_tokens, call.tokens_sent, call.usage_told = 10, 3, told
        record.ended(call)
    summary = record.as_json()
    assert summary["told"] == {"calls": 2, "prompt_tokens": 20, "tokens_sent": 6}
    assert summary["tokens_sent"] == 9


def test_an_open_call_is_shown_and_counted_as_open() -> None:
    record = ProviderRecord()
    record.opened(ManualClock().now())
    summary = json.loads(json.dumps(record.as_json()))
    assert summary["open"] == 1
    assert summary["calls"][0]["ending"] == "open"
    assert summary["calls"][0]["at"] == "2026-01-01T00:00:00.000Z"
