"""Lists that a log says were shown are ranked one by one, as of strictly before each, by what followed on them."""

from dataclasses import replace as with_changes
from functools import partial
from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.evaluation.replay.candidates import as_shown
from rankstream.evaluation.replay.own_scores import OwnScores, ScoresOfFunction
from rankstream.evaluation.replay.plan import shown_to_users
from rankstream.evaluation.replay.protocols import ShownLists, bits
from rankstream.evaluation.replay.run import replay
from rankstream.evaluation.replay.variants import NEVER
from rankstream.events.impressions import WITHIN_MS, Impressions
from rankstream.events.log import event_log_of
from rankstream.features.ids import id_key
from rankstream.models.ranker.impressions import impression_examples
from rankstream.ranking.bundle import open_bundle
from tests.builders.bundle import VOCABULARY, a_bundle
from tests.builders.impressions import shown
from tests.builders.models import MINUTE_MS, START_MS, an_item_table
from tests.builders.replay import ALog
from tests.evaluation.replay.test_run import CODES, a_plan, a_variant
from tests.models.ranker.test_impressions import offline_features


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_bundle(a_bundle(tmp_path_factory.mktemp("bundle")))


def at(*rows):
    """Rows of (user, item, action, minutes after the start)."""
    return [(user, item, action, START_MS + round(minute * MINUTE_MS)) for user, item, action, minute in rows]


def protocol_of(rows, lists: Impressions):
    of = shown_to_users(ALog(rows), lists, VOCABULARY, WITHIN_MS)
    return partial(ShownLists, of.lists, of.actions)


def replayed(bundle, rows, lists, delays=(0,), batch=1000, **changes):
    variants = [a_variant(bundle, str(delay), delay) for delay in delays]
    plan = a_plan(bundle, protocol=protocol_of(rows, lists), select=as_shown(1), shown=True, from_ms=START_MS)
    return replay(ALog(rows, batch), variants, with_changes(plan, **changes))


ROWS = at(("u", 9, "view", 0), ("u", 2, "save", 11), ("u", 8, "view", 12), ("u", 7, "click", 20), ("v", 5, "view", 30))
LISTS = (
    ("u", 3, 10), ("u", 1, 10), ("u", 2, 10),
    ("u", 8, 12), ("u", 7, 12),
    ("v", 1, 12, "alone"),
    ("w", 4, 99), ("w", 6, 99),
)  # fmt: skip


def test_each_list_of_several_items_is_due_at_its_time_with_what_followed():
    protocol = protocol_of(ROWS, shown(*LISTS))()
    assert list(protocol.due(START_MS + 10 * MINUTE_MS - 1)) == []
    first, second = protocol.due(START_MS + 12 * MINUTE_MS)
    (third,) = protocol.due()
    assert [sorted(query.candidates) for query in (first, second, third)] == [[1, 2, 3], [7, 8], [4, 6]]
    assert [query.exposure.user_id for query in (first, second, third)] == ["u", "u", "w"]
    assert dict(zip(first.candidates, first.actions, strict=True)) == {1: 0, 2: bits([CODES["save"]]), 3: 0}
    assert dict(zip(second.candidates, second.actions, strict=True)) == {
        7: bits([CODES["click"]]), 8: bits([CODES["view"]]),
    }  # fmt: skip


def test_a_list_is_ranked_by_what_was_done_strictly_before_it(bundle):
    result = replayed(bundle, ROWS, shown(*LISTS), delays=(0, 2 * MINUTE_MS, NEVER))
    queries = result.outcomes.queries
    assert [(query.user, query.num_candidates, query.num_actions) for query in queries] == [
        ("u", 3, 1), ("u", 2, 2), ("w", 2, 0),
    ]  # fmt: skip
    assert [query.at_ms for query in queries] == [START_MS + minute * MINUTE_MS for minute in (10, 12, 99)]
    ages = {name: variant.newest_age_ms for name, variant in result.outcomes.variants.items() if name != "random order"}
    assert ages["0"][:2] == [10 * MINUTE_MS, MINUTE_MS]
    assert ages[str(2 * MINUTE_MS)][:2] == [10 * MINUTE_MS, 12 * MINUTE_MS]
    assert np.isnan(ages["None"]).all()


def test_the_metrics_are_those_of_the_lists_by_hand(bundle):
    own = OwnScores(ScoresOfFunction("by id", lambda user, candidates: [-one for one in candidates]))
    outcomes = replayed(bundle, ROWS, shown(*LISTS), own=(own,)).outcomes
    found = outcomes.variants["by id"].column("any positive", "ndcg@10")
    assert found[:2].tolist() == pytest.approx([1 / log2(3), 1])  # 1 2 3 with 2 saved; 7 8 with 7 clicked
    assert np.isnan(found[2])  # nothing followed
    assert outcomes.variants["by id"].column("any positive", "mrr")[:2].tolist() == [0.5, 1]
    assert outcomes.variants["random order"].column("any positive", "hit@3")[:2].tolist() == [1, 1]


