from dataclasses import replace as with_changes
from functools import partial

import numpy as np
import pytest

from rankstream.evaluation.point_in_time import LiveRankerAsOf
from rankstream.evaluation.replay.candidates import Catalogue, as_shown, whole
from rankstream.evaluation.replay.outcomes import ALL
from rankstream.evaluation.replay.protocols import Logged, NextPositive, Slate, bits
from rankstream.evaluation.replay.run import POPULARITY, RANDOM, Plan, replay
from rankstream.evaluation.replay.summary import summarise
from rankstream.evaluation.replay.variants import NEVER, DelayedPipeline, ReplayError, Variant
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.ids import id_bytes
from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.serving import ranker_of
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
        asks=partial(NextPositive, POSITIVES),
        choose=whole(catalogue, exclude_seen=False),
        vocabulary=VOCABULARY,
        positives=POSITIVES,
        heads={head: CODES[head] for head in bundle.manifest.heads},
        from_ms=START,
        max_points=None,
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


def test_every_positive_is_ranked_by_all_lanes_and_by_popularity_and_chance(bundle):
    rows = some_rows()
    done = replay(ALog(rows), [a_variant(bundle), a_variant(bundle, "late", 5 * MINUTE)], a_plan(bundle))
    wanted = sum(action in ("save", "click") for _, _, action, _ in rows)
    assert (done.events, done.points_found, len(done.outcomes.seen)) == (len(rows), wanted, wanted)
    assert set(done.outcomes.variants) == {"now", "late", POPULARITY, RANDOM}
    assert all(len(variant.column(ALL, "hit@10")) == wanted for variant in done.outcomes.variants.values())
    assert 0 < done.outcomes.variants[RANDOM].column(ALL, "hit@10").mean() < 0.06


def test_batches_of_the_log_make_no_difference(bundle):
    rows = some_rows()
    whole_log, pieces = (replay(ALog(rows, batch), [a_variant(bundle)], a_plan(bundle)) for batch in (1000, 7))
    assert [seen.at_ms for seen in whole_log.outcomes.seen] == [seen.at_ms for seen in pieces.outcomes.seen]
    for key, values in whole_log.outcomes.variants["now"].figures.items():
        np.testing.assert_array_equal(values, pieces.outcomes.variants["now"].figures[key])


def test_a_ranking_knows_what_came_before_it_and_nothing_else(bundle):
    rows = [("u", 1, "view", START), ("u", 2, "save", START + MINUTE), ("u", 3, "save", START + 2 * MINUTE)]
    done = replay(ALog(rows), [a_variant(bundle)], a_plan(bundle))
    assert [seen.history for seen in done.outcomes.seen] == [1, 2]
    assert done.outcomes.variants["now"].newest_age_ms == [MINUTE, MINUTE]


def test_a_lane_behind_knows_what_a_worker_behind_would_know(bundle):
    rows = [("u", item, "save", START + item * MINUTE) for item in range(1, 30)]
    variants = [a_variant(bundle, f"{delay}", delay) for delay in (0, 5 * MINUTE, NEVER)]
    done = replay(ALog(rows, 4), variants, a_plan(bundle))
    ages = {name: variant.newest_age_ms for name, variant in done.outcomes.variants.items()}
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


def test_batch_vectors_are_as_old_as_the_lane(bundle, tmp_path):
    table = EmbeddingTable.open(a_user_table(tmp_path / "users", ["u"]))
    tables = lambda at_ms: table if at_ms >= START + 10 * MINUTE else None  # noqa: E731
    rows = [("u", item, "save", START + item * MINUTE) for item in range(20)]
    variants = [a_variant(bundle, "now", 0, tables), a_variant(bundle, "late", 5 * MINUTE, tables)]
    found = replay(ALog(rows), variants, a_plan(bundle)).outcomes.variants
    assert (found["now"].user_vectors_found, found["late"].user_vectors_found) == (10, 5)


