import numpy as np
import pytest

from rankstream.features.ids import id_key
from rankstream.features.join import pool
from rankstream.features.sessions import (
    MAX_SESSION_ITEMS,
    NOTHING_LEFT,
    SessionTail,
    session_keys,
    sessions_now,
    unpack_tail,
)
from tests.builders.actions import MORNING_MS, SomeVectors, a_state, an_action

HALF_HOUR = 1800


def test_a_gap_of_half_an_hour_ends_a_session():
    actions = a_state(an_action("a", 0), an_action("b", HALF_HOUR), an_action("c", 2 * HALF_HOUR + 1)).history.columns()
    now = sessions_now(NOTHING_LEFT, actions, MORNING_MS + 1000 * (2 * HALF_HOUR + 2))
    assert [part.tolist() for part in now.closed] == [[id_key("a"), id_key("b")]]
    assert now.opened.tolist() == [id_key("c")]


def test_half_an_hour_of_silence_closes_the_last_session_without_an_action():
    actions = a_state(an_action("a", 0)).history.columns()
    now = sessions_now(NOTHING_LEFT, actions, MORNING_MS + 1000 * (HALF_HOUR + 1))
    assert len(now.closed) == 1
    assert len(now.opened) == 0


def test_a_departing_session_goes_on_in_the_history():
    state = a_state(*(an_action(item, at) for at, item in enumerate("abcd")), limit=2)
    assert session_keys(state.tail.items).tolist() == [id_key("a"), id_key("b")]
    now = sessions_now(state.tail, state.history.columns(), MORNING_MS + 5000)
    assert now.closed == ()
    assert now.opened.tolist() == [id_key(item) for item in "abcd"]


def test_a_session_that_left_is_handed_out_once_to_be_folded():
    actions = [an_action("a", 0), an_action("b", 1), an_action("c", 9000), an_action("d", 9001)]
    _, ended = NOTHING_LEFT.absorb(actions)
    assert [session_keys(items).tolist() for items in ended] == [[id_key("a"), id_key("b")]]


def test_only_the_newest_items_of_a_long_session_count():
    tail, _ = NOTHING_LEFT.absorb([an_action(n, n) for n in range(30)])
    assert session_keys(tail.items).tolist() == list(range(30 - MAX_SESSION_ITEMS, 30))


def test_a_tail_survives_its_bytes():
    tail = SessionTail(b"12345678", 5, 9, np.ones(4, np.float16).tobytes())
    assert unpack_tail(tail.pack()) == tail
    with pytest.raises(ValueError, match="by its header"):
        unpack_tail(tail.pack() + b"!")


def test_a_state_of_another_model_counts_as_none():
    tail = NOTHING_LEFT.folded(tag=1, state=np.ones(4, np.float32))
    assert tail.recurrent(1, 4).tolist() == [1, 1, 1, 1]
    assert tail.recurrent(2, 4).tolist() == [0, 0, 0, 0]


def test_pooling_returns_the_mean_of_each_session_to_the_same_bits_alone_or_among_others():
    table, rng = SomeVectors(4), np.random.default_rng(0)
    sessions = [rng.integers(0, 99, rng.integers(1, 20)).astype(np.uint64) for _ in range(50)]
    together = pool(sessions, table)
    alone = np.concatenate([pool([session], table) for session in sessions])
    assert together.tobytes() == alone.tobytes()
    assert np.allclose(together[0], table.look_up(sessions[0])[0].mean(axis=0), atol=1e-6)
