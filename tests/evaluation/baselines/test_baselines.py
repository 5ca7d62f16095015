"""Baselines: held to plain definitions, whatever the batches, and blind to what happens at the time of a query."""

from collections import Counter, defaultdict
from functools import partial
from itertools import pairwise
from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.evaluation.baselines.base import ItemRows, Scores
from rankstream.evaluation.baselines.panel import Baselines
from rankstream.evaluation.baselines.ranks import noise_of, ranks_at
from rankstream.evaluation.baselines.steps import Counted
from rankstream.evaluation.baselines.vmis_knn import VMISKNN, VMISSizes
from rankstream.features.ids import id_bytes
from tests.builders.bundle import VOCABULARY
from tests.builders.replay import ALog

START, MINUTE, DAY = 1_700_000_000_000, 60_000, 86_400_000
CODES = VOCABULARY.action_codes
ALL_ACTS = Counted(positives=1 << CODES["save"], acts=(1 << 63) - 1)
KEYS = np.arange(1, 9, dtype=np.uint64)

rows_in_time = st.lists(
    st.tuples(
        st.sampled_from(["u", "v", "w"]), st.integers(1, 8), st.sampled_from(["view", "save"]), st.integers(0, 9)
    ),
    min_size=1,
    max_size=40,
).map(lambda rows: [(u, i, a, START + 11 * MINUTE * n) for u, i, a, n in sorted(rows, key=lambda row: row[3])])


def fed(rows, batch=1000, counted=ALL_ACTS, further=()):
    baselines = Baselines(counted, further=further)
    for arrivals in ALog(rows, batch).batches(VOCABULARY):
        baselines.feed(arrivals)
    return baselines


def asked(baselines, user, at_ms):
    """Each baseline's scores of the items 1 to 8."""
    found = baselines.ask(id_bytes(user), at_ms, at_ms).scores
    return {name: scores.of(baselines.items.rows_of(KEYS)) for name, scores in found.items()}


def scores_of(rows, name, user="u", at_ms=None):
    at_ms = rows[-1][3] + MINUTE if at_ms is None else at_ms
    values = asked(fed(rows), user, at_ms)[name]
    return {item: value for item, value in enumerate(values.tolist(), start=1) if value}


def visits(*sessions):
    """Users of one session each, a minute from item to item, an hour from user to user."""
    return [
        (f"s{number}", item, "save", START + 60 * MINUTE * number + MINUTE * step)
        for number, items in enumerate(sessions)
        for step, item in enumerate(items)
    ]


@settings(max_examples=50)
@given(rows_in_time, st.integers(1, 7), st.randoms(use_true_random=False))
def test_neither_batches_nor_the_order_of_rows_of_one_time_make_a_difference(rows, batch, random):
    shuffled = sorted(random.sample(rows, len(rows)), key=lambda row: row[3])
    end = rows[-1][3] + MINUTE
    for user in ("u", "v"):
        once, again = asked(fed(rows), user, end), asked(fed(shuffled, batch), user, end)
        for name, values in once.items():
            np.testing.assert_array_equal(values, again[name], err_msg=name)


