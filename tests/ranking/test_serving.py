import logging
import threading

import pytest

from rankstream.features.actions import Vocabulary
from rankstream.features.user_state import UNKNOWN_USER
from rankstream.ranking.bundle import BundleRefusedError, use_bundle
from rankstream.ranking.request import RankingRefusedError, RankingRequest
from rankstream.ranking.serving import LiveRanker
from tests.builders.bundle import VOCABULARY, a_bundle, a_user_table

NOW = 1_700_000_100_000
REQUEST = RankingRequest("r", "u1", candidates=(3, 1, 2))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def wait_for_loading():
    for thread in threading.enumerate():
        if thread.name == "rankstream-bundle":
            thread.join(10)


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
