import numpy as np
import pytest

from rankstream.features.embeddings.base import NoVectors
from rankstream.features.embeddings.table import table_of
from rankstream.features.ids import id_key, id_keys
from rankstream.features.user_state import UNKNOWN_USER
from rankstream.features.user_view import view_user
from tests.builders.actions import MORNING_MS, SomeVectors, a_state, an_action, an_erasure

USERS = SomeVectors(3, missing=frozenset({id_key("lost")}))


def test_a_user_is_seen_as_of_a_time_newest_action_first():
    state = a_state(an_action("a", 1), an_action("b", 2), an_action("later", 50))
    user = view_user(state, id_key("u1"), MORNING_MS + 10_000, USERS)
    assert user.actions.item_keys.tolist() == id_keys(["b", "a"]).tolist()
    assert user.excluded.tolist() == user.actions.item_keys.tolist()
    assert user.tail == state.tail


def test_an_action_at_that_very_time_is_known():
    state = a_state(an_action("a", 1), an_action("b", 2))
    assert len(view_user(state, id_key("u1"), MORNING_MS + 2_000, USERS).actions) == 2
    assert len(view_user(state, id_key("u1"), MORNING_MS + 1_999, USERS).actions) == 1


def test_an_action_that_is_known_before_its_own_time_counts_as_done_just_now():
    """A clock that is ahead: up to ``until_ms`` what is known has happened, and beyond it can't be meant."""
    state = a_state(an_action("a", 1), an_action("b", 90), an_action("c", 100), an_action("never", 500))
    user = view_user(state, id_key("u1"), MORNING_MS + 10_000, USERS, MORNING_MS + 100_000)
    assert user.actions.item_keys.tolist() == id_keys(["c", "b", "a"]).tolist()
    assert (user.actions.times_ms - MORNING_MS).tolist() == [10_000, 10_000, 1_000]


def test_a_vector_that_is_missing_is_zeros_and_a_bit():
    found, lost = (view_user(UNKNOWN_USER, id_key(name), MORNING_MS, USERS) for name in ("u1", "lost"))
    assert np.array_equal(found.vector, USERS.look_up(id_keys(["u1"]))[0][0])
    assert (found.vector_found, lost.vector_found, lost.vector.any()) == (True, False, False)
    assert view_user(UNKNOWN_USER, id_key("u1"), MORNING_MS, NoVectors(5)).vector.shape == (5,)


@pytest.mark.parametrize(("as_of_s", "found"), [(5, False), (6, True)])
def test_an_erased_user_has_no_vector_of_before_the_erasure(as_of_s: int, found: bool):
    table = table_of(["u1"], np.ones((1, 3)), space="users", as_of_ms=MORNING_MS + 1000 * as_of_s)
    user = view_user(a_state(an_erasure(5)), id_key("u1"), MORNING_MS + 9000, table)
    assert (user.vector_found, user.vector.any()) == (found, found)
    assert not view_user(a_state(an_erasure(5)), id_key("u1"), MORNING_MS, USERS).vector_found  # of no known time
