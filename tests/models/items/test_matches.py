"""Match tables of a log: counted by hand, and held to the baselines that count as things happen."""

from itertools import chain as chain_of

import numpy as np
import pytest

from rankstream.evaluation.baselines.base import ItemRows, UserItems
from rankstream.evaluation.baselines.held_out_log import _arrivals_of as arrivals_of
from rankstream.evaluation.baselines.item_knn import ItemKNN
from rankstream.evaluation.baselines.next_item import NextItem
from rankstream.evaluation.baselines.session_index import SessionIndex
from rankstream.evaluation.baselines.steps import Counted, Steps
from rankstream.evaluation.baselines.vmis_knn import VMISKNN
from rankstream.features.ids import id_key, id_keys
from rankstream.features.matches.lists import followers, item_knn, vmis_knn
from rankstream.features.matches.tables import open_matches, write_matches
from rankstream.models.items.matches import MAX_SESSION_ITEMS, _heaviest, match_tables
from tests.builders.models import a_log

ROWS = [
    ("u", "a", "view", 0), ("u", "b", "view", 1), ("u", "a", "view", 2), ("u", "c", "view", 3),
    ("u", "d", "view", 60), ("v", "b", "view", 90), ("v", "c", "hide", 91), ("v", "d", "view", 92),
]  # fmt: skip


def of(tables, item, what):
    """A list of an item by the names of its entries."""
    names = dict(zip(id_keys(list("abcd")).tolist(), "abcd", strict=True))
    row = tables.rows(id_keys([item]))[0][0]
    keys = tables.keys[what.of(row)].tolist()
    return dict(zip([names[key] for key in keys], what.weights_of(row).tolist(), strict=True))


def test_followers_are_counted_within_a_session_and_one_users_next_item_is_not_anothers():
    tables = match_tables(a_log(ROWS), ["view"])
    assert of(tables, "a", tables.followers) == {"b": 1, "c": 1}
    assert of(tables, "b", tables.followers) == {"a": 1, "d": 1}  # the hide between is not counted
    assert of(tables, "c", tables.followers) == {}
    assert tables.totals[tables.rows(id_keys(["a"]))[0][0]] == 2


def test_neighbours_are_cosines_of_sessions_regularised():
    tables = match_tables(a_log(ROWS), ["view"])  # sessions: a b c, d, b d
    assert of(tables, "b", tables.neighbours) == pytest.approx(
        {"a": 1 / (22 * 21) ** 0.5, "c": 1 / (22 * 21) ** 0.5, "d": 1 / (22 * 22) ** 0.5}
    )


def test_sessions_are_numbered_as_they_began():
    tables = match_tables(a_log([("v", "z", "view", 50), *ROWS]), ["view"])
    row = tables.rows(id_keys(["d"]))[0][0]
    assert tables.sessions.of(row).tolist() == [2, 3]
    members = [set(tables.keys[tables.members.of(number)].tolist()) for number in range(len(tables.members))]
    assert members == [set(id_keys(part).tolist()) for part in (["a", "b", "c"], ["z"], ["d"], ["b", "d"])]


def test_a_long_session_goes_on_as_a_new_one():
    log = a_log([("u", f"i{n}", "view", n) for n in range(MAX_SESSION_ITEMS + 5)])
    tables = match_tables(log, ["view"])
    assert np.diff(tables.members.starts).tolist() == [MAX_SESSION_ITEMS, 5]


def test_a_log_without_a_counted_action_has_its_items_and_nothing_else():
    tables = match_tables(a_log([("u", "a", "hide", 0), ("u", "b", "hide", 1)]), ["view"])
    assert (len(tables), len(tables.members), len(tables.followers.rows)) == (2, 0, 0)


def test_of_many_neighbours_the_heaviest_are_kept_and_of_equal_ones_those_that_come_first():
    rng = np.random.default_rng(0)
    left = np.sort(rng.integers(0, 9, 2_000))
    right, weights = np.arange(2_000), rng.integers(0, 12, 2_000) / 8  # many are equal
    by_order = np.lexsort((right, -weights, left))
    within = np.arange(2_000) - np.searchsorted(left, left[by_order])
    kept = np.sort(by_order[within < 150])
    found = _heaviest(left, right, weights, 10, 150)
    assert found.rows.tolist() == right[kept].tolist()
    assert found.weights.tolist() == weights[kept].astype(np.float32).tolist()
    assert np.diff(found.starts).tolist() == np.bincount(left[kept], minlength=10).tolist()


def test_tables_are_mapped_as_they_were_written(tmp_path):
    tables = match_tables(a_log(ROWS), ["view"])
    write_matches(tmp_path, tables)
    opened = open_matches(tmp_path)
    assert opened.keys.tolist() == tables.keys.tolist()
    assert of(opened, "b", opened.neighbours) == of(tables, "b", tables.neighbours)
    assert opened.sessions.rows.tolist() == tables.sessions.rows.tolist()
    assert opened.rarities.tolist() == tables.rarities.tolist()


def test_the_three_rules_are_those_of_the_baselines():
    rng = np.random.default_rng(3)
    rows = [(f"u{user}", f"i{item}", "view", 7 * step + user)
            for user in range(40) for step, item in enumerate(rng.integers(0, 25, 12).tolist())
            if step % 6]  # fmt: skip
    log = a_log(sorted(rows, key=lambda row: row[3]))
    tables = match_tables(log, ["view"])
    items, index, chain = ItemRows(), SessionIndex(), NextItem()
    steps = Steps(Counted(2, 2), items)
    for step in chain_of(steps.arrive(arrivals_of(log)), steps.before(1 << 50)):
        index.learn(step)
        chain.learn(step)
    asked = ["i3", "i17", "i8"]  # newest first
    user = UserItems([items.row(id_key(one)) for one in asked], 3, True, None)
    mine = tables.rows(id_keys(asked))[0]
    every = np.array([items.row(int(key)) for key in tables.keys])
    outside = ~np.isin(every, user.history)
    found = {
        "next": (followers(tables, int(mine[0])), chain.scores(user, 0), np.ones(len(every), np.bool_)),
        "vmis": (vmis_knn(tables, mine), VMISKNN(index).scores(user, 0), np.ones(len(every), np.bool_)),
        "knn": (item_knn(tables, mine), ItemKNN(index).scores(user, 0), outside),
    }
    for name, (scored, baseline, where) in found.items():
        theirs = baseline.of(every)[where]
        assert theirs.max() > 0, name
        np.testing.assert_allclose(scored.of(np.arange(len(tables)))[where], theirs, rtol=1e-5, err_msg=name)