def test_scores_are_replayed_without_any_variant(bundle):
    own = OwnScores(ScoresOfFunction("by id", lambda user, candidates: [-one for one in candidates]))
    with_variant, alone = (replayed(bundle, ROWS, shown(*LISTS), delays, own=(own,)).outcomes for delays in ((0,), ()))
    assert alone.queries == with_variant.queries
    found = [one.variants["by id"].column("any positive", "mrr")[:2].tolist() for one in (alone, with_variant)]
    assert found == [[0.5, 1], [0.5, 1]]


def test_lists_of_the_period_alone_are_ranked_and_a_sample_is_some_of_them(bundle):
    lists = shown(*LISTS)
    later = replayed(bundle, ROWS, lists, from_ms=START_MS + 11 * MINUTE_MS, until_ms=START_MS + 99 * MINUTE_MS)
    assert [query.num_candidates for query in later.outcomes.queries] == [2]
    some = replayed(bundle, ROWS, lists, max_queries=2)
    assert (some.queries_found, len(some.outcomes.queries)) == (3, 2)


def test_two_lists_of_one_user_and_time_are_two_queries(bundle):
    lists = shown(("u", 1, 5, "a"), ("u", 2, 5, "a"), ("u", 1, 5, "b"), ("u", 3, 5, "b"))
    result = replayed(bundle, ROWS, lists, max_queries=5)
    assert (result.queries_found, len({query.query for query in result.outcomes.queries})) == (2, 2)


MINUTES = st.integers(0, 6).map(lambda step: step * 7 + step // 4 * 60)
ACTIONS = st.lists(
    st.tuples(st.sampled_from("uvw"), st.integers(1, 12), st.sampled_from(VOCABULARY.actions), MINUTES), min_size=1,
    max_size=25,
)  # fmt: skip
SHOWN = st.lists(
    st.tuples(
        st.sampled_from("uvx"), st.integers(1, 12), MINUTES, st.sampled_from([None, "r1", "r2"]), st.just(-1),
        st.integers(0, 2),
    ), min_size=2, max_size=25,
)  # fmt: skip


@settings(max_examples=15)
@given(ACTIONS, SHOWN, st.randoms(use_true_random=False), st.integers(1, 30))
def test_neither_the_order_of_rows_of_one_time_nor_batches_change_what_is_ranked(bundle, actions, seen, rng, batch):
    rows, lists = sorted(at(*actions), key=lambda row: row[3]), shown(*seen, ("x", 1, 50, "r"), ("x", 2, 50, "r"))
    other = sorted(rng.sample(rows, len(rows)), key=lambda row: row[3])
    one, two = (
        replayed(bundle, which, lists, (0, 3 * MINUTE_MS), size) for which, size in ((rows, 1000), (other, batch))
    )
    assert repr(one.outcomes.queries) == repr(two.outcomes.queries)  # arrays of several rows have no one truth
    for name, variant in one.outcomes.variants.items():
        assert repr(variant) == repr(two.outcomes.variants[name])


@settings(max_examples=25)
@given(ACTIONS, SHOWN)
def test_what_is_ranked_is_what_rankers_are_trained_on(bundle, actions, seen):
    rows, lists = sorted(at(*actions), key=lambda row: row[3]), shown(*seen, ("x", 1, 50, "r"), ("x", 2, 50, "r"))
    log = event_log_of(ALog(rows).batches(VOCABULARY), VOCABULARY)
    heads = {name: (name,) for name in VOCABULARY.actions}
    trained = {
        (one.user_key, one.now_ms, tuple(one.candidates.tolist()), one.surface): (
            one.labels.tolist(),
            len(one.state.history),
        )
        for one in impression_examples(with_changes(log, impressions=lists), heads, offline_features(an_item_table()))
        if len(one.candidates) > 1
    }
    queries = list(protocol_of(rows, lists)().due())
    ranked = {}
    for query in queries:
        masks = {id_key(item): mask for item, mask in zip(query.candidates, query.actions, strict=True)}
        labels = [[float(masks[key] >> code & 1) for code in CODES.values()] for key in sorted(masks)]
        shown_on = query.exposure.surface
        name = id_key(query.exposure.user_id), query.exposure.at_ms, tuple(sorted(masks)), shown_on
        ranked[name] = labels
    assert {name: labels for name, (labels, _) in trained.items()} == ranked
    outcomes = replayed(bundle, rows, lists).outcomes
    histories = sorted((id_key(query.user), query.at_ms, query.num_actions) for query in outcomes.queries)
    assert len(queries) == len(outcomes.queries)
    assert sorted({(name[0], name[1], known) for name, (_, known) in trained.items()}) == sorted(set(histories))
