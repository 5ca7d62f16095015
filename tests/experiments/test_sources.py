"""Sources held against each other: which requests are asked, in which orders items are popular, and the table."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rankstream.evaluation.replay.funnel import proposed
from rankstream.events.log import event_log
from rankstream.experiments.sources.__main__ import METRICS, written
from rankstream.experiments.sources.arms import OfTheDefault, PopularOfSegment, orders_at
from rankstream.experiments.sources.requests import wanted_rows
from rankstream.features.actions import Vocabulary, pack_action
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.ids import id_keys
from rankstream.features.join import DAY_MS, match_user
from rankstream.features.user_state import UNKNOWN_USER
from rankstream.graph.topics import Topics
from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.serving import ranker_of
from rankstream.retrieval.scope import Scope
from tests.builders.bundle import AS_OF_MS, VOCABULARY
from tests.builders.item_counts import a_following_bundle
from tests.builders.retrieval import a_user, an_item_table

CUT_MS = 100 * DAY_MS
SAVES = Vocabulary(("view", "save"))


def a_log(*rows):
    """Actions as (user, item, action, days after the cut)."""
    users, items, actions, days = (np.array(column) for column in zip(*rows, strict=True))
    codes = np.array([SAVES.action_codes[name] for name in actions.tolist()])
    return event_log(SAVES, users, items, codes, CUT_MS + (days * DAY_MS).astype(np.int64))


def test_what_is_wanted_is_a_users_first_positive_on_an_item_of_before_the_cut():
    log = a_log(
        (1, 7, "save", -2), (1, 8, "save", -1), (2, 9, "view", -1),  # known: 7, 8, 9
        (1, 7, "save", 1), (1, 9, "view", 1), (1, 9, "save", 2),  # seen before, no positive, seen before
        (2, 7, "save", 1), (2, 5, "save", 2), (1, 9, "save", 1),  # wanted, not known, wanted: of one time with a view
    )  # fmt: skip
    assert wanted_rows(log, log.actions == 2, CUT_MS).tolist() == [5, 6]  # in order of time


def test_items_are_popular_by_what_was_done_before_the_time_in_each_window(tmp_path):
    items = an_item_table(tmp_path, [1, 2, 3], np.ones((3, 4)))
    rows = [(1, 1, "view", -30)] * 5 + [(1, 2, "view", -3)] * 3 + [(1, 3, "save", -0.5)] * 2 + [(1, 1, "save", 1)] * 9
    orders = orders_at(a_log(*rows), items, lambda codes: codes == 2, CUT_MS)
    first = {name: items.ids(order)[0] for name, order in orders.items()}
    assert first == {
        "ever": 1, "7 days": 2, "1 day": 3, "1 hour": 1, "half-life 1 d": 3, "half-life 7 d": 2,
        "positives, half-life 7 d": 3,
    }  # fmt: skip


def test_what_is_popular_of_the_users_segment_comes_first(tmp_path):
    items = an_item_table(tmp_path, range(1, 7), np.ones((6, 4)))
    segments = np.zeros(6, np.int64)
    segments[items.rows(id_keys([2, 4, 6]))[0]] = 1
    source = PopularOfSegment(items, items.rows(id_keys([1, 2, 3, 4, 5, 6]))[0], segments)
    user = a_user(("view", 6), ("view", 4), ("view", 1))
    assert source.propose(user, 3, Scope(user.excluded)).ids == [2, 3, 5]
    assert source.propose(a_user(), 3, Scope(id_keys([]))).ids == [1, 2, 3]


@pytest.fixture(scope="module")
def ranker(tmp_path_factory):
    rows = [(f"u{user}", item, "save", AS_OF_MS - 1_000_000 + 2 * user + item) for user in range(9) for item in (1, 2)]
    return ranker_of(open_bundle(a_following_bundle(tmp_path_factory.mktemp("bundle"), rows)), NoVectors(8))


def test_the_default_arm_is_what_serves_and_the_others_ask_otherwise(ranker):
    state = UNKNOWN_USER.apply([pack_action(AS_OF_MS, VOCABULARY.action_codes["view"], 1, 0, 0)], 0).state
    user = match_user(state, id_keys(["u1"])[0], AS_OF_MS + 1, ranker.offline, AS_OF_MS + 1)
    arms = OfTheDefault.of(ranker).queries()
    found = {name: set(id_keys(source.propose(user, 4, Scope(user.excluded)).ids)) for name, source in arms.items()}
    assert found["default"] == set(proposed(ranker, "u1", AS_OF_MS + 1, state, 4).keys)
    assert found["default without neighbours"] == set(id_keys([2]))  # what follows, and nothing else is known
    assert len(found["mean alone"]) == len(found["newest alone"]) == 4


def test_arms_of_preferred_topics_differ_from_the_default_in_their_walks_alone(ranker):
    topics = {"clusters": Topics(ranker.offline.matches.keys, np.arange(len(ranker.offline.matches.keys)) % 2)}
    of = OfTheDefault.of(ranker, topics)
    assert list(of.biased) == [
        "default", "walks", "default, clusters preferred in 0.3", "walks, clusters preferred in 0.3",
        "default, clusters preferred in 0.6", "walks, clusters preferred in 0.6",
    ]  # fmt: skip
    plain, preferring = of.biased["default"], of.biased["default, clusters preferred in 0.6"]
    differ = [at for at, quota in enumerate(plain.quotas) if quota.source is not preferring.quotas[at].source]
    assert [plain.quotas[at].source for at in differ] == [of.walk]
    assert [quota.share for quota in plain.quotas] == [quota.share for quota in preferring.quotas]
    walk = of.biased["walks, clusters preferred in 0.6"].source
    assert (walk.graph.graph.bias.share, walk.name) == (0.6, "walk")


def test_a_table_holds_each_arm_against_the_first_paired(tmp_path):
    rows = [
        {"table": "queries", "arm": arm, "user": str(user), **dict.fromkeys(METRICS, float(arm == "better"))}
        for user in range(4)
        for arm in ("default", "better")
    ]
    pq.write_table(pa.Table.from_pylist([*rows, rows[0] | {"table": "other"}]), tmp_path / "o.parquet")
    head, _, default, better = written(tmp_path / "o.parquet", "queries").splitlines()
    assert head.startswith("| 4 requests | recall@100 | recall@limit | HIT@10 | less the first: recall@100")
    assert default.startswith("| default | .000")
    assert better.count("1.000 [1.000, 1.000]") == 6
