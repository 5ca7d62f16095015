"""Answers of several versions of the item vectors, searched exactly or in a graph, are what the log reproduces."""

from dataclasses import replace
from functools import partial

import msgspec
import pytest

from rankstream.evaluation.audit.explain import explain
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.ranking.serving import LiveRanker
from rankstream.retrieval.index import choice
from rankstream.streams.codec import ServedFeatures
from tests.builders.bundle import a_bundle, a_user_table
from tests.builders.live_items import publish_described, publish_items
from tests.builders.served import Day, a_day
from tests.evaluation.audit.test_verify import SwappingRanker

LATER = ["new item"]  # that the day's actions are of, too


def served_features(record) -> ServedFeatures:
    return msgspec.json.decode(record.value, type=ServedFeatures)


def publish_with_graph(root, seed):
    publish_items(root, LATER, seed=seed)
    choice.build_beside(EmbeddingTable.open(root), root)


@pytest.fixture(scope="module")
def day(tmp_path_factory) -> Day:
    """A day with the bundle's own vectors, then published ones, then others in a graph; two are published after it."""
    folder = tmp_path_factory.mktemp("items")
    root = folder / "items"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "EXACT_BELOW", 201)
        patch.setattr("rankstream.ranking.serving.wants_graph", lambda table, index: False)
        users = a_user_table(folder / "users", ["u1"])
        serving = LiveRanker.open(a_bundle(folder / "bundle"), users, item_vectors=root)
        swaps = {
            10: partial(publish_items, root, LATER, seed=6),
            20: partial(publish_with_graph, root, seed=7),
        }
        served = a_day(folder, serving=SwappingRanker(serving, swaps))
        publish_items(root, LATER, seed=8)
        yield replace(served, item_vectors=root)


def test_they_are_reproduced_to_the_bit_and_the_report_names_the_versions(day):
    report = day.verify()
    assert (report.verified, report.differences, report.unverified) == (len(day.requests), [], {})
    used = [served_features(one) for one in day.served]
    named = [None if one.item_vectors is msgspec.UNSET else one.item_vectors[:6] for one in used]
    assert named == [*[None] * 10, *["000001"] * 10, *["000002"] * (len(used) - 20)]
    assert len(report.as_dict()["item_vectors"]) == 2
    indexed = [at for at, one in enumerate(used) if one.item_index is not msgspec.UNSET]
    assert indexed == [at for at in range(20, len(used)) if b'"limit"' in day.requests[at].value]
    assert indexed


def test_a_version_or_an_index_that_is_gone_is_named_and_so_is_what_to_do(day, tmp_path):
    (first, second) = sorted(replace(day).verify().as_dict()["item_vectors"])
    unnamed = replace(day, item_vectors=None).verify()
    assert unnamed.verified == 10
    assert f"served with item vectors {first}; name their folder with --item-vectors" in unnamed.unverified
    elsewhere = tmp_path / "items"
    publish_items(elsewhere, LATER, seed=6)
    publish_items(elsewhere, LATER, seed=7)  # the same versions, without the graph
    report = replace(day, item_vectors=elsewhere).verify()
    assert report.differences == []
    (reason,) = report.unverified
    assert f"which is not beside {elsewhere / second} any more" in reason
    assert report.verified == len(day.served) - report.unverified[reason]
    choice.build_beside(EmbeddingTable.open(elsewhere), elsewhere)  # the same table gives the same index
    assert replace(day, item_vectors=elsewhere).verify().verified == len(day.served)


def test_an_explanation_shows_the_version_and_knows_its_items(day):
    at = next(n for n, one in enumerate(day.served) if n > 10 and served_features(one).state_actions > 20)
    served, request = served_features(day.served[at]), day.requests[at]
    found = explain(served, request, day.actions, day.rankers(), day.history_limit)
    assert found.identical
    assert found.item_vectors.version == served.item_vectors
    known = {action.item_id: action.in_item_table for action in found.history}
    assert known["new item"]


def test_answers_with_items_that_nobody_had_acted_on_are_reproduced_to_the_bit(tmp_path):
    """Without any, then with some, then with others, while a day of requests goes on."""
    root, users = tmp_path / "items", a_user_table(tmp_path / "users", ["u1"])
    serving = LiveRanker.open(a_bundle(tmp_path / "bundle"), users, item_vectors=root)
    swaps = {
        10: partial(publish_described, root, [f"d{n}" for n in range(9)]),
        20: partial(publish_described, root, [f"e{n}" for n in range(9)], seed=7),
    }
    day = replace(a_day(tmp_path, serving=SwappingRanker(serving, swaps)), item_vectors=root)
    report = day.verify()
    assert (report.verified, report.differences, report.unverified) == (len(day.requests), [], {})
    mixed = [at for at, one in enumerate(day.served) if served_features(one).retrieval is not msgspec.UNSET]
    assert mixed == [at for at in range(10, len(day.served)) if b'"limit"' in day.requests[at].value]
    assert mixed
