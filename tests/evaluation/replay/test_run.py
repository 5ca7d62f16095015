from dataclasses import replace as with_changes
from functools import partial

import numpy as np
import pytest

from rankstream.evaluation.baselines.panel import RANDOM
from rankstream.evaluation.baselines.popularity import POPULARITY
from rankstream.evaluation.point_in_time import LiveRankerAsOf
from rankstream.evaluation.replay.candidates import Catalogue, as_shown, whole
from rankstream.evaluation.replay.outcomes import ALL
from rankstream.evaluation.replay.protocols import LoggedSession, NextPositive, PositiveInSession, bits
from rankstream.evaluation.replay.run import Plan, replay
from rankstream.evaluation.replay.summary import summarise
from rankstream.evaluation.replay.variants import NEVER, DelayedPipeline, ReplayError, Variant
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.ids import id_bytes
from rankstream.features.user_state import UNKNOWN_USER
from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.request import RankingRequest
from rankstream.ranking.serving import ranker_of
from tests.builders.actions import a_state, an_action
from tests.builders.bundle import SIZES, VOCABULARY, a_bundle, a_user_table
from tests.builders.replay import ALog

CODES = VOCABULARY.action_codes
START = 1_700_000_000_000
MINUTE = 60_000
POSITIVES = bits([CODES["save"], CODES["click"]])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_bundle(a_bundle(tmp_path_factory.mktemp("bundle")))


def a_variant(bundle, name="now", delay=0, tables=lambda at_ms: None):
    ranker = ranker_of(bundle, NoVectors(SIZES.user_dim))
    return Variant(name, bundle, tables, DelayedPipeline(LiveRankerAsOf(VOCABULARY, ranker), delay, 100))


def a_plan(bundle, **changes):
    catalogue = Catalogue([bundle.items])
    plan = Plan(
        protocol=partial(NextPositive, POSITIVES),
        select=whole(catalogue, exclude_seen=False),
        vocabulary=VOCABULARY,
        positives=POSITIVES,
        heads={head: CODES[head] for head in bundle.manifest.heads},
        from_ms=START,
        max_queries=None,
    )
    return with_changes(plan, **changes)


def some_rows(users=6, each=30, seed=0):
    rng = np.random.default_rng(seed)
    names = ["view", "view", "click", "save"]
    rows = [
        (f"u{user}", int(rng.integers(1, 190)), names[int(rng.integers(4))], START + number * MINUTE + user)
        for number in range(each)
        for user in range(users)
    ]
    return rows


def test_every_positive_is_ranked_by_all_variants_by_popularity_and_at_random(bundle):
    rows = some_rows()
    result = replay(ALog(rows), [a_variant(bundle), a_variant(bundle, "late", 5 * MINUTE)], a_plan(bundle))
    positives = sum(action in ("save", "click") for _, _, action, _ in rows)
    assert (result.events, result.queries_found, len(result.outcomes.queries)) == (len(rows), positives, positives)
    assert set(result.outcomes.variants) == {"now", "late", *result.outcomes.baselines}
    assert {POPULARITY, "item-kNN", "next after the last item", RANDOM} < set(result.outcomes.baselines)
    assert all(len(variant.column(ALL, "hit@10")) == positives for variant in result.outcomes.variants.values())
    assert 0 < result.outcomes.variants[RANDOM].column(ALL, "hit@10").mean() < 0.06


def test_batches_of_the_log_make_no_difference(bundle):
    rows = some_rows()
    whole_log, pieces = (replay(ALog(rows, batch), [a_variant(bundle)], a_plan(bundle)) for batch in (1000, 7))
    assert [query.at_ms for query in whole_log.outcomes.queries] == [query.at_ms for query in pieces.outcomes.queries]
    for key, values in whole_log.outcomes.variants["now"].metrics.items():
        np.testing.assert_array_equal(values, pieces.outcomes.variants["now"].metrics[key])


def test_a_ranking_knows_what_came_before_it_and_nothing_else(bundle):
    rows = [("u", 1, "view", START), ("u", 2, "save", START + MINUTE), ("u", 3, "save", START + 2 * MINUTE)]
    result = replay(ALog(rows), [a_variant(bundle)], a_plan(bundle))
    assert [query.num_actions for query in result.outcomes.queries] == [1, 2]
    assert result.outcomes.variants["now"].newest_age_ms == [MINUTE, MINUTE]


@pytest.mark.parametrize("surface", [0, 1, 2])
def test_a_request_has_the_surface_of_the_action_that_follows_it(tmp_path, surface):
    sees = open_bundle(a_bundle(tmp_path, sizes=with_changes(SIZES, surfaces=2)))
    ranker = ranker_of(sees, NoVectors(SIZES.user_dim))
    log = ALog([("u", 7, "save", START)], surfaces=[surface])
    rank = 1 / replay(log, [a_variant(sees)], a_plan(sees)).outcomes.variants["now"].column(ALL, "mrr")[0]
    name = (None, *VOCABULARY.surfaces)[surface]
    feed = ranker.rank(RankingRequest("r", "u", tuple(range(1, 201)), surface=name), UNKNOWN_USER, START)
    assert [item.item_id for item in feed.items].index(7) + 1 == pytest.approx(rank)


def test_a_delayed_variant_knows_what_a_worker_that_lags_would_know(bundle):
    rows = [("u", item, "save", START + item * MINUTE) for item in range(1, 30)]
    variants = [a_variant(bundle, f"{delay}", delay) for delay in (0, 5 * MINUTE, NEVER)]
    result = replay(ALog(rows, 4), variants, a_plan(bundle))
    ages = {name: variant.newest_age_ms for name, variant in result.outcomes.variants.items()}
    assert ages["0"][10:] == [MINUTE] * 19
    assert ages[str(5 * MINUTE)][10:] == [5 * MINUTE] * 19
    assert np.isnan(ages["None"]).all()


