"""The funnel: what retrieval proposes is what is ranked, what it misses is a miss, and each source's share is known."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from rankstream.evaluation.point_in_time import LiveRankerAsOf, no_table
from rankstream.evaluation.replay.candidates import Catalogue, whole
from rankstream.evaluation.replay.funnel import proposed
from rankstream.evaluation.replay.outcomes import ALL
from rankstream.evaluation.replay.protocols import NextPositive, bits
from rankstream.evaluation.replay.run import Plan, replay
from rankstream.evaluation.replay.summary import summarise
from rankstream.evaluation.replay.variants import DelayedPipeline, Variant
from rankstream.features.actions import pack_action
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.ids import id_keys
from rankstream.features.user_state import UNKNOWN_USER
from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.request import RankingRequest
from rankstream.ranking.retrieval_mix import RetrievalMix
from rankstream.ranking.serving import ranker_of
from rankstream.retrieval.mix import FusedSource
from rankstream.retrieval.sources.matches import MatchingItems
from tests.builders.bundle import AS_OF_MS, VOCABULARY
from tests.builders.catalogue import a_catalogue, an_item
from tests.builders.item_counts import a_following_bundle
from tests.builders.replay import ALog

MINUTE = 60_000
SAVE = bits([VOCABULARY.action_codes["save"]])
LIMIT = 4
NEWS = RetrievalMix(new_share=0.2, popular_share=0.2)


def views_1_and_saves(item, users, start_ms):
    return [
        row
        for number, user in enumerate(users)
        for row in (
            (f"u{user}", 1, "view", start_ms + 2 * number * MINUTE),
            (f"u{user}", item, "save", start_ms + (2 * number + 1) * MINUTE),
        )
    ]


TRAINED = views_1_and_saves(2, range(10), AS_OF_MS - 600 * MINUTE)
STATE = UNKNOWN_USER.apply([pack_action(AS_OF_MS, VOCABULARY.action_codes["view"], 1, 0, 0)], 0).state


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_bundle(a_following_bundle(tmp_path_factory.mktemp("bundle"), TRAINED))


@pytest.fixture(scope="module")
def ranker(bundle):
    return ranker_of(bundle, NoVectors(8))


def proposals(ranker, limit=LIMIT):
    return proposed(ranker, "u1", AS_OF_MS + MINUTE, STATE, limit)


def is_matches(source):
    return isinstance(source, MatchingItems)


def funnel(bundle, rows):
    """Replay; return the outcomes of the one variant."""
    delayed = DelayedPipeline(LiveRankerAsOf(VOCABULARY, ranker_of(bundle, NoVectors(8))), 0, 100)
    catalogue = Catalogue([bundle.items])
    plan = Plan(
        protocol=partial(NextPositive, SAVE), select=whole(catalogue, exclude_seen=False), vocabulary=VOCABULARY,
        positives=SAVE, heads={"save": VOCABULARY.action_codes["save"]}, from_ms=AS_OF_MS, max_queries=None,
        retrieve=LIMIT,
    )  # fmt: skip
    return replay(ALog([*TRAINED, *rows]), [Variant("it", bundle, no_table, delayed)], plan).outcomes


def test_what_is_proposed_is_what_a_request_with_a_limit_is_ranked_from(ranker):
    ranking = ranker.rank(RankingRequest("r", "u1", limit=LIMIT), STATE, AS_OF_MS + MINUTE)
    assert sorted(item.item_id for item in ranking.items) == sorted(proposals(ranker).keys.tolist())


def test_each_source_is_asked_with_the_whole_limit(ranker):
    found = proposals(ranker).by_source
    assert found["matches"].tolist() == [2]  # nothing else ever followed item 1
    assert len(found["recent-likes"]) == LIMIT


def test_a_wanted_item_that_retrieval_misses_is_a_miss_and_one_that_it_finds_is_ranked(bundle, ranker):
    missed = next(item for item in range(3, 41) if item not in proposals(ranker).keys.tolist())
    later = views_1_and_saves(missed, [60, 61], AS_OF_MS + 60 * MINUTE)
    outcomes = funnel(bundle, [*views_1_and_saves(2, range(50, 53), AS_OF_MS), *later]).variants["it"]
    assert outcomes.column(ALL, "found").tolist() == [1, 1, 1, 0, 0]
    assert outcomes.column(ALL, "found by matches").tolist() == [1, 1, 1, 0, 0]
    assert outcomes.column(ALL, "mrr").tolist() == [1, 1, 1, 0, 0]  # it ranks by what followed


def test_a_source_that_proposes_nothing_to_a_user_has_found_nothing(bundle):
    nobody = ("u99", 2, "save", AS_OF_MS + MINUTE)  # nothing is known of the user: nothing matches
    rows = [nobody, *views_1_and_saves(2, [50], AS_OF_MS + 2 * MINUTE)]
    outcomes = funnel(bundle, rows).variants["it"]
    assert outcomes.column(ALL, "found by matches").tolist() == [0, 1]
    assert len(outcomes.column(ALL, "found by recent-likes")) == 2


def test_the_first_items_and_the_hits_are_told_by_the_source_that_feeds_name(bundle):
    nobody = ("u99", 2, "save", AS_OF_MS + MINUTE)  # nothing is known of the user: nothing matches
    rows = [nobody, *views_1_and_saves(2, [50, 51], AS_OF_MS + 2 * MINUTE)]
    outcomes = funnel(bundle, rows).variants["it"]
    assert outcomes.column(ALL, "hit by matches").tolist() == [0, 1, 1]  # it is first there by what followed
    assert outcomes.column(ALL, "hit by popular").sum() == outcomes.column(ALL, "hit@10")[0]
    assert outcomes.column(ALL, "first 10 by matches").tolist() == [0, 0.25, 0.25]  # one of the four proposed
    assert outcomes.column(ALL, "first 10 by recent-likes").tolist() == [0, 0.75, 0.75]
    assert outcomes.column(ALL, "first 10 by popular").tolist() == [1, 0, 0]


def test_what_is_proposed_beside_a_catalogue_is_what_serves_new_and_popular_items_included(bundle):
    items = [*(an_item(n) for n in range(1, 41)), *(an_item(f"new{n}", created_at_ms=AS_OF_MS) for n in range(9))]
    ranker = ranker_of(bundle, NoVectors(8), catalogues=a_catalogue(*items, as_of_ms=AS_OF_MS), mix=NEWS)
    found = proposed(ranker, "u1", AS_OF_MS + MINUTE, STATE, 20, "r")
    ranking = ranker.rank(RankingRequest("r", "u1", limit=20), STATE, AS_OF_MS + MINUTE)
    assert set(id_keys([item.item_id for item in ranking.items])) == set(found.keys)
    assert {item.source for item in ranking.items} == {"matches", "recent-likes", "new", "popular"}
    assert len(found.by_source["new"]) == 9


def test_what_a_source_adds_is_what_is_not_found_without_it(bundle):
    ranker = ranker_of(bundle, NoVectors(8))
    found = proposals(ranker)
    others = replace(ranker, source=FusedSource(*(one for one in ranker.source.quotas if not is_matches(one.source))))
    assert found.without["matches"].tolist() == proposals(others).keys.tolist()
    outcomes = funnel(bundle, views_1_and_saves(2, range(50, 53), AS_OF_MS)).variants["it"]
    added = outcomes.column(ALL, "found")[0] - float(2 in found.without["matches"])
    assert outcomes.column(ALL, "added by matches").tolist() == [added] * 3


def test_where_no_source_has_anything_what_stands_in_is_found(bundle):
    catalogue = a_catalogue(*map(an_item, (1, 2)), as_of_ms=AS_OF_MS)
    view = VOCABULARY.action_codes["view"]
    saw_both = UNKNOWN_USER.apply([pack_action(AS_OF_MS, view, item, 0, 0) for item in (1, 2)], 0).state
    ranker = ranker_of(bundle, NoVectors(8), catalogues=catalogue)
    found = proposed(ranker, "u1", AS_OF_MS + MINUTE, saw_both, LIMIT)
    assert (set(found.keys.tolist()), found.by_source) == ({1, 2}, {})


def test_the_summary_has_all_items_warm_and_cold_ones_and_popularity_beside(bundle):
    later = AS_OF_MS + 60 * MINUTE
    rows = [*views_1_and_saves(2, range(50, 53), AS_OF_MS), *views_1_and_saves(40, [60, 61], later)]
    before, after = AS_OF_MS - MINUTE, later + 99 * MINUTE
    outcomes = funnel(bundle, [("u0", "untrained", "save", before), *rows, ("u70", "untrained", "save", after)])
    variants = [{"name": "it", "bundle": "it", "delay_ms": 0, "model": "m"}]
    found = summarise(outcomes, variants, len(bundle.items))["funnel"]
    parts = {one["items"]: (one["value"], one["requests"]) for one in found["found by matches"]["it"]}
    assert parts["warm"] == (1, 3)
    assert parts["cold"] == (0, 3)
    assert (parts["cold: new"], parts["cold: withheld"]) == ((0, 2), (0, 1))
    assert parts["all"] == (pytest.approx(0.5), 6)
    assert found["found"]["popularity"][1]["value"] == 1  # among its own first four
    assert len(found["hit@10"]["popularity"]) == 5
    assert np.isfinite([one["low"] for one in found["found"]["it"]]).all()


def test_young_items_are_counted_among_those_shown_and_those_wanted_also_where_nothing_knows_them(bundle):
    newest = ("u60", "brand new", "save", AS_OF_MS + 99 * MINUTE)
    outcomes = funnel(bundle, [*views_1_and_saves(2, range(50, 53), AS_OF_MS), newest]).variants["it"]
    assert outcomes.column(ALL, "young wanted").tolist() == [1, 1, 1, 1]  # item 2 was first acted on 10 hours before
    assert outcomes.column(ALL, "young shown").tolist()[:3] == [0.25] * 3  # item 2, of four
