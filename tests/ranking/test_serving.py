import logging
import os
import shutil
import threading
import time
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import UNSET

from rankstream.bundles.manifest import read_manifest, write_manifest
from rankstream.features.actions import Vocabulary, pack_action
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.embeddings.table import publish
from rankstream.features.ids import id_key, id_keys
from rankstream.features.interests.table import open_interests
from rankstream.features.join import join
from rankstream.features.schema import ModelInputs
from rankstream.features.user_state import UNKNOWN_USER
from rankstream.ranking.bundle import BundleRefusedError, open_bundle, use_bundle
from rankstream.ranking.request import RankingRefusedError, RankingRequest
from rankstream.ranking.served_versions import ServedVersion
from rankstream.ranking.serving import LiveRanker, ranker_of
from tests.builders.bundle import VOCABULARY, a_bundle, a_user_table, vectors_of
from tests.builders.catalogue import an_item, published
from tests.builders.graph import publish_boards
from tests.builders.interests import publish_some as publish_interests_of
from tests.builders.item_counts import publish_some, some_counts
from tests.builders.live_items import publish_items
from tests.builders.threads import wait_for_threads

NOW = 1_700_000_100_000
REQUEST = RankingRequest("r", "u1", candidates=(3, 1, 2))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def wait_for_loading():
    wait_for_threads("rankstream-bundle")


def test_a_new_bundle_takes_over_and_who_holds_the_old_ranker_keeps_it(tmp_path):
    serving = LiveRanker.open(a_bundle(tmp_path))
    old = serving.current
    before = old.rank(REQUEST, UNKNOWN_USER, NOW)
    a_bundle(tmp_path, model_version="tiny-2", seed=1)
    assert serving.reload()
    assert serving.current.model_version == "tiny-2"
    assert serving.current.offline.sessions is serving.sessions
    assert serving.sessions.tag != old.offline.sessions.tag
    assert old.rank(REQUEST, UNKNOWN_USER, NOW).items == before.items


def test_a_bundle_that_was_made_current_is_noticed(tmp_path):
    clock = Clock()
    for name in ("one", "two"):
        a_bundle(tmp_path / name, model_version=name)
    use_bundle(tmp_path, "one")
    serving = LiveRanker.open(tmp_path, clock=clock, check_every_s=2)
    use_bundle(tmp_path, "two")
    assert serving.current.model_version == "one"
    clock.now = 3
    assert serving.current.model_version in ("one", "two")
    wait_for_loading()
    assert serving.current.model_version == "two"


def test_a_bad_bundle_is_refused_once_and_the_old_one_goes_on(tmp_path, caplog):
    clock = Clock()
    for name in ("one", "two"):
        a_bundle(tmp_path / name, model_version=name)
    use_bundle(tmp_path, "one")
    serving = LiveRanker.open(tmp_path, clock=clock, check_every_s=2)
    (tmp_path / "two" / "user.onnx").write_bytes(b"cut")
    use_bundle(tmp_path, "two")
    for clock.now in (3, 6, 9):
        assert serving.current.model_version == "one"
        wait_for_loading()
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "user.onnx was changed after the export" in errors[0]
    assert errors[0].endswith("model one goes on")


def test_a_bundle_that_was_refused_half_copied_serves_once_it_is_whole_and_no_longer_changes(tmp_path, caplog):
    clock = Clock()
    for name in ("one", "two"):
        a_bundle(tmp_path / name, model_version=name)
    shutil.move(tmp_path / "two" / "items", tmp_path / "items")
    use_bundle(tmp_path, "one")
    serving = LiveRanker.open(tmp_path, clock=clock, check_every_s=2)
    use_bundle(tmp_path, "two")

    def served_at(now: int) -> str:
        clock.now = now
        _ = serving.current
        wait_for_loading()
        return serving.current.model_version

    assert served_at(3) == "one"
    shutil.move(tmp_path / "items", tmp_path / "two" / "items")
    assert served_at(6) == "one"  # it has just changed, so it may change again
    assert served_at(9) == "two"
    assert len([one for one in caplog.records if one.levelno == logging.ERROR]) == 1


def test_files_that_are_copied_over_while_they_serve_end_no_worker(tmp_path):
    serving = LiveRanker.open(a_bundle(tmp_path))
    before = serving.current.rank(REQUEST, UNKNOWN_USER, NOW)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)  # how `cp` begins; whoever reads a map of it dies of SIGBUS
    assert serving.current.rank(REQUEST, UNKNOWN_USER, NOW).items == before.items


