"""What replay must not give away: no ranker finds what it can't know, and no order or sample says what was wanted.

An item that no bundle knows has no vector: among known ones it could be picked out by that.
"""

from functools import partial

import numpy as np
import pytest

from rankstream.evaluation.baselines.panel import RANDOM
from rankstream.evaluation.baselines.popularity import POPULARITY
from rankstream.evaluation.replay.candidates import Catalogue, as_shown, sampled, whole
from rankstream.evaluation.replay.outcomes import ALL
from rankstream.evaluation.replay.protocols import LoggedSession, PositiveInSession
from rankstream.evaluation.replay.run import replay
from rankstream.evaluation.replay.summary import summarise, variety
from rankstream.ranking.bundle import open_bundle
from tests.builders.bundle import a_bundle
from tests.builders.replay import ALog
from tests.evaluation.replay.test_run import MINUTE, POSITIVES, START, a_plan, a_variant

METRICS = ("hit@3", "hit@10", "recall@10", "capped_recall@10", "ndcg@10", "mrr")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_bundle(a_bundle(tmp_path_factory.mktemp("bundle"), num_items=40))


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return open_bundle(a_bundle(tmp_path_factory.mktemp("large"), num_items=5100))


def cold_rows(users=12, each=12):
    """Users act on items that no bundle knows, always the same few: whoever counts them finds them."""
    return [
        (f"u{user}", f"new-{(number + user) % 4}", ("view", "click", "save")[number % 3], START + number * 4 * MINUTE)
        for number in range(each)
        for user in range(users)
    ]


def means(outcomes, name):
    return [float(np.nanmean(outcomes.variants[name].column(ALL, metric))) for metric in METRICS]


@pytest.mark.parametrize("protocol", ["catalogue", "unseen", "sampled"])
def test_a_wanted_item_that_no_bundle_knows_is_a_miss_for_everybody(bundle, protocol):
    catalogue = Catalogue([bundle.items])
    select = whole(catalogue, exclude_seen=protocol == "unseen")
    if protocol == "sampled":
        select = sampled(catalogue, 10, 1)
    plan = a_plan(bundle, select=select, catalogue=catalogue, unseen_only=protocol == "unseen")
    outcomes = replay(ALog(cold_rows()), [a_variant(bundle)], plan).outcomes
    summary = summarise(outcomes, [{"name": "now", "bundle": "b", "delay_ms": 0}], len(catalogue))
    assert summary["targets_unknown"] == summary["requests"] > 10
    assert means(outcomes, "now") == means(outcomes, POPULARITY) == [0.0] * len(METRICS)
    assert not outcomes.variants[RANDOM].column(ALL, "hit@10").any()
    assert outcomes.variants["now"].unknown_items == 0
    assert summary["variety"]["now"]["coverage"] <= 1.0


def test_misses_and_finds_are_counted_together(bundle):
    rows = [("u", 1 + number % 40 if number % 2 else "new", "save", START + number * MINUTE) for number in range(200)]
    outcomes = replay(ALog(rows), [a_variant(bundle)], a_plan(bundle)).outcomes
    known = np.array([query.target_known for query in outcomes.queries])
    hits = outcomes.variants[RANDOM].column(ALL, "hit@10")
    assert known.mean() == pytest.approx(0.5, abs=0.01)
    assert hits[known].tolist() == pytest.approx([10 / 40] * known.sum())
    assert hits[~known].tolist() == [0.0] * (~known).sum()


def test_a_variant_ranks_what_its_own_bundle_knows_and_misses_the_rest(bundle, tmp_path):
    small = open_bundle(a_bundle(tmp_path / "small", num_items=10, model_version="small"))
    catalogue = Catalogue([bundle.items, small.items])
    rows = [(f"u{number % 7}", 1 + number % 40, "save", START + number * MINUTE) for number in range(120)]
    plan = a_plan(bundle, select=whole(catalogue, exclude_seen=False), catalogue=catalogue)
    outcomes = replay(ALog(rows), [a_variant(bundle), a_variant(small, "small")], plan).outcomes
    of_small = np.array([1 + number % 40 <= 10 for number in range(120)])
    hits = outcomes.variants["small"].column(ALL, "hit@10")
    assert hits.tolist() == of_small.astype(float).tolist()  # all of its 10 items are its first 10
    assert outcomes.variants["small"].unknown_items == 0
    assert len(outcomes.variants["small"].top_items) == 10


def test_repeats_are_not_asked_for_where_only_unseen_items_are_ranked(bundle):
    rows = [("u", 1 + number % 5, "save", START + number * MINUTE) for number in range(30)]
    plan = a_plan(bundle, select=whole(Catalogue([bundle.items]), exclude_seen=True), unseen_only=True)
    outcomes = replay(ALog(rows), [a_variant(bundle)], plan).outcomes
    assert [query.num_candidates for query in outcomes.queries] == [40, 39, 38, 37, 36]
    assert all(query.target_known for query in outcomes.queries)


