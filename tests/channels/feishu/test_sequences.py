"""What is written on a card comes in order, whoever writes; a refused update costs no more than that."""

from hypothesis import given
from hypothesis import strategies as st

from mainstay.channels.feishu.machine import Action, Refusal, Retry, failed_request
from mainstay.channels.feishu.streaming import (
    Mute,
    Renew,
    Reopen,
    Resync,
    final_sequence,
    stream_sequence,
    while_streaming,
)
from mainstay.errors import Category


def stream(why, *, refused=1, reopened=0, resynced=0, generation=0):
    return while_streaming(
        why if isinstance(why, Refusal) else Refusal(action=why, category=Category.SERVER_ERROR, reason="why"),
        refused=refused,
        reopened=reopened,
        resynced=resynced,
        generation=generation,
        base_s=0.25,
        cap_s=60.0,
    )


def test_a_refused_update_is_waited_for_reopened_or_left_to_the_outcome():
    assert stream(Action.WAIT) == Retry(0.25)
    assert stream(Action.WAIT, refused=4) == Retry(2.0)
    assert stream(Action.REOPEN) == Reopen()
    assert stream(Action.REOPEN, reopened=6) == Mute()
    for action in (Action.DEGRADE, Action.QUOTA, Action.TERMINAL):
        assert stream(action) == Mute()
    assert stream(failed_request(Category.TIMEOUT, "x"), refused=100) == Retry(60.0)


def test_a_card_that_can_not_be_written_any_more_gives_way_to_another_a_few_times():
    assert [stream(Action.REPLACE, generation=number) for number in range(4)] == [Renew()] * 3 + [Mute()]


def test_a_sequence_that_is_behind_jumps_ahead_within_its_own_attempt():
    assert [stream(Action.SUPERSEDED, resynced=number) for number in range(4)][-1] == Mute()
    [*jumps] = [stream(Action.SUPERSEDED, resynced=number) for number in range(3)]
    assert all(isinstance(jump, Resync) for jump in jumps)
    ahead = 1 + sum(jump.ahead for jump in jumps)
    assert 0 < stream_sequence(1, ahead) < final_sequence(1, 1) < stream_sequence(2, 1)


@given(st.integers(1, 30000), st.integers(1, 32767), st.integers(1, 10**6))
def test_sequences_put_later_attempts_and_outcomes_above_what_came_before(attempt, n, tries):
    streamed, final = stream_sequence(attempt, n), final_sequence(attempt, tries)
    assert 0 < streamed < final < stream_sequence(attempt + 1, 1) < 2**31
    assert final_sequence(attempt, 1) <= final
    assert stream_sequence(attempt, n) < (stream_sequence(attempt, n + 1) or final)


def test_an_attempt_that_has_used_its_sequences_up_streams_no_more():
    assert stream_sequence(1, 32767) == 65536 + 32767
    assert stream_sequence(1, 32768) == 0
    assert final_sequence(1, 1) > stream_sequence(1, 32767)