@pytest.mark.parametrize("name", ["../two", "/two", ".", "", ".two", "two/"])
def test_a_name_that_no_worker_would_follow_is_refused_at_once(tmp_path, name):
    a_bundle(tmp_path / "one" / "two")
    with pytest.raises(BundleRefusedError, match="is no name of a folder"):
        use_bundle(tmp_path / "one", name)


def test_a_bundle_may_add_or_lack_actions_but_never_change_a_code(tmp_path):
    serving = LiveRanker.open(a_bundle(tmp_path))

    def is_served(*actions):
        a_bundle(tmp_path, vocabulary=Vocabulary(actions, VOCABULARY.surfaces))
        return serving.reload() and serving.vocabulary.actions == actions

    assert not is_served("click", "view", "save", "hide")
    assert serving.vocabulary == VOCABULARY
    assert is_served("view", "click", "save", "hide", "share")
    assert is_served("view", "click", "save", "hide")
    assert not is_served("view", "click", "save", "hide", "buy")  # states hold 5 as "share" by now


def test_user_vectors_are_used_if_they_are_of_the_bundles_space(tmp_path):
    bundle = a_bundle(tmp_path / "bundle")
    for space, found in (("tiny-users", True), ("another", False)):
        serving = LiveRanker.open(bundle, a_user_table(tmp_path / space, ["u1"], space=space))
        assert serving.current.rank(REQUEST, UNKNOWN_USER, NOW).user_vector_found is found


def test_item_counts_are_followed_and_an_answer_names_its_version(tmp_path):
    clock = Clock()
    serving = LiveRanker.open(a_bundle(tmp_path / "bundle"), item_counts=tmp_path / "counts", clock=clock)
    own = serving.current
    assert own.rank(REQUEST, UNKNOWN_USER, NOW).item_counts is None
    version = publish_some(tmp_path / "counts", seed=5)
    clock.now = 1.5
    assert serving.current.item_counts in (None, version)
    wait_for_loading()
    counted = serving.current
    features = some_counts(seed=5).item_features
    assert counted.rank(REQUEST, UNKNOWN_USER, NOW).item_counts == version
    inputs = counted.rank(REQUEST, UNKNOWN_USER, NOW).inputs
    assert np.array_equal(inputs.candidate_features[:, :2], features.look_up(id_keys(REQUEST.candidates))[0])
    assert own.rank(REQUEST, UNKNOWN_USER, NOW).item_counts is None
    assert counted.offline.sessions is own.offline.sessions  # states do not depend on a version
    assert counted.offline.items is own.offline.items


def test_what_serves_is_named_with_the_time_that_it_is_of(tmp_path):
    alone = LiveRanker.open(a_bundle(tmp_path / "b", model_version="tiny-7"))
    trained_ms = read_manifest(tmp_path / "b").trained_until_ms
    assert alone.versions() == {"model": ServedVersion("tiny-7", trained_ms)}
    vectors = a_user_table(tmp_path / "vectors", ["u1"])
    publish_some(tmp_path / "counts", seed=5)
    serving = LiveRanker.open(tmp_path / "b", vectors, tmp_path / "counts")
    found = serving.versions()
    assert set(found) == {"model", "user_vectors", "item_counts"}
    assert found["item_counts"].version == serving.current.item_counts
    assert all(one.as_of_ms is not None for one in found.values())
    assert LiveRanker.without_bundle(VOCABULARY).versions() == {"model": ServedVersion("none", None)}


def wait_for_looks():
    wait_for_threads("rankstream-bundle", "rankstream-table", "rankstream-catalogue")


def test_what_was_published_since_is_there_for_the_next_request_though_none_came_between(tmp_path):
    clock, folders = Clock(), {name: tmp_path / name for name in ("item_vectors", "catalogue", "interests", "graph")}
    use_bundle(a_bundle(tmp_path / "one", model_version="one").parent, "one")
    vectors, counts = tmp_path / "vectors", tmp_path / "counts"
    serving = LiveRanker.open(tmp_path, vectors, counts, **folders, clock=clock)
    a_user_table(vectors, ["u1"])
    publish_some(counts, seed=5)
    publish_items(folders["item_vectors"])
    published(folders["catalogue"], an_item(1))
    publish_interests_of(folders["interests"], ["u1"], seed=5)
    publish_boards(folders["graph"], [("b", 5), ("b", 6)])
    clock.now = 3
    serving.keep_up()
    wait_for_looks()
    tables = {"user_vectors", "item_counts", "item_vectors", "catalogue", "interests", "graph"}
    assert set(serving.versions()) == {"model", *tables}
    use_bundle(a_bundle(tmp_path / "two", model_version="two").parent, "two")
    clock.now = 6
    serving.keep_up()
    wait_for_looks()
    assert serving.current.model_version == "two"