@pytest.mark.parametrize("make", [LoggedSession, partial(PositiveInSession, POSITIVES)])
def test_unknown_items_that_were_shown_are_ranked_as_served_and_cover_nothing(bundle, make):
    rows = [
        (f"u{number}", f"new-{item}" if item % 2 else item + 1, "save" if item == number % 8 else "view",
         START + number * MINUTE * 40 + item)
        for number in range(30) for item in range(8)
    ]  # fmt: skip
    catalogue = Catalogue([bundle.items])
    plan = a_plan(bundle, protocol=make, select=as_shown(1), catalogue=catalogue, shown=make is LoggedSession)
    outcomes = replay(ALog(sorted(rows, key=lambda row: row[3])), [a_variant(bundle)], plan).outcomes
    assert outcomes.variants["now"].unknown_items > 0
    assert variety(outcomes, len(catalogue))["now"]["coverage"] <= 4 / 40


def test_a_ranker_that_knows_nothing_finds_what_a_random_order_finds(tmp_path):
    """Equal scores: neither the order of ids, nor of the log, nor that of the candidates is an answer."""
    constant = open_bundle(a_bundle(tmp_path, num_items=40, utility={"save": 0.0, "click": 0.0, "hide": 0.0}))
    rows = [(f"u{number}", 1 + number % 3, "save", START + number * MINUTE) for number in range(600)]
    outcomes = replay(ALog(rows), [a_variant(constant)], a_plan(constant)).outcomes
    assert np.mean(outcomes.variants["now"].column(ALL, "hit@10")) == pytest.approx(0.25, abs=0.06)
    shown = [(f"u{number}", item, "save" if item == 1 else "view", START + number * MINUTE * 40 + item)
             for number in range(400) for item in range(1, 11)]  # fmt: skip
    plan = a_plan(constant, protocol=LoggedSession, select=as_shown(1), ks=(3,))
    outcomes = replay(ALog(shown), [a_variant(constant)], plan).outcomes
    assert np.mean(outcomes.variants["now"].column(ALL, "hit@3")) == pytest.approx(0.3, abs=0.07)


def test_a_large_catalogue_gives_the_metrics_that_ranking_all_of_it_gives(large):
    rng = np.random.default_rng(0)
    rows = [(f"u{number % 5}", int(rng.integers(1, 5101)), "save", START + number * MINUTE) for number in range(40)]
    catalogue = Catalogue([large.items])
    plan = partial(a_plan, large, select=whole(catalogue, exclude_seen=False), catalogue=catalogue, ks=(3, 10, 20))
    found, all_ranked = (
        replay(ALog(rows), [a_variant(large)], plan(whole_rankings=each)).outcomes for each in (False, True)
    )
    for metric in ("hit@3", "hit@20", "ndcg@20", "recall@20"):
        assert (
            found.variants["now"].column(ALL, metric).tolist()
            == all_ranked.variants["now"].column(ALL, metric).tolist()
        )
    found_mrr, mrr = (each.variants["now"].column(ALL, "mrr") for each in (found, all_ranked))
    assert found_mrr.mean() == pytest.approx(mrr.mean(), abs=4 * (found_mrr - mrr).std() / np.sqrt(len(mrr)) + 1e-12)
    assert found.variants["now"].newest_age_ms == all_ranked.variants["now"].newest_age_ms
    assert np.isnan(variety(found, 5100)["now"]["coverage"])


@pytest.mark.parametrize("protocol", ["logged", "slate", "catalogue"])
def test_as_many_queries_are_ranked_as_were_asked_for(bundle, protocol):
    """Most positives here have no negative after them, and most sessions hold one item: nothing to rank."""
    rows = []
    for number in range(200):
        at_ms = START + number * 60 * MINUTE
        rows += [(f"u{number}", 1 + number % 40, "save", at_ms)]
        rows += [(f"u{number}", 1 + (number + 1) % 40, "view", at_ms + 1)] * (number % 5 == 0)
    of_protocol = {
        "logged": {"protocol": LoggedSession, "select": as_shown(1), "shown": True},
        "slate": {"protocol": partial(PositiveInSession, POSITIVES), "select": as_shown(1)},
        "catalogue": {},
    }
    plan = partial(a_plan, bundle, **of_protocol[protocol])
    result, everything = (replay(ALog(rows), [a_variant(bundle)], plan(max_queries=count)) for count in (30, None))
    assert len(result.outcomes.queries) == 30
    assert result.queries_found == everything.queries_found == len(everything.outcomes.queries)


def test_the_sample_of_queries_is_uniform_over_the_replayed_time(bundle):
    rows = [(f"u{number}", 1 + number % 40, "save", START + number * MINUTE) for number in range(1000)]
    times = []
    for seed in range(8):
        outcomes = replay(ALog(rows), [a_variant(bundle)], a_plan(bundle, max_queries=50, seed=seed)).outcomes
        times += [(query.at_ms - START) / (1000 * MINUTE) for query in outcomes.queries]
    assert len(times) == 400
    counts = np.histogram(times, 5, (0, 1))[0]
    assert ((counts - 80) ** 2 / 80).sum() < 18.5  # chi-squared of 4 degrees of freedom, 1 in 1,000
