"""Item vectors published while a worker serves: new items are found and ranked, all others stay as they were."""

import logging
import threading
import time

import msgspec
import numpy as np
import pytest

from rankstream.bundles.manifest import read_manifest, write_manifest
from rankstream.features.actions import pack_action
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.embeddings.table import EmbeddingTable, publish
from rankstream.features.ids import id_key
from rankstream.features.stores.cache import UserCache
from rankstream.features.stores.memory import MemoryStore
from rankstream.features.user_state import UNKNOWN_USER
from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.request import RankingRequest
from rankstream.ranking.served_items import items_of, published_items
from rankstream.ranking.serving import LiveRanker, ranker_of
from rankstream.retrieval.index import choice
from rankstream.streams.pipeline import Pipeline
from rankstream.streams.records import recorded_actions
from tests.builders.bundle import AS_OF_MS, ITEM_SPACE, a_bundle, vectors_of
from tests.builders.interests import interests, publish_of
from tests.builders.live_items import NEW, publish_items
from tests.builders.patience import PATIENCE_S
from tests.builders.served import some_events
from tests.builders.threads import wait_for_threads
from tests.ranking.test_serving import Clock, wait_for_loading

NOW = 1_700_000_100_000
FOUND = RankingRequest("r", "u1", limit=200)
GIVEN = RankingRequest("r", "u1", candidates=(3, 1, 2, NEW, "never heard of"))
STATE = UNKNOWN_USER.apply([pack_action(NOW - n * 1_000, 2, n, 0, 0) for n in range(3, 9)], 0).state


def scores(ranking):
    return {item.item_id: (item.score, tuple(item.probabilities.items())) for item in ranking.items}


def test_a_new_item_is_found_and_ranked_within_seconds_and_all_others_score_as_before_to_the_bit(tmp_path):
    """The clock is the true one."""
    root = tmp_path / "items"
    serving = LiveRanker.open(a_bundle(tmp_path / "bundle"), item_vectors=root)
    before = serving.current.rank(FOUND, STATE, NOW)
    given = serving.current.rank(GIVEN, STATE, NOW)
    published, version = time.monotonic(), publish_items(root)
    while (after := serving.current.rank(FOUND, STATE, NOW)).item_vectors != version:
        assert time.monotonic() < published + 30
        time.sleep(0.02)
    assert NEW not in scores(before)
    assert scores(after).items() - scores(before).items() == {(NEW, scores(after)[NEW])}
    assert scores(before).items() <= scores(after).items()
    given_now = serving.current.rank(GIVEN, STATE, NOW)
    assert (given.unknown_items, given_now.unknown_items) == (2, 1)
    assert {item for item in scores(given) if scores(given)[item] != scores(given_now)[item]} == {NEW}


def test_without_published_vectors_the_bundles_own_serve(tmp_path):
    bundle = a_bundle(tmp_path / "bundle")
    alone = LiveRanker.open(bundle).current.rank(FOUND, STATE, NOW)
    waiting = LiveRanker.open(bundle, item_vectors=tmp_path / "nothing yet").current.rank(FOUND, STATE, NOW)
    assert (waiting.items, waiting.item_vectors, waiting.item_index) == (alone.items, None, None)
    assert waiting.inputs.digest() == alone.inputs.digest()