@settings(max_examples=50)
@given(rows_in_time)
def test_what_happens_at_the_time_of_a_query_or_later_is_not_known(rows):
    at_ms = rows[len(rows) // 2][3]
    before = [row for row in rows if row[3] < at_ms]
    until = [row for row in rows if row[3] <= at_ms]
    for name, values in asked(fed(until), "u", at_ms).items():
        expected = asked(fed(before), "u", at_ms)[name] if before else np.zeros(8)
        np.testing.assert_array_equal(values, expected, err_msg=name)


def plain_sessions(rows):
    """(user, number) -> steps, by definition: one item of a user at one time once; 30 minutes end a session."""
    sessions, last = defaultdict(list), {}
    for user, at_ms, item in sorted({(user, at_ms, item) for user, item, _, at_ms in rows}, key=lambda one: one[1:]):
        when, number = last.get(user, (at_ms, 0))
        number += at_ms - when > 30 * MINUTE
        last[user] = (at_ms, number)
        sessions[user, number].append(item)
    return sessions, last


@settings(max_examples=50)
@given(rows_in_time)
def test_neighbours_are_those_of_the_plain_definitions(rows):
    sessions, last = plain_sessions(rows)
    mine = ("u", last["u"][1]) if "u" in last else None
    recent = list(dict.fromkeys(reversed(sessions[mine]))) if mine else []
    holds = Counter(item for items in sessions.values() for item in set(items))
    followers, cosines = Counter(), Counter()
    for items in sessions.values():
        followers.update(b for a, b in pairwise(items) if recent and a == recent[0] != b)
    for back, item in enumerate(recent, start=1):
        for session, items in sessions.items():
            for other in set(items) - {item} if item in items and session != mine else ():
                cosines[other] += 1 / back / sqrt((holds[item] + 20) * (holds[other] + 20))
    end = rows[-1][3] + MINUTE
    if mine and end - last["u"][0] <= 30 * MINUTE:
        cosines.update(dict.fromkeys(recent, 0))
        cosines = {item: -1.0 if item in recent else value for item, value in cosines.items()}
    assert scores_of(rows, "next after the last item") == dict(followers)
    assert scores_of(rows, "item-kNN") == pytest.approx(dict(cosines))


@settings(max_examples=50)
@given(rows_in_time)
def test_similar_sessions_are_those_of_the_plain_definition(rows):
    sessions, last = plain_sessions(rows)
    mine = ("u", last["u"][1]) if "u" in last else None
    recent = list(dict.fromkeys(reversed(sessions[mine]))) if mine else []
    holds = Counter(item for items in sessions.values() for item in set(items))
    expected = Counter()
    for session, items in sessions.items():
        backs = [back for back, item in enumerate(recent) if item in items]
        if session != mine and backs:
            similarity = sum((len(recent) - back) / len(recent) for back in backs)
            for item in set(items):
                idf = log((len(sessions) + 1) / holds[item])
                expected[item] += similarity * (1 - backs[0] / 10) * idf
    assert scores_of(rows, "VMIS-kNN") == pytest.approx(dict(expected))


def test_fewer_sessions_neighbours_and_items_may_count():
    rows = [*visits((1, 5), (2, 6), (2, 7), (2, 7)), ("u", 1, "save", START + 500 * MINUTE)]
    rows.append(("u", 2, "save", START + 501 * MINUTE))

    def found(**sizes):
        baselines = fed(rows, further=[partial(VMISKNN, sizes=VMISSizes(**sizes), name="other")])
        values = asked(baselines, "u", START + 502 * MINUTE)["other"]
        return [item for item, value in enumerate(values.tolist(), start=1) if value]

    assert found() == [1, 2, 5, 6, 7]
    assert found(items=1) == [2, 6, 7]
    assert found(sampled=2) == found(neighbours=2) == [2, 7]


def test_the_own_history_is_newest_first_and_the_last_item_comes_last():
    rows = [("u", item, "view", START + MINUTE * n) for n, item in enumerate([5, 3, 5, 7])]
    assert scores_of(rows, "own history") == {5: 3.0, 3: 2.0, 7: 1.0}


def test_popularity_counts_the_positives_until_the_last_full_hour_and_recent_popularity_forgets():
    old = [("v", 1, "save", START + n) for n in range(3)]
    new = [("v", 2, "save", START + 14 * DAY + n) for n in range(2)]
    rows = [*old, *new, ("v", 3, "view", START + 14 * DAY + 2), ("v", 4, "save", START + 14 * DAY + 120 * MINUTE)]
    assert scores_of(rows, "popularity") == {1: 3.0, 2: 2.0}
    recent = scores_of(rows, "recent popularity")
    assert recent[1] / recent[2] == pytest.approx(3 / 2 / 4)


def test_after_centuries_recent_popularity_still_counts():
    rows = [("v", 1 + year % 2, "save", START + 365 * DAY * year) for year in range(50)]
    recent = scores_of(rows, "recent popularity", at_ms=START + 365 * DAY * 50)
    assert recent[2] > recent[1] > 0


def test_a_session_that_is_over_still_leads_to_its_neighbours_and_may_be_taken_up_again():
    rows = [*visits((1, 2), (1, 3)), ("u", 1, "save", START + 200 * MINUTE)]
    open_now = scores_of(rows, "item-kNN", at_ms=START + 201 * MINUTE)
    over = scores_of(rows, "item-kNN", at_ms=START + 900 * MINUTE)
    assert open_now[1] == -1.0
    assert set(over) == {2, 3}


def test_a_very_long_session_keeps_its_newest_items_in_sight():
    rows = [("u", item, "view", START + item) for item in range(1, 351)]
    user = fed(rows).ask(id_bytes("u"), START + MINUTE, START + MINUTE)
    baselines = fed(rows)
    baselines.ask(id_bytes("u"), START + MINUTE, START + MINUTE)
    known = baselines.steps.user(id_bytes("u"), START + MINUTE)
    assert len(known.history) == known.in_session == 100
    assert len(known.recent) == 10
    assert set(user.scores) == set(baselines.about()) - {"random order"}


def test_what_was_only_shown_is_no_act():
    rows = [("u", 1, "view", START), ("u", 2, "save", START + 1), ("u", 3, "view", START + 2)]
    only_positives = Counted(ALL_ACTS.positives, ALL_ACTS.positives)
    values = asked(fed(rows, counted=only_positives), "u", START + MINUTE)
    assert np.flatnonzero(values["own history"]).tolist() == [1]


def test_an_own_history_is_no_baseline_where_nobody_repeats():
    assert fed(visits((1, 2, 3), (4, 5, 6))).left_out() == ["own history"]
    assert fed(visits((1, 2, 1, 2, 3), (4, 5, 4, 6))).left_out() == []


# Ranks ----------------------------------------------------------------------------------------------------------------


def test_equal_scores_rank_by_the_next_scores_and_then_at_random():
    keys = np.arange(100, 104, dtype=np.uint64)
    first, second = np.array([1.0, 2.0, 1.0, 1.0]), np.array([0.0, 0.0, 5.0, 0.0])
    ranks = ranks_at(np.arange(4), noise_of(keys, "query"), first, second).tolist()
    assert (ranks[1], ranks[2]) == (1, 2)
    assert {ranks[0], ranks[3]} == {3, 4}


@given(st.permutations(range(20)))
def test_ties_do_not_depend_on_the_order_of_candidates(order):
    keys = np.arange(1, 21, dtype=np.uint64)
    scores = np.repeat([0.0, 1.0], 10)
    ranks = ranks_at(np.arange(20), noise_of(keys, 7, "u"), scores)
    shuffled = ranks_at(np.arange(20), noise_of(keys[order], 7, "u"), scores[order])
    np.testing.assert_array_equal(ranks[order], shuffled)


def test_ties_are_random_from_query_to_query():
    keys = np.arange(1, 11, dtype=np.uint64)
    ranks = [ranks_at(np.array([3]), noise_of(keys, number), np.zeros(10))[3] for number in range(4000)]
    assert np.mean(ranks) == pytest.approx(5.5, abs=0.2)
    assert np.bincount(ranks, minlength=11)[1:].min() > 300


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_ranks_are_counted_as_they_would_be_sorted(seed, few):
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 3, (2, 1300)).astype(float)
    noise = noise_of(np.arange(1300, dtype=np.uint64), seed)
    rows = rng.choice(1300, few, replace=False)
    counted, ordered = ranks_at(rows, noise, first, second), ranks_at(np.arange(1300), noise, first, second)
    assert sorted(ordered) == [*range(1, 1301)]
    np.testing.assert_array_equal(counted[rows], ordered[rows])
    assert np.count_nonzero(counted) == few


def test_many_items_are_looked_up_as_few_are():
    rng, items = np.random.default_rng(0), ItemRows()
    keys = np.unique(rng.integers(0, 2**64, 5000, dtype=np.uint64))
    for at in range(0, len(keys), 97):
        for key in rng.permutation(keys[: at + 97]).tolist():
            items.row(key)
        few = [int(items.rows_of(keys[one : one + 1])[0]) for one in range(0, len(keys), 50)]
        assert items.rows_of(keys)[::50].tolist() == few
    assert sorted(items.rows_of(keys).tolist()) == [*range(len(keys))]


def test_items_that_a_baseline_does_not_know_have_no_score():
    scores = Scores(np.array([2, 0]), np.array([0.5, -1.0]))
    assert scores.of(np.array([-1, 0, 1, 2, 9])).tolist() == [0.0, -1.0, 0.0, 0.5, 0.0]