def test_points_before_the_start_only_warm_the_states(bundle):
    rows = some_rows()
    done = replay(ALog(rows), [a_variant(bundle)], a_plan(bundle, from_ms=START + 20 * MINUTE))
    assert min(seen.at_ms for seen in done.outcomes.seen) >= START + 20 * MINUTE
    assert not any(seen.is_new for seen in done.outcomes.seen)
    assert all(seen.history >= 19 for seen in done.outcomes.seen)


def test_a_share_of_the_points_is_drawn_and_ranked_as_if_all_were(bundle):
    rows = some_rows()
    every, some = (
        replay(ALog(rows), [a_variant(bundle)], a_plan(bundle, max_points=maximum)).outcomes for maximum in (None, 20)
    )
    found = zip(every.seen, every.variants["now"].column(ALL, "mrr"), strict=True)
    hits = {(seen.user, seen.at_ms): mrr for seen, mrr in found}
    assert len(some.seen) == 20
    for seen, mrr in zip(some.seen, some.variants["now"].column(ALL, "mrr"), strict=True):
        assert hits[seen.user, seen.at_ms] == mrr


def test_what_was_shown_judges_probabilities_too(bundle):
    plan = a_plan(bundle, asks=Logged, choose=as_shown(1), shown=True)
    apart = [(*row[:3], row[3] + 40 * MINUTE * (row[3] // MINUTE % 10)) for row in some_rows()]
    done = replay(ALog(sorted(apart, key=lambda row: row[3])), [a_variant(bundle)], plan)
    summary = summarise(done.outcomes, [{"name": "now", "bundle": "b", "delay_ms": 0}], 200)
    saves = summary["probabilities"]["now"]["save"]
    assert saves["candidates"] == sum(seen.candidates for seen in done.outcomes.seen)
    assert 0 < saves["auc"]["low"] <= saves["auc"]["value"] <= saves["auc"]["high"] < 1
    assert saves["gauc"]["points"] > 0
    assert saves["positives"] == round(saves["came"] * saves["candidates"])


def test_a_log_without_events_is_refused(bundle):
    with pytest.raises(ReplayError, match="holds no event"):
        replay(ALog([]), [a_variant(bundle)], a_plan(bundle))


def test_a_summary_tells_each_delay_and_who_is_ahead(bundle):
    variants = [a_variant(bundle, "now"), a_variant(bundle, "never", NEVER)]
    about = [{"name": variant.name, "bundle": "b", "delay_ms": variant.delayed.delay_ms} for variant in variants]
    outcomes = replay(ALog(some_rows()), variants, a_plan(bundle)).outcomes
    summary = summarise(outcomes, about, 200)
    assert [one["delay_ms"] for one in summary["staleness"]["b"]] == [0, None]
    ahead = next(one for one in summary["differences"] if one["against"] == "never" and one["head"] == ALL)
    wanted = outcomes.variants["now"].column(ALL, "hit@3") - outcomes.variants["never"].column(ALL, "hit@3")
    assert ahead["value"] == pytest.approx(wanted.mean())
    assert ahead["low"] <= ahead["value"] <= ahead["high"]
    assert {one["slice"] for one in summary["slices"]["users"]["now"]} == {"new in the replayed part"}
    assert sum(one["points"] for one in summary["over_time"]["now"]) == len(outcomes.seen)


def test_popularity_that_knows_nothing_is_chance(bundle):
    rows = []
    for visit in range(300):
        at_ms = START + visit * 1000
        rows += [(f"u{visit}", 1 + visit % 180, "save", at_ms)]
        rows += [(f"u{visit}", 1 + (visit + n) % 180, "view", at_ms + n) for n in range(1, 10)]
    plan = a_plan(bundle, asks=partial(Slate, POSITIVES), choose=as_shown(1), ks=(3,))
    variants = replay(ALog(rows), [a_variant(bundle)], plan).outcomes.variants
    assert variants[RANDOM].column(ALL, "hit@3").mean() == pytest.approx(0.3)
    assert variants[POPULARITY].column(ALL, "hit@3").mean() == pytest.approx(0.3, abs=0.08)
