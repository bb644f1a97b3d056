"""Observers hear events in order, and can not hurt who emits them."""

import asyncio
import threading

import pytest

from mainstay.bus import Bus
from mainstay.events import CardCreated, CardSent, Event, ServiceReady


def test_observers_hear_their_kind_in_order_of_subscription() -> None:
    bus, heard = Bus(), []
    bus.subscribe_all(lambda event: heard.append(("all", event.name)))
    bus.subscribe(CardSent, lambda event: heard.append(("first", event.turn_id)))
    bus.subscribe(CardSent, lambda event: heard.append(("second", event.turn_id)))
    bus.emit(CardCreated(turn_id="t"))
    bus.emit(CardSent(turn_id="t"))
    assert heard == [("all", "card.created"), ("first", "t"), ("second", "t"), ("all", "card.sent")]


def test_an_observer_that_raises_is_counted_and_reaches_nobody(caplog: pytest.LogCaptureFixture) -> None:
    bus, heard = Bus(), []

    def broken(event: Event) -> None:
        raise RuntimeError("observer's own fault")

    bus.subscribe(CardSent, broken)
    bus.subscribe(CardSent, heard.append)
    bus.emit(CardSent(turn_id="t"))
    bus.emit(CardSent(turn_id="t"))
    assert len(heard) == 2
    assert sum(bus.failures.values()) == 2
    assert next(iter(bus.failures)).endswith("broken")
    assert "observer's own fault" in caplog.text


def test_what_ends_the_process_is_not_swallowed() -> None:
    bus = Bus()

    def interrupted(event: Event) -> None:
        raise KeyboardInterrupt

    bus.subscribe_all(interrupted)
    with pytest.raises(KeyboardInterrupt):
        bus.emit(ServiceReady(startup_s=0.1))


def test_an_event_emitted_by_an_observer_is_delivered_too() -> None:
    bus, heard = Bus(), []
    bus.subscribe(CardCreated, lambda event: bus.emit(CardSent(turn_id=event.turn_id)))
    bus.subscribe_all(lambda event: heard.append(event.name))
    bus.emit(CardCreated(turn_id="t"))
    assert heard == ["card.sent", "card.created"]


@pytest.mark.anyio
async def test_other_threads_come_in_through_the_loop() -> None:
    bus, here = Bus(), threading.get_ident()
    heard: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    bus.subscribe_all(lambda event: heard.set_result(threading.get_ident()))
    await asyncio.to_thread(bus.emit_from_thread, asyncio.get_running_loop(), ServiceReady(startup_s=0.1))
    assert await asyncio.wait_for(heard, 5) == here
