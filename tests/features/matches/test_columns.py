"""Match features, by hand and by the law that a candidate's columns are its own."""

from math import log1p

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.events.log import EventLog
from rankstream.features.actions import ActionColumns
from rankstream.features.ids import id_keys
from rankstream.features.matches.columns import MATCH_NAMES, UserMatches, match_columns, match_width
from rankstream.features.matches.tables import MatchTables, no_matches
from rankstream.features.sessions import NOTHING_LEFT
from rankstream.features.user_view import UserView
from rankstream.models.items.matches import match_tables
from tests.builders.models import a_log

NOW_MS = 1_700_000_000_000
MINUTE_MS = 60_000
TYPES = 4


def a_user(*actions: tuple[str, int, float]) -> UserView:
    """A user by (item, action type, minutes ago), newest first."""
    items, types, minutes = zip(*actions, strict=True) if actions else ((), (), ())
    times = NOW_MS - np.array(minutes, np.float64) * MINUTE_MS
    columns = ActionColumns(
        id_keys(list(items)), np.array(types, np.int64), times.astype(np.int64), np.zeros(len(items), np.int64),
        np.zeros(len(items), np.float32),
    )  # fmt: skip
    return UserView(1, NOW_MS, columns, NOTHING_LEFT, np.zeros(0, np.float32), False)


def columns_of(user: UserView, candidates: list[str], tables: MatchTables | None = None) -> dict[str, list[float]]:
    """The columns by name; item vectors are all the same."""
    count, recent = len(candidates), len(user.actions)
    found = match_columns(
        UserMatches(user, tables or no_matches()), id_keys(candidates), np.ones((count, 2), np.float32),
        np.ones((recent, 2), np.float32), np.ones(2, np.float32), match_width(TYPES),
    )  # fmt: skip
    names = (*MATCH_NAMES, *(f"type_{code}" for code in range(1, TYPES + 1)))
    assert found.dtype == np.float32
    return {name: found[:, at].tolist() for at, name in enumerate(names)}


def sessions_log() -> EventLog:
    """Three users went a b, a b c and d a."""
    return a_log([
        ("u", "a", "view", 0), ("u", "b", "view", 1), ("v", "a", "view", 0), ("v", "b", "view", 1),
        ("v", "c", "view", 2), ("w", "d", "view", 100), ("w", "a", "view", 101),
    ])  # fmt: skip


def test_what_the_user_did_to_the_very_candidate_is_counted():
    user = a_user(("a", 2, 1), ("b", 1, 2), ("a", 1, 3), ("c", 1, 60 * 3))
    found = columns_of(user, ["a", "b", "c", "x"])
    assert found["in_session"] == pytest.approx([log1p(2), log1p(1), 0, 0])
    assert found["session_place"] == [1, 0.5, 0, 0]
    assert found["in_history"] == pytest.approx([log1p(2), log1p(1), log1p(1), 0])
    assert found["history_place"] == pytest.approx([1, 1 / 2, 1 / 3, 0])
    assert found["freshness"][2] == pytest.approx(1 / (1 + log1p(3)))
    assert found["is_last"] == [1, 0, 0, 0]
    assert found["own_step"] == pytest.approx([0, log1p(1), 0, 0])  # the user went from a to b
    assert found["type_1"] == pytest.approx([log1p(1), log1p(1), log1p(1), 0])
    assert found["type_2"] == pytest.approx([log1p(1), 0, 0, 0])


def test_what_followed_the_newest_items_is_a_count_and_a_share():
    tables = match_tables(sessions_log(), ["view"])
    found = columns_of(a_user(("a", 1, 1), ("d", 1, 2)), ["b", "a", "c"], tables)
    assert found["next_count"] == pytest.approx([log1p(2), 0, 0])
    assert found["next_share"] == pytest.approx([1, 0, 0])
    assert found["next_2nd_share"] == pytest.approx([0, 1, 0])  # a followed d, always
    assert found["next_3rd_share"] == [0, 0, 0]


def test_neighbours_of_older_items_are_a_column_of_their_own():
    tables = match_tables(sessions_log(), ["view"])
    found = columns_of(a_user(("d", 1, 1), ("b", 1, 100)), ["c"], tables)
    assert found["knn"] == [0]
    assert found["older_knn"] == pytest.approx([1 / (22 * 21) ** 0.5])  # b in 2 sessions, c in 1, one shared; each + 20


def test_a_user_without_actions_matches_nothing():
    tables = match_tables(sessions_log(), ["view"])
    found = columns_of(a_user(), ["a", "b"], tables)
    del found["near_session"]
    assert not np.any(list(found.values()))


def test_a_model_without_match_features_has_no_columns():
    matches = UserMatches(a_user(("a", 1, 1)), no_matches())
    empty = np.zeros((1, 2), np.float32)
    assert match_columns(matches, id_keys(["a"]), empty, empty, np.zeros(2, np.float32), 0).shape == (1, 0)


def test_what_is_proposed_is_the_history_and_what_goes_with_it():
    tables = match_tables(sessions_log(), ["view"])
    proposed = UserMatches(a_user(("d", 1, 1), ("unknown", 1, 2)), tables).proposed(5)
    assert sorted(proposed.tolist()) == sorted(id_keys(["a", "b", "c", "d"]).tolist()[:1] + id_keys(["d"]).tolist())


@settings(max_examples=30)
@given(st.lists(st.sampled_from("abcdx"), min_size=1, max_size=9), st.integers(0, 2**32 - 1))
def test_no_column_of_a_candidate_depends_on_the_others(items, seed):
    rng = np.random.default_rng(seed)
    tables = match_tables(sessions_log(), ["view"])
    user = a_user(*((item, 1 + at % TYPES, 1 + 7 * at) for at, item in enumerate(items)))
    candidates = id_keys(["a", "b", "c", "d", "e", "f", "g"])
    vectors = rng.standard_normal((len(candidates), 8)).astype(np.float32)
    recent = rng.standard_normal((len(items), 8)).astype(np.float32)
    session = rng.standard_normal(8).astype(np.float32)
    width = match_width(TYPES)
    together = match_columns(UserMatches(user, tables), candidates, vectors, recent, session, width)
    for at in range(len(candidates)):
        one = slice(at, at + 1)
        alone = match_columns(UserMatches(user, tables), candidates[one], vectors[one], recent, session, width)
        assert alone.tobytes() == together[one].tobytes()
