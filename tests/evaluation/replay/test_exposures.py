"""Groups of one user and one time: the same whatever the order of rows, and wherever a batch ends."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.evaluation.replay.exposures import exposures, groups_of, whole_groups
from tests.builders.bundle import VOCABULARY
from tests.builders.replay import ALog

START = 10**12


def arrivals(rows, batch=1000):
    return list(whole_groups(ALog(rows, batch).batches(VOCABULARY)))


def found(rows, batch=1000):
    return [
        (one.user_id, one.at_ms, one.item_id, one.actions) for part in arrivals(rows, batch) for one in exposures(part)
    ]


def test_a_group_is_what_one_user_did_at_one_time_also_where_others_come_between():
    rows = [("u", 1, "view", START), ("v", 2, "view", START), ("u", 3, "view", START), ("u", 1, "save", START + 1)]
    (part,) = arrivals(rows)
    groups = [(group.key, group.at_ms, len(group.rows)) for group in groups_of(part)]
    assert groups == [(b"u", START, 2), (b"v", START, 1), (b"u", START + 1, 1)]


@pytest.mark.parametrize("rows", [(0, 1, 2), (2, 1, 0)])
def test_what_one_user_did_at_one_time_has_one_surface_whatever_the_order(rows):
    log = [("u", 1, "view", START), ("u", 2, "view", START), ("v", 3, "view", START)]
    disturbed = ALog([log[row] for row in rows], surfaces=[(1, 2, 0)[row] for row in rows])
    (part,) = whole_groups(disturbed.batches(VOCABULARY))
    surfaces = {(one.user_id, one.item_id): one.surface for one in exposures(part)}
    assert surfaces == {("u", 1): 2, ("u", 2): 2, ("v", 3): 0}


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5])
def test_the_end_of_a_batch_cuts_no_group(batch):
    rows = [("u", item, "view", START + item // 4) for item in range(20)]
    assert found(rows, batch) == found(rows)
    assert all(len(group.rows) == 4 for part in arrivals(rows, batch) for group in groups_of(part))


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["u", "v", "w"]), st.integers(1, 5), st.sampled_from(VOCABULARY.actions), st.integers(0, 8)
    ),
    max_size=25,
)


@settings(max_examples=60)
@given(ROWS, st.randoms(use_true_random=False), st.integers(1, 30))
def test_rows_of_one_time_give_the_same_log_in_any_order_and_any_batches(rows, rng, batch):
    rows = [(user, item, action, START + 20_000 * at) for user, item, action, at in rows]
    sorted_rows = sorted(rows, key=lambda row: row[3])
    rng.shuffle(rows)
    shuffled = sorted(rows, key=lambda row: row[3])
    packed = [[one for part in arrivals(each, size) for one in part.packed]
              for each, size in ((sorted_rows, 1000), (shuffled, batch))]  # fmt: skip
    assert packed[0] == packed[1]
    assert found(sorted_rows) == found(shuffled, batch)


def test_users_whose_clocks_differ_keep_their_groups():
    rows = [
        ("u", 1, "view", START),
        ("v", 2, "view", START + 50),
        ("u", 3, "save", START),
        ("v", 4, "view", START + 50),
    ]
    swapped = [rows[2], rows[3], rows[0], rows[1]]
    for batch in (1, 3, 10):
        assert sorted(found(rows, batch)) == sorted(found(swapped, batch))
        (u, v) = [group for part in arrivals(rows, batch) for group in groups_of(part)]
        assert (len(u.rows), len(v.rows)) == (2, 2)


def test_offsets_and_arrivals_stay_in_order():
    rows = [(f"u{row % 3}", row % 5, "view", START + row // 6) for row in range(60)]
    offsets = np.concatenate([part.offsets for part in arrivals(rows, 7)])
    assert offsets.tolist() == list(range(60))
