"""Match features without loops, and the plain twin that says what is meant: the same bits."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.features.matches import lists
from rankstream.features.matches.columns import UserMatches, _own_columns
from rankstream.features.matches.lists import item_knn, summed, summed_by_sorting, vmis_knn
from rankstream.features.matches.plain import plain_item_knn, plain_own_columns, plain_vmis_knn
from rankstream.features.matches.tables import MatchTables
from rankstream.features.user_view import view_user
from rankstream.models.items.matches import match_tables
from tests.builders.actions import MORNING_MS, VOCABULARY, SomeVectors, a_state, an_action
from tests.builders.models import a_log

ITEMS = 60
asked = st.lists(st.integers(-1, ITEMS - 1), max_size=20)
kinds, gaps = st.sampled_from(VOCABULARY.actions), st.sampled_from([1, 60, 1800, 1801, 90_000])
done = st.lists(st.tuples(st.integers(0, 12), kinds, gaps), max_size=90)


def some_tables() -> MatchTables:
    """Tables of 600 sessions, so that more share an item than are sampled."""
    rng = np.random.default_rng(0)
    rows = [(f"u{user}", int(item), "view", 7 * step + user)
            for user in range(600) for step, item in enumerate(rng.zipf(1.3, 8) % ITEMS)]  # fmt: skip
    return match_tables(a_log(sorted(rows, key=lambda row: row[3])), ["view"])


TABLES = some_tables()


@settings(max_examples=100)
@given(asked)
def test_neighbours_and_sessions_are_those_of_a_loop_over_items(rows):
    for fast, plain in ((item_knn, plain_item_knn), (vmis_knn, plain_vmis_knn)):
        found, wanted = fast(TABLES, np.array(rows, np.int64)), plain(TABLES, rows)
        assert found.rows.tolist() == wanted.rows.tolist()
        assert found.scores.tobytes() == wanted.scores.tobytes()


@settings(max_examples=60)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=200), st.integers(0, 2**32 - 1))
def test_sums_in_an_array_of_all_rows_are_those_of_sorting(rows, seed):
    weights = np.random.default_rng(seed).standard_normal(len(rows)).astype(np.float32)
    flat = np.array(rows, np.int32)
    dense, sorted_ = summed(flat, weights, 41), summed_by_sorting(flat, weights)
    assert lists.DENSE * len(rows) >= 41  # else nothing is compared
    assert dense.rows.tobytes() == sorted_.rows.tobytes()
    assert dense.scores.tobytes() == sorted_.scores.tobytes()


@settings(max_examples=60)
@given(done)
def test_what_the_user_did_to_a_candidate_is_that_of_a_loop_over_candidates(actions):
    times = np.cumsum([seconds for _, _, seconds in actions]).tolist()
    state = a_state(*(an_action(item, at, kind) for (item, kind, _), at in zip(actions, times, strict=True)))
    now_ms = MORNING_MS + 1000 * (times[-1] + 5 if times else 5)
    user = UserMatches(view_user(state, 1, now_ms, SomeVectors(4)), TABLES)
    candidates = np.arange(16, dtype=np.uint64)
    wanted = plain_own_columns(user, candidates, 3)  # and not the fourth type
    assert _own_columns(user, candidates, 3).tobytes() == wanted.tobytes()