def test_a_delayed_state_is_byte_for_byte_the_earlier_one(bundle):
    rows = some_rows(users=1, each=150)
    late, now = a_variant(bundle, "late", 40 * MINUTE), a_variant(bundle)
    replay(ALog(rows, 13), [late], a_plan(bundle))
    late.delayed.advance(START + 149 * MINUTE)
    replay(ALog(rows[:110]), [now], a_plan(bundle))
    key = id_bytes("u0")
    assert late.delayed.state(key).pack() == now.delayed.state(key).pack()


def test_batch_vectors_are_as_old_as_the_variant(bundle, tmp_path):
    table = EmbeddingTable.open(a_user_table(tmp_path / "users", ["u"]))
    tables = lambda at_ms: table if at_ms >= START + 10 * MINUTE else None  # noqa: E731
    rows = [("u", item, "save", START + item * MINUTE) for item in range(20)]
    variants = [a_variant(bundle, "now", 0, tables), a_variant(bundle, "late", 5 * MINUTE, tables)]
    found = replay(ALog(rows), variants, a_plan(bundle)).outcomes.variants
    assert (found["now"].user_vectors_found, found["late"].user_vectors_found) == (10, 5)


def test_queries_before_the_start_only_warm_the_states(bundle):
    rows = some_rows()
    result = replay(ALog(rows), [a_variant(bundle)], a_plan(bundle, from_ms=START + 20 * MINUTE))
    assert min(query.at_ms for query in result.outcomes.queries) >= START + 20 * MINUTE
    assert not any(query.is_new for query in result.outcomes.queries)
    assert all(query.num_actions >= 19 for query in result.outcomes.queries)


def test_a_sample_of_the_queries_is_ranked_as_if_all_were(bundle):
    rows = some_rows()
    every, some = (
        replay(ALog(rows), [a_variant(bundle)], a_plan(bundle, max_queries=maximum)).outcomes for maximum in (None, 20)
    )
    found = zip(every.queries, every.variants["now"].column(ALL, "mrr"), strict=True)
    hits = {(query.user, query.at_ms): mrr for query, mrr in found}
    assert len(some.queries) == 20
    for query, mrr in zip(some.queries, some.variants["now"].column(ALL, "mrr"), strict=True):
        assert hits[query.user, query.at_ms] == mrr


def test_what_was_shown_scores_probabilities_too(bundle):
    plan = a_plan(bundle, protocol=LoggedSession, select=as_shown(1), shown=True)
    apart = [(*row[:3], row[3] + 40 * MINUTE * (row[3] // MINUTE % 10)) for row in some_rows()]
    result = replay(ALog(sorted(apart, key=lambda row: row[3])), [a_variant(bundle)], plan)
    summary = summarise(result.outcomes, [{"name": "now", "bundle": "b", "delay_ms": 0}], 200)
    saves = summary["probabilities"]["now"]["save"]
    assert saves["candidates"] == sum(query.num_candidates for query in result.outcomes.queries)
    assert 0 < saves["auc"]["low"] <= saves["auc"]["value"] <= saves["auc"]["high"] < 1
    assert saves["gauc"]["users"] > 0
    assert saves["positives"] == round(saves["observed_rate"] * saves["candidates"])


def test_a_log_without_events_is_refused(bundle):
    with pytest.raises(ReplayError, match="holds no event"):
        replay(ALog([]), [a_variant(bundle)], a_plan(bundle))


def test_a_summary_holds_each_delay_and_who_is_ahead(bundle):
    variants = [a_variant(bundle, "now"), a_variant(bundle, "never", NEVER)]
    about = [{"name": variant.name, "bundle": "b", "delay_ms": variant.delayed.delay_ms} for variant in variants]
    outcomes = replay(ALog(some_rows()), variants, a_plan(bundle)).outcomes
    summary = summarise(outcomes, about, 200)
    assert [one["delay_ms"] for one in summary["staleness"]["b"]] == [0, None]
    ahead = next(one for one in summary["differences"] if one["baseline"] == "never" and one["head"] == ALL)
    paired = outcomes.variants["now"].column(ALL, "hit@3") - outcomes.variants["never"].column(ALL, "hit@3")
    assert ahead["value"] == pytest.approx(paired.mean())
    assert ahead["low"] <= ahead["value"] <= ahead["high"]
    assert {one["slice"] for one in summary["slices"]["users"]["now"]} == {"new in the replayed part"}
    assert sum(one["requests"] for one in summary["over_time"]["now"]) == len(outcomes.queries)


def test_popularity_that_knows_nothing_is_a_random_order(bundle):
    rows = []
    for session in range(300):
        at_ms = START + session * 1000
        rows += [(f"u{session}", 1 + session % 180, "save", at_ms)]
        rows += [(f"u{session}", 1 + (session + n) % 180, "view", at_ms + n) for n in range(1, 10)]
    plan = a_plan(bundle, protocol=partial(PositiveInSession, POSITIVES), select=as_shown(1), ks=(3,))
    variants = replay(ALog(rows), [a_variant(bundle)], plan).outcomes.variants
    assert variants[RANDOM].column(ALL, "hit@3").mean() == pytest.approx(0.3)
    assert variants[POPULARITY].column(ALL, "hit@3").mean() == pytest.approx(0.3, abs=0.08)


def test_a_row_of_a_later_time_that_stands_earlier_in_the_log_is_not_seen(bundle):
    """A log may stand in any order, so a later time is no clock that is ahead: a replay asks as of the past."""
    state = a_state(an_action(1, 0), an_action(2, 60))
    assert a_variant(bundle).rank("u1", START + 30_000, state, [3, 4]).actions_used == 1