@pytest.mark.parametrize("spoiled", ["broken", "another space", "empty"])
def test_vectors_that_cannot_serve_are_refused_once_and_those_in_use_go_on(spoiled, tmp_path, caplog):
    clock, root = Clock(), tmp_path / "items"
    first = publish_items(root)
    serving = LiveRanker.open(a_bundle(tmp_path / "bundle"), item_vectors=root, clock=clock)
    if spoiled == "broken":
        column = root / publish_items(root, seed=6) / "vectors.f16"
        column.write_bytes(column.read_bytes()[:-1] + b"x")
    elif spoiled == "empty":
        publish(root, [], vectors_of(0, 8, 1), space=ITEM_SPACE, as_of_ms=AS_OF_MS)
    else:
        publish_items(root, space="another")
    for clock.now in (3, 6, 9):
        assert serving.current.item_vectors == first
        wait_for_loading()
    (error,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert error.endswith(f"version {first} serves")
    assert "publish" in error
    third = publish_items(root, seed=7)
    clock.now = 12
    assert serving.current.item_vectors in (first, third)
    wait_for_loading()
    assert serving.current.item_vectors == third


def test_a_bundle_of_another_space_serves_its_own_vectors_until_those_of_its_space_come(tmp_path):
    root, bundle = tmp_path / "items", tmp_path / "bundle"
    first = publish_items(root)
    serving = LiveRanker.open(a_bundle(bundle), item_vectors=root)
    assert serving.current.item_vectors == first
    publish(bundle / "items", range(1, 201), vectors_of(200, 8, 9), space="new", as_of_ms=NOW)
    manifest = msgspec.structs.replace(read_manifest(bundle), item_space="new", model_version="tiny-2")
    write_manifest(bundle, manifest)
    assert serving.reload()
    assert (serving.current.model_version, serving.current.item_vectors) == ("tiny-2", None)
    second = publish_items(root, space="new")
    assert serving.reload()
    assert serving.current.item_vectors == second


def test_states_are_folded_with_the_bundles_vectors_whatever_is_published(tmp_path):
    """A version in which all vectors are others: sessions that left the history are folded to the same bytes."""
    bundle, root = a_bundle(tmp_path / "bundle"), tmp_path / "items"
    others = vectors_of(201, 8, 77)
    publish(root, [*range(1, 201), "new item"], others, space=ITEM_SPACE, as_of_ms=AS_OF_MS)
    states = []
    for serving in (LiveRanker.open(bundle), LiveRanker.open(bundle, item_vectors=root)):
        pipeline = Pipeline(UserCache(MemoryStore(), 20), serving)
        pipeline.on_actions(recorded_actions(some_events(400)))
        assert pipeline.counters.sessions_ended > 5
        states.append([pipeline.users.get(f"u{n}".encode()).pack() for n in range(4)])
    assert states[0] == states[1]


def test_answers_under_load_are_each_of_one_version_for_retrieval_join_and_record(tmp_path):
    """Versions are swapped in while threads ask; each answer is what its version alone gives."""
    clock, root, folder = Clock(), tmp_path / "items", a_bundle(tmp_path / "bundle")
    serving = LiveRanker.open(folder, item_vectors=root, clock=clock)
    done, answers, versions = threading.Event(), [], [None]

    def ask():
        while not done.is_set():
            answers.append(serving.current.rank(FOUND, STATE, NOW))

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    for seed in range(4):
        versions.append(publish_items(root, [f"new {seed}", NEW], seed=seed))
        count = len(answers)
        while serving.current.item_vectors != versions[-1] or len(answers) < count + 20:
            clock.now += 2
            time.sleep(0.005)
    done.set()
    for asker in askers:
        asker.join()
    bundle, alone = open_bundle(folder), {}
    for version in versions:
        own = version is None
        items = items_of(bundle) if own else published_items(EmbeddingTable.open_version(root / version), root, bundle)
        alone[version] = ranker_of(bundle, NoVectors(8), items=items).rank(FOUND, STATE, NOW)
    assert {answer.item_vectors for answer in answers} == set(versions)
    assert len({one.inputs.digest() for one in alone.values()}) == len(versions)
    assert all(answer.inputs.digest() == alone[answer.item_vectors].inputs.digest() for answer in answers)
    assert all(answer.items == alone[answer.item_vectors].items for answer in answers)


def wait_for_the_graph():
    wait_for_threads("rankstream-index")


def test_many_items_are_all_compared_until_their_graph_is_built_beside_them(tmp_path, monkeypatch):
    monkeypatch.setattr(choice, "EXACT_BELOW", 150)
    bundle, building = a_bundle(tmp_path / "bundle"), threading.Event()
    build, held = choice.build_beside, threading.Event()

    def held_build(*args):
        building.set()
        assert held.wait(PATIENCE_S)
        return build(*args)

    monkeypatch.setattr("rankstream.ranking.serving.build_beside", held_build)
    serving = LiveRanker.open(bundle)
    assert building.wait(PATIENCE_S)
    exact = serving.current.rank(RankingRequest("r", "u1", limit=5), STATE, NOW)
    held.set()
    wait_for_the_graph()
    found = serving.current.rank(RankingRequest("r", "u1", limit=5), STATE, NOW)
    assert (exact.item_index, found.item_index[:5]) == (None, "hnsw-")
    assert found.items == exact.items  # of so few, each is compared
    assert serving.current.rank(GIVEN, STATE, NOW).item_index is None  # nothing was searched
    again = LiveRanker.open(bundle)
    assert again.current.item_index == found.item_index  # it lies in the bundle now
    assert not serving._watcher.has_new_version()


def test_a_version_whose_graph_lies_beside_it_is_searched_by_it_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(choice, "EXACT_BELOW", 150)
    clock, root = Clock(), tmp_path / "items"
    serving = LiveRanker.open(a_bundle(tmp_path / "bundle"), item_vectors=root, clock=clock)
    wait_for_the_graph()
    own = serving.current.item_index

    def no_build(*args):
        pytest.fail("built what is there")

    version = publish_items(root)
    choice.build_beside(EmbeddingTable.open(root), root)
    monkeypatch.setattr("rankstream.ranking.serving.build_beside", no_build)
    clock.now = 3
    assert serving.current is not None
    wait_for_loading()
    assert serving.current.item_vectors == version
    assert serving.current.item_index not in (None, own)
    assert id_key(NEW) in serving.current.offline.items.keys
    assert np.array_equal(serving.current.offline.folded_items.vectors, vectors_of(200, 8, 1))


def test_an_interest_in_a_new_item_is_asked_with_as_soon_as_its_vector_is_published_in_the_same_graph(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(choice, "EXACT_BELOW", 150)
    clock, root, found = Clock(), tmp_path / "items", tmp_path / "interests"
    publish_of(found, {"u1": interests((NEW, 2.0), (40, 1.0))})
    serving = LiveRanker.open(a_bundle(tmp_path / "bundle"), item_vectors=root, interests=found, clock=clock)
    wait_for_the_graph()
    before = serving.current.rank(FOUND, UNKNOWN_USER, NOW)
    assert {item.because_of for item in before.items if item.source != "recent-likes"} == {40}
    version = publish_items(root)
    choice.build_beside(EmbeddingTable.open(root), root)
    clock.now = 3
    assert serving.current is not None
    wait_for_loading()
    after = serving.current.rank(FOUND, UNKNOWN_USER, NOW)
    assert (after.item_vectors, after.interests) == (version, before.interests)
    assert after.item_index == serving.current.item_index not in (None, before.item_index)
    assert {item.because_of for item in after.items if item.source != "recent-likes"} == {NEW, 40}
