"""What was said while nobody listened is answered once, and asking for it costs no more than it must."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.channels.feishu.conftest import ClockAhead
from tests.channels.feishu.connection.conftest import event, frame

from mainstay.events import ConnectionLost, ConnectionOpened, ErrorSeen, HistoryRead, HistoryRefused
from mainstay.messages import Message
from mainstay.testing.clock import ManualClock

pytestmark = pytest.mark.anyio


def ms(ago_s: float = 0.0, now: datetime | None = None) -> str:
    return str(int(((now or datetime.now(UTC)) - timedelta(seconds=ago_s)).timestamp() * 1000))


def item(message_id: str, *, ago_s: float = 60.0, **more: object) -> dict[str, object]:
    """A message as the history has it."""
    return {
        "message_id": message_id,
        "msg_type": "text",
        "create_time": ms(ago_s),
        "deleted": False,
        "chat_id": "oc_1",
        "sender": {"id": "ou_1", "id_type": "open_id", "sender_type": "user"},
        "body": {"content": '{"text":"did you hear?"}'},
    } | more


async def heard_of(bot, *chats: tuple[str, str], ago_s: float = 5000.0, **more: object) -> None:
    """An earlier process was spoken to in these chats: id and type."""
    await bot.connect()
    socket = await bot.gate.connected()
    for number, (chat_id, chat_type) in enumerate(chats):
        said = event(f"om_{chat_id}", chat_id=chat_id, chat_type=chat_type, create_time=ms(ago_s + number), **more)
        await socket.send(frame(f"f_{chat_id}", said))
        await bot.gate.acknowledged(f"f_{chat_id}")
    await bot.chats.write()
    await bot.stop()
    await bot.gate.until(lambda: not bot.gate.open)
    bot.gate.histories_asked.clear()
    bot.events.clear()
    bot.accepted.clear()


async def test_at_the_start_the_chats_are_asked_for_what_was_missed(bot):
    await heard_of(bot, ("oc_1", "p2p"))
    bot.gate.history = [
        item("om_old", ago_s=3600),
        item("om_missed", ago_s=300),
        item("om_young", ago_s=10),
        item("om_recalled", deleted=True),
        item("om_ours", sender={"id": "cli_1", "id_type": "app_id", "sender_type": "app"}),
        item("", ago_s=5),
    ]
    await bot.connect()
    await bot.until(HistoryRead)
    assert [message.external_id for message in bot.accepted] == ["om_missed", "om_young"], "in the order of saying"
    [message, _] = bot.accepted
    assert (message.chat_id, message.chat_type, message.sender_id, message.text) == (
        "oc_1",
        "p2p",
        "ou_1",
        "did you hear?",
    )
    [asked] = bot.gate.histories_asked
    assert asked["container_id"] == "oc_1"
    assert 0 <= datetime.now(UTC).timestamp() - int(asked["start_time"]) - 900 < 60
    assert bot.seen(HistoryRead) == [HistoryRead(channel="feishu", chats=1, messages=2)]


async def test_what_the_bot_has_answered_already_is_left_alone_as_after_a_restore(bot):
    await heard_of(bot, ("oc_1", "p2p"))
    ours = {"id": bot.settings.app_id, "id_type": "app_id", "sender_type": "app"}
    bot.gate.history = [
        item("om_answered", ago_s=300),
        item("om_answer", ago_s=290, parent_id="om_answered", sender=ours),
        item("om_missed", ago_s=200),
        item("om_by_another_bot", ago_s=190, parent_id="om_missed", sender=ours | {"id": "cli_other"}),
    ]
    await bot.connect()
    await bot.until(HistoryRead)
    assert [message.external_id for message in bot.accepted] == ["om_missed"]


async def test_what_the_last_process_has_heard_is_not_asked_for_again(bot):
    await heard_of(bot, ("oc_1", "p2p"), ago_s=100.0)
    [chat] = bot.chats.latest(9)
    heard = str(int(chat.heard_at.timestamp() * 1000))
    bot.gate.history = [item("om_since"), item("om_oc_1", create_time=heard), item("om_before", ago_s=200)]
    await bot.connect()
    await bot.until(HistoryRead)
    assert [message.external_id for message in bot.accepted] == ["om_since"]
    assert bot.gate.histories_asked[0]["start_time"] == heard[:-3]


async def test_what_the_platform_delivers_too_is_one_message(bot):
    await heard_of(bot, ("oc_1", "p2p"))
    bot.gate.history = [item("om_missed")]
    await bot.connect()
    socket = await bot.gate.connected(2)
    await bot.until(HistoryRead)
    await socket.send(frame("f1", event("om_missed")))
    await bot.gate.acknowledged("f1")
    [found, delivered] = bot.accepted
    assert found.turn_id == delivered.turn_id


async def test_a_mention_in_a_group_and_a_thread_are_read_as_if_they_had_come(bot):
    mention = {"key": "@_user_1", "id": {"open_id": "ou_bot"}, "name": "Mainstay"}
    await heard_of(bot, ("oc_g", "group"), mentions=[mention], thread_id="omt_1", root_id="om_root")
    assert [each.container_id for each in bot.chats.latest(9)] == ["oc_g", "omt_1"]
    named = [{"key": "@_user_1", "id": "ou_bot", "id_type": "open_id", "name": "Mainstay"}]
    text = {"content": '{"text":"@_user_1 and now?"}'}
    bot.gate.history = [
        item("om_meant", body=text, mentions=named, root_id="om_root", thread_id="omt_1", ago_s=30),
        item("om_not_meant", ago_s=20),
    ]
    await bot.connect()
    await bot.gate.until(lambda: len(bot.gate.histories_asked) == 2)
    await bot.until(HistoryRead)
    assert {(each["container_id_type"], each["container_id"]) for each in bot.gate.histories_asked} == {
        ("chat", "oc_g"),
        ("thread", "omt_1"),
    }
    assert all(("start_time" in each) == (each["container_id_type"] == "chat") for each in bot.gate.histories_asked)
    assert {(message.external_id, message.text, message.thread_id) for message in bot.accepted} == {
        ("om_meant", "and now?", "om_root")
    }


async def test_what_may_not_be_read_is_asked_for_once_and_told_once(bot):
    await heard_of(bot, ("oc_1", "p2p"), ("oc_2", "p2p"), ("oc_3", "p2p"))
    bot.gate.history_code = 99991672
    made = await bot.connect(backfill_after=0.0)
    await bot.until(HistoryRefused)
    (await bot.gate.connected()).transport.abort()
    await bot.until(ConnectionOpened, 2)
    await bot.gate.until(lambda: made.detail()["historyRefused"])
    assert len(bot.gate.histories_asked) == 1
    assert [each.chat_type for each in bot.seen(HistoryRefused)] == ["p2p"]
    assert "99991672" in str(made.detail()["historyRefused"])
    assert made.status()[0] == "ok", "it is a courtesy of the app's owner"


async def test_a_chat_that_the_bot_has_left_is_not_asked_again(bot):
    await heard_of(bot, ("oc_1", "p2p"), ("oc_2", "p2p"))
    bot.gate.history_code = 230002
    await bot.connect()
    await bot.gate.until(lambda: len(bot.gate.histories_asked) == 2 and not bot.chats.latest(9))
    await bot.chats.write()
    await bot.chats.load()
    assert bot.chats.latest(9) == []


async def test_a_platform_that_is_busy_is_asked_again(bot):
    await heard_of(bot, ("oc_1", "p2p"))
    bot.gate.history_code = 99991400
    await bot.connect()
    await bot.gate.until(lambda: len(bot.gate.histories_asked) >= 2)
    bot.gate.history_code, bot.gate.history = 0, [item("om_missed")]
    await bot.until(HistoryRead)
    assert [message.external_id for message in bot.accepted] == ["om_missed"]


async def test_what_can_not_be_stored_yet_is_asked_for_again(bot):
    await heard_of(bot, ("oc_1", "p2p"))
    bot.gate.history, bot.full = [item("om_missed")], True
    await bot.connect()
    await bot.gate.until(lambda: len(bot.gate.histories_asked) >= 2)
    bot.full = False
    await bot.until(HistoryRead)
    assert [message.external_id for message in bot.accepted] == ["om_missed"]


async def test_only_the_latest_chats_are_asked_and_a_short_gap_asks_none(bot):
    chats = [(f"oc_{number}", "p2p") for number in range(5)]
    await heard_of(bot, *chats)
    await bot.connect(backfill_chats=2, connections=3)
    await bot.gate.until(lambda: len(bot.gate.histories_asked) == 2)
    await bot.until(ConnectionOpened, 3)
    assert {each["container_id"] for each in bot.gate.histories_asked} == {"oc_0", "oc_1"}
    for count in (4, 5):
        (await bot.gate.connected()).transport.abort()
        await bot.until(ConnectionOpened, count)
    await bot.stop()
    assert len(bot.gate.histories_asked) == 2


async def test_a_connection_that_flaps_costs_no_more_calls_than_the_hour_has(bot):
    await heard_of(bot, ("oc_1", "p2p"), ("oc_2", "p2p"))
    await bot.connect(backfill_after=0.0, backfill_calls=3)
    for count in range(1, 5):
        await bot.until(ConnectionOpened, count)
        (await bot.gate.connected()).transport.abort()
    await bot.until(ConnectionOpened, 5)
    await bot.stop()
    assert len(bot.gate.histories_asked) == 3


async def test_after_a_gap_is_asked_for_what_was_said_since_it_was_last_good(bot):
    await heard_of(bot, ("oc_1", "p2p"))
    await bot.connect(backfill_after=0.01)
    await bot.gate.until(lambda: len(bot.gate.histories_asked) == 1)
    socket = await bot.gate.connected()
    await socket.send(frame("f1", event("om_live", create_time=ms())))
    await bot.gate.acknowledged("f1")
    bot.gate.history = [item("om_missed", ago_s=0), item("om_live", ago_s=0)]
    began = datetime.now(UTC).timestamp()
    socket.transport.abort()
    await bot.until(HistoryRead)
    earlier_s = began - int(bot.gate.histories_asked[1]["start_time"])
    assert 299 < earlier_s < 400, "by as much as the clocks may differ"
    assert [message.external_id for message in bot.accepted] == ["om_live", "om_missed"], "it was asked for again"


@pytest.mark.parametrize("ahead_s", [1800.0, -1800.0])
async def test_what_was_missed_is_fetched_by_the_platform_s_clock_where_ours_is_wrong(bot, ahead_s):
    await heard_of(bot, ("oc_1", "p2p"))
    bot.clock = ClockAhead(ahead_s)
    bot.gate.history = [item("om_old", ago_s=2000), item("om_missed", ago_s=300)]
    await bot.connect(backfill_after=0.0)
    await bot.until(HistoryRead)
    bot.gate.history = [item("om_before", ago_s=400), item("om_missed_too", ago_s=0)]
    (await bot.gate.connected()).transport.abort()
    await bot.until(HistoryRead, 2)
    assert [message.external_id for message in bot.accepted] == ["om_missed", "om_missed_too"]


async def test_a_connection_that_brings_nothing_is_replaced_once_the_history_shows_it(bot):
    await heard_of(bot, ("oc_1", "p2p"))
    made = await bot.connect(quiet_after=0.2)
    await bot.gate.until(lambda: len(bot.gate.histories_asked) >= 3)
    assert (bot.gate.opened, bot.seen(ConnectionLost)) == (2, []), "it was only quiet"
    bot.gate.history = [item("om_just_now", ago_s=1)]
    await bot.gate.until(lambda: len(bot.accepted) == 1)
    assert bot.seen(ConnectionLost) == [], "that one may just be on its way"
    bot.gate.history = [item("om_missed", ago_s=60)]
    await bot.until(ConnectionLost)
    await bot.until(ConnectionOpened, 2)
    assert "stale: 1 message" in bot.seen(ConnectionLost)[0].reason
    assert {message.external_id for message in bot.accepted} == {"om_just_now", "om_missed"}
    assert made.detail()["reconnects"] == 1


async def test_the_clock_says_when_a_history_is_looked_at_and_not_a_timer_that_was_set_before(bot):
    await heard_of(bot, ("oc_1", "p2p"))
    bot.clock = ManualClock(datetime.now(UTC))
    await bot.connect(quiet_after=0.01)
    await bot.gate.until(lambda: len(bot.gate.histories_asked) == 1)
    socket = await bot.gate.connected()
    for number in range(50):
        await socket.send(frame(f"f{number}", event(f"om_{number}")))
        await bot.gate.acknowledged(f"f{number}")
    assert len(bot.gate.histories_asked) == 1


async def test_what_is_too_old_to_be_answered_shows_all_the_same_that_nothing_came(bot):
    await heard_of(bot, ("oc_1", "p2p"), ("oc_g", "group"))
    start = datetime.now(UTC)
    bot.clock = ManualClock(start)
    before, missed = item("om_before", create_time=ms(90, start)), item("om_missed", create_time=ms(-10, start))
    bot.gate.histories = {"oc_1": [before], "oc_g": [item("om_not_for_us", create_time=ms(-10, start))]}
    await bot.connect(quiet_after=0.01, backfill_max_age=60.0, clock_skew=0.0)
    for looks in (1, 2):
        await bot.gate.until(lambda looks=looks: len(bot.gate.histories_asked) == 2 * looks)
        bot.clock.advance(100)
    assert bot.seen(ConnectionLost) == [], "it was not open yet, or it was said to others"
    bot.gate.histories["oc_1"].append(missed)
    bot.clock.advance(100)
    await bot.until(ConnectionLost)
    assert "stale: 1 message" in bot.seen(ConnectionLost)[0].reason
    assert bot.accepted == []


async def test_a_process_that_ends_before_all_is_fetched_leaves_it_to_the_next(bot):
    await heard_of(bot, ("oc_1", "p2p"))
    bot.gate.history_code = 1500
    await bot.connect()
    await bot.gate.until(lambda: len(bot.gate.histories_asked) >= 1)
    socket = await bot.gate.connected(2)
    await socket.send(frame("f1", event("om_live", create_time=ms())))
    await bot.gate.acknowledged("f1")
    await bot.chats.write()
    await bot.stop()
    bot.gate.history_code, bot.gate.history = 0, [item("om_missed"), item("om_live", ago_s=0)]
    await bot.connect()
    await bot.until(HistoryRead)
    assert [message.external_id for message in bot.accepted][:2] == ["om_live", "om_missed"]

    async def heard() -> datetime:
        await bot.stop()
        await bot.chats.load()
        return bot.chats.heard_before("oc_1")

    assert (datetime.now(UTC) - await heard()).total_seconds() < 60.0, "what is fetched is fetched again and again"


async def test_a_platform_that_is_busy_for_long_does_not_use_up_the_calls_of_the_hour(bot):
    await heard_of(bot, *[(f"oc_{number}", "p2p") for number in range(5)])
    bot.gate.history_code = 1500
    made = await bot.connect(backfill_calls=10)
    await bot.gate.until(lambda: len(bot.gate.histories_asked) == 4)
    assert {each["container_id"] for each in bot.gate.histories_asked} == {"oc_0"}
    bot.gate.history_code, bot.gate.histories = 0, {"oc_4": [item("om_missed")]}
    bot.gate.history = []
    await bot.until(HistoryRead)
    assert [message.chat_id for message in bot.accepted] == ["oc_4"]
    assert made.detail()["historiesLeftOut"] == 0


async def test_of_thirty_chats_each_is_asked_once_and_what_the_hour_has_no_call_for_is_counted(bot):
    await heard_of(bot, *[(f"oc_{number}", "p2p") for number in range(30)])
    bot.gate.histories = {f"oc_{number}": [item(f"om_missed_{number}")] for number in range(30)}
    made = await bot.connect(backfill_chats=40, backfill_calls=25)
    await bot.until(HistoryRead)
    assert len({message.chat_id for message in bot.accepted}) == len(bot.gate.histories_asked) == 25
    assert made.detail()["historiesLeftOut"] == 5


@pytest.mark.parametrize(("said", "left_out"), [(99, 0), (130, 1)])
async def test_of_very_much_the_latest_is_taken_in_order_and_that_there_was_more_is_counted(bot, said, left_out):
    await heard_of(bot, ("oc_1", "p2p"))
    bot.gate.history = [item(f"om_{number}", ago_s=600 - number) for number in range(said)]
    made = await bot.connect()
    await bot.until(HistoryRead)
    assert [message.external_id for message in bot.accepted] == [f"om_{number}" for number in range(said)][-100:]
    assert len(bot.gate.histories_asked) == 2
    assert made.detail()["historiesLeftOut"] == left_out


async def test_what_can_not_be_stored_holds_back_what_was_said_after_it_in_the_same_chat(bot):
    await heard_of(bot, ("oc_1", "p2p"), ("oc_2", "p2p"))
    bot.gate.histories = {
        "oc_1": [item("om_first", ago_s=90), item("om_second", ago_s=80)],
        "oc_2": [item("om_elsewhere", ago_s=70)],
    }
    bot.unstorable = {"om_first"}
    await bot.connect()
    await bot.until(HistoryRead, 2)
    assert [message.external_id for message in bot.accepted] == ["om_elsewhere", "om_first", "om_second"]


MENTIONED = [{"key": "@_user_1", "id": "ou_bot", "id_type": "open_id", "name": "Mainstay"}]


def in_group(message_id: str, ago_s: float, **more: object) -> dict[str, object]:
    text = {"content": '{"text":"@_user_1 well?"}'}
    return item(message_id, ago_s=ago_s, body=text, mentions=MENTIONED, chat_id="oc_g") | more


async def test_a_message_that_nobody_can_take_ends_neither_the_others_nor_the_connection(bot):
    await heard_of(bot, ("oc_1", "p2p"))
    bot.gate.history = [item("om_odd", ago_s=90), item("om_missed", ago_s=80)]
    bot.odd = "om_odd"
    made = await bot.connect()
    await bot.until(HistoryRead)
    assert [message.external_id for message in bot.accepted] == ["om_missed"]
    assert [each.message for each in bot.seen(ErrorSeen)] == ["ZeroDivisionError"]
    assert made.status() == ("ok", "")


async def test_threads_that_nobody_knew_are_read_where_the_history_of_their_group_shows_them(bot):
    await heard_of(bot, ("oc_g", "group"))
    ours = {"id": bot.settings.app_id, "id_type": "app_id", "sender_type": "app"}
    roots = [in_group("om_answered", 400, thread_id="omt_1"), in_group("om_root", 300, thread_id="omt_2")]
    there = {"root_id": "om_root", "parent_id": "om_root", "thread_id": "omt_2"}
    bot.gate.histories = {
        "oc_g": [*roots, in_group("om_last", 100)],
        "omt_1": [roots[0], item("om_answer", ago_s=390, parent_id="om_answered", sender=ours)],
        "omt_2": [roots[1], in_group("om_further", 200, **there)],
    }
    await bot.connect()
    await bot.until(HistoryRead)
    assert [(message.external_id, message.thread_id) for message in bot.accepted] == [
        ("om_root", "om_root"),
        ("om_further", "om_root"),
        ("om_last", "om_last"),
    ], "in the order of saying, and none that another process has answered"
    assert [each["container_id"] for each in bot.gate.histories_asked] == ["oc_g", "omt_2", "omt_1"]


async def test_what_one_of_several_did_not_bring_is_fetched_when_it_is_replaced(bot):
    await heard_of(bot, ("oc_1", "p2p"))
    bot.clock = ManualClock(datetime.now(UTC))
    await bot.connect(connections=2, backfill_after=5.0, clock_skew=0.0)
    await bot.until(ConnectionOpened, 2)
    await bot.gate.until(lambda: len(bot.gate.histories_asked) == 1)
    bot.gate.history = [item("om_missed", create_time=ms(-1, bot.clock.now()))]
    pings = bot.gate.pings
    bot.clock.advance(100)
    await bot.gate.until(lambda: bot.gate.pings >= pings + 2)
    for number in range(30):
        await bot.gate.open[0].send(frame(f"f{number}", event(f"om_{number}")))
        await bot.gate.acknowledged(f"f{number}")
    await bot.until(HistoryRead)
    assert "om_missed" in {message.external_id for message in bot.accepted}


async def test_what_the_platform_has_closed_with_a_goodbye_was_good_until_then(bot):
    await heard_of(bot, ("oc_1", "p2p"))
    bot.clock = ManualClock(datetime.now(UTC))
    made = await bot.connect(ping_interval=60.0, backfill_after=5.0)
    await bot.gate.until(lambda: made.detail()["lastPong"] is not None)
    await bot.gate.until(lambda: len(bot.gate.histories_asked) == 1)
    bot.clock.advance(50)
    await (await bot.gate.connected()).close(1001)
    await bot.until(ConnectionOpened, 2)
    assert bot.seen(ConnectionOpened)[1].gap_s == 0.0
    await bot.stop()
    assert len(bot.gate.histories_asked) == 1, "there was nothing to be missed"


async def test_messages_said_while_the_bot_was_away_are_answered_once_though_the_platform_repeats_them(world):
    await world.platform.subscribe_by_connection()
    first = await world.process(mode="subscription")
    await first.until(ConnectionOpened)
    group = {"chat_type": "group", "sender": "ou_anna"}
    known = [await world.ask("in private", sender="ou_ben"), await world.ask("@bot in a group", **group)]
    chats = first.channel.connections
    assert chats is not None
    await chats._chats.write()
    await first.kill()
    missed = [
        await world.platform.say("anybody?", sender="ou_ben"),
        await world.platform.say("and in the group?", **group),
        await world.platform.say("not for the bot", mention=False, **group),
    ]
    second = await world.process(mode="subscription")
    await second.until(HistoryRead)
    await world.platform.advance(15)

    async def repeated() -> bool:
        again = {message.external_id for message in world.accepted}
        counted = [message.external_id for message in world.accepted]
        return all(counted.count(each.message_id) >= 2 for each in missed[:2]) and missed[2].message_id not in again

    await world.eventually(repeated)
    assert {message.turn_id for message in world.accepted} == {
        *(message.turn_id for message in known),
        *(turn(world.accepted, each.message_id) for each in missed[:2]),
    }


def turn(accepted: list[Message], message_id: str) -> str:
    [turn_id] = {message.turn_id for message in accepted if message.external_id == message_id}
    return turn_id
