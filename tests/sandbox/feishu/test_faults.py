"""Faults strike the calls they were meant for, as often as asked."""

import pytest

from mainstay.sandbox.feishu.faults import PlatformFault, PlatformFaults

pytestmark = pytest.mark.anyio


async def test_a_fault_meets_the_next_calls_that_match_and_no_others() -> None:
    faults = PlatformFaults()
    reply = PlatformFault(call="POST /reply", code=230020, times=2)
    anything = PlatformFault(call="* /cards", status=502)
    faults.inject(reply)
    faults.inject(anything)
    assert faults.take("GET", "/im/v1/messages/om_1/reply") is None
    assert faults.take("PUT", "/cardkit/v1/cards/1") is anything
    assert [faults.take("POST", "/im/v1/messages/om_1/reply") for _ in range(3)] == [reply, reply, None]
    assert faults.active() == []


@pytest.mark.parametrize(
    ("call", "details"),
    [("POST", {"code": 1}), ("", {"code": 1}), ("POST /x", {}), ("POST /x", {"code": 1, "times": 0})],
)
async def test_a_fault_that_could_never_strike_is_refused(call: str, details: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"call|times|needs"):
        PlatformFault(call=call, **details)  # type: ignore[arg-type]
