"""Is a payload the same however its parts come, and is what is kept of parts bounded?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.channels.feishu.connection.fragments import BadPart, Fragments

LIMIT = 1000


@given(st.binary(max_size=400), st.integers(2, 9), st.randoms(use_true_random=False))
def test_a_payload_is_whole_with_its_last_part_in_whatever_order_and_however_often_they_come(payload, total, rng):
    size = -(-len(payload) // total) or 1
    parts = [(number, payload[number * size : (number + 1) * size]) for number in range(total)]
    rng.shuffle(parts)
    last = parts.pop()
    fragments = Fragments(LIMIT)
    for number, part in parts + rng.sample(parts, len(parts) // 2):
        assert fragments.add("m", total, number, part, 0.0) is None
    assert fragments.add("m", total, last[0], last[1], 0.0) == payload
    assert fragments.held_bytes == 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from([f"m{number}" for number in range(50)]),
        st.integers(-2, 2000),
        st.integers(-2, 2000),
        st.integers(0, 400),
        st.floats(0, 4),
    ),
    max_size=200,
)


@given(STEPS)
def test_whatever_comes_no_more_is_kept_than_four_payloads_and_no_longer_than_it_may(steps):
    fragments, now_s = Fragments(LIMIT), 0.0
    for message_id, total, number, size, passed_s in steps:
        now_s += passed_s
        try:
            whole = fragments.add(message_id, total, number, b"x" * size, now_s)
        except BadPart:
            whole = None
        assert whole is None or total == 1 or len(whole) <= LIMIT
        kept = fragments._incomplete.values()
        assert fragments.held_bytes == sum(len(part) for each in kept for part in each.parts.values()) <= 4 * LIMIT
        assert len(fragments._incomplete) <= 32
        assert all(now_s - each.begun_s <= 10.0 for each in kept) or total == 1


def test_a_part_that_never_comes_is_counted_and_its_room_is_free_again():
    fragments = Fragments(LIMIT)
    fragments.add("m1", 2, 0, b"x" * 900, 0.0)
    assert fragments.add("m2", 2, 0, b"y", 10.5) is None
    assert (fragments.given_up, fragments.held_bytes) == (1, 1)
    assert fragments.add("m1", 2, 1, b"z", 11.0) is None, "the first part is forgotten"


def test_a_payload_that_grows_too_large_is_refused_as_soon_as_it_is():
    fragments = Fragments(LIMIT)
    fragments.add("m", 3, 0, b"x" * 600, 0.0)
    with pytest.raises(BadPart, match="too large"):
        fragments.add("m", 3, 1, b"x" * 600, 0.0)
    assert fragments.held_bytes == 0


def test_parts_that_disagree_about_their_number_are_refused():
    fragments = Fragments(LIMIT)
    fragments.add("m", 3, 0, b"x", 0.0)
    with pytest.raises(BadPart, match="disagree"):
        fragments.add("m", 4, 1, b"x", 0.0)