@pytest.mark.parametrize("spoiled", ["broken", "another space", "other widths"])
def test_counts_that_cannot_serve_are_refused_once_and_those_in_use_go_on(spoiled, tmp_path, caplog):
    clock, root = Clock(), tmp_path / "counts"
    first = publish_some(root, seed=5)
    serving = LiveRanker.open(a_bundle(tmp_path / "bundle"), item_counts=root, clock=clock)
    if spoiled == "broken":
        (root / publish_some(root, seed=6) / "features.f16").write_bytes(b"short")
    else:
        publish_some(root, seed=6, **({"space": "another"} if spoiled == "another space" else {"width": 1}))
    for clock.now in (3, 6, 9):
        assert serving.current.item_counts == first
        wait_for_loading()
    (error,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert error.endswith(f"version {first} serves")
    assert "publish" in error
    third = publish_some(root, seed=7)
    clock.now = 12
    assert serving.current.item_counts in (first, third)
    wait_for_loading()
    assert serving.current.item_counts == third


def test_a_new_bundle_serves_its_own_counts_until_matching_ones_come(tmp_path):
    root = tmp_path / "counts"
    publish_some(root, seed=5)
    serving = LiveRanker.open(a_bundle(tmp_path / "bundle"), item_counts=root)
    manifest = read_manifest(tmp_path / "bundle")
    a_bundle(tmp_path / "bundle", model_version="tiny-2")
    publish(tmp_path / "bundle" / "items", range(1, 201), vectors_of(200, 8, 9), space="new", as_of_ms=NOW)
    write_manifest(tmp_path / "bundle", msgspec.structs.replace(manifest, item_space="new", model_version="tiny-2"))
    assert serving.reload()
    assert (serving.current.model_version, serving.current.item_counts) == ("tiny-2", None)
    matching = publish_some(root, seed=6, space="new")
    assert serving.reload()
    assert serving.current.item_counts == matching


def test_interests_are_followed_and_an_answer_names_its_version_and_each_items_source(tmp_path):
    clock, root, wanted = Clock(), tmp_path / "interests", RankingRequest("r", "u1", limit=12)
    serving = LiveRanker.open(a_bundle(tmp_path / "bundle"), interests=root, clock=clock)
    before = serving.current.rank(wanted, UNKNOWN_USER, NOW)
    assert before.items == LiveRanker.open(tmp_path / "bundle").current.rank(wanted, UNKNOWN_USER, NOW).items
    assert before.interests is None
    assert {(item.source, item.because_of) for item in before.items} == {("popular:fallback", UNSET)}
    version = publish_interests_of(root, ["u1"], seed=5)
    for clock.now in (1.5, 3):
        _ = serving.current
        wait_for_loading()
    after = serving.current.rank(wanted, UNKNOWN_USER, NOW)
    assert after.interests == version
    medoids = set(open_interests(root).of(id_key("u1")).medoids.tolist())
    told = {item.source: item.because_of for item in after.items}
    assert len(told) == 3
    assert set(told.values()) < medoids
    given = serving.current.rank(REQUEST, UNKNOWN_USER, NOW)
    assert (given.interests, given.items[0].source) == (None, UNSET)


def test_a_graph_is_followed_an_answer_names_its_version_and_a_broken_one_is_refused_once(tmp_path, caplog):
    clock, root, wanted = Clock(), tmp_path / "graph", RankingRequest("r", "u1", limit=30)
    serving = LiveRanker.open(a_bundle(tmp_path / "bundle"), graph=root, clock=clock)
    liked = UNKNOWN_USER.apply([pack_action(NOW - 1, VOCABULARY.action_codes["save"], 5, 0, 0)], 0).state
    before = serving.current.rank(wanted, liked, NOW)
    assert (before.graph, {item.source for item in before.items}) == (None, {UNSET})
    version = publish_boards(root, [("b1", 5), ("b1", 6), ("b2", 6), ("b2", 7)])
    for clock.now in (1.5, 3):
        _ = serving.current
        wait_for_loading()
    after = serving.current.rank(wanted, liked, NOW)
    assert after.graph == version
    assert {item.item_id for item in after.items if item.source == "board-walk"} == {6, 7}
    (root / publish_boards(root, [("b1", 5), ("b1", 8)]) / "keys.u64").write_bytes(b"short")
    for clock.now in (6, 9, 12):
        assert serving.current.graph == version
        wait_for_loading()
    (error,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert error.endswith(f"version {version} serves")


@pytest.mark.parametrize("spoiled", ["broken", "another space"])
def test_interests_that_cannot_serve_are_refused_once_and_those_in_use_go_on(spoiled, tmp_path, caplog):
    clock, root = Clock(), tmp_path / "interests"
    first = publish_interests_of(root, ["u1"], seed=5)
    serving = LiveRanker.open(a_bundle(tmp_path / "bundle"), interests=root, clock=clock)
    if spoiled == "broken":
        (root / publish_interests_of(root, ["u1"], seed=6) / "users.u64").write_bytes(b"short")
    else:
        publish_interests_of(root, ["u1"], seed=6, space="another")
    for clock.now in (3, 6, 9):
        assert serving.current.interests == first
        wait_for_loading()
    (error,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert error.endswith(f"version {first} serves")
    assert "publish" in error
    third = publish_interests_of(root, ["u1"], seed=7)
    clock.now = 12
    assert serving.current.interests in (first, third)
    wait_for_loading()
    assert serving.current.interests == third


def test_answers_under_load_are_each_of_one_version_for_retrieval_join_and_record(tmp_path):
    """Versions are swapped in while threads ask; each answer is what its version alone gives."""
    clock, root, bundle = Clock(), tmp_path / "counts", a_bundle(tmp_path / "bundle")
    serving = LiveRanker.open(bundle, item_counts=root, clock=clock)
    state = UNKNOWN_USER.apply([pack_action(NOW - n * 1_000, 2, n, 0, 0) for n in range(3, 9)], 0).state
    wanted, done, answers = RankingRequest("r", "u1", limit=20), threading.Event(), []

    def ask():
        while not done.is_set():
            answers.append(serving.current.rank(wanted, state, NOW))

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    published = {None: None}
    for seed in range(5):
        published[publish_some(root, seed=seed)] = some_counts(seed)
        clock.now += 2
        count = len(answers)
        while serving.current.item_counts != list(published)[-1] or len(answers) < count + 20:
            clock.now += 2
            time.sleep(0.005)
    done.set()
    for asker in askers:
        asker.join()
    alone = {}
    for version, counts in published.items():
        named = counts if counts is None else replace(counts, version=version)
        alone[version] = ranker_of(open_bundle(bundle), NoVectors(8), counts=named).rank(wanted, state, NOW)
    assert {answer.item_counts for answer in answers} == set(published)
    assert len({alone[version].inputs.digest() for version in alone}) == 6
    for answer in answers:
        assert answer.inputs.digest() == alone[answer.item_counts].inputs.digest()
        assert answer.items == alone[answer.item_counts].items


def test_a_worker_does_not_start_with_a_bad_bundle(tmp_path):
    with pytest.raises(BundleRefusedError, match=r"manifest.json can't be read"):
        LiveRanker.open(tmp_path)


def test_without_a_bundle_the_order_of_candidates_stays(tmp_path):
    serving = LiveRanker.without_bundle(VOCABULARY)
    ranking = serving.current.rank(REQUEST, UNKNOWN_USER, NOW)
    assert [item.item_id for item in ranking.items] == [3, 1, 2]
    assert (ranking.model_version, serving.vocabulary, serving.reload()) == ("none", VOCABULARY, False)
    with pytest.raises(RankingRefusedError, match="can't propose items"):
        serving.current.rank(RankingRequest("r", "u1", limit=3), UNKNOWN_USER, NOW)


def test_what_is_swapped_in_is_joined_as_the_engine_joins(tmp_path):
    def other(*args: Any) -> ModelInputs:
        return join(*args)

    serving = LiveRanker.open(a_bundle(tmp_path), join=other)
    assert serving.current.join is other
    assert serving.reload()
    assert serving.current.join is other
