"""Bundles that are swapped in are compared with what all workers' states may hold, not with one process's memory."""

import asyncio

import pytest

from rankstream.features.actions import Vocabulary, VocabularyRefusedError
from rankstream.ranking.serving import LiveRanker
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.settings import Settings
from rankstream.streams.worker import admission
from rankstream.streams.worker.admission import Admission, Swaps
from rankstream.streams.worker.vocabulary_guard import KeptVocabulary, Names, keep_vocabulary
from tests.builders.bundle import VOCABULARY, a_bundle


@pytest.fixture
def changelog(monkeypatch):
    """What each partition's changelog says, by number; an exception in it is raised."""
    answers = [{}]

    async def answer(settings):
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(admission, "logged_names", answer)
    monkeypatch.setattr(admission, "ASK_AGAIN_S", 0.0)
    return answers


def admitted(tmp_path, serving):
    kept = KeptVocabulary(tmp_path / "states", lambda: serving.vocabulary)
    kept.keep()
    serving.admit_by(Admission(Settings(), kept).admit)
    return serving


def swapped(serving, bundle, *actions):
    a_bundle(bundle, model_version=actions[-1], vocabulary=Vocabulary(actions, VOCABULARY.surfaces))
    return serving.reload() and serving.vocabulary.actions == actions


def test_a_bundle_that_gives_codes_of_kept_states_other_names_is_never_swapped_in(tmp_path, changelog, caplog):
    """A longer one served before this process: a checkpoint would find it out too late, and end the worker."""
    keep_vocabulary(tmp_path / "states", Vocabulary((*VOCABULARY.actions, "share"), VOCABULARY.surfaces))
    serving = admitted(tmp_path, LiveRanker.open(a_bundle(tmp_path / "bundle")))
    assert not swapped(serving, tmp_path / "bundle", *VOCABULARY.actions, "buy")
    assert (serving.vocabulary, serving.refused_swaps) == (VOCABULARY, 1)
    assert "were written with the actions view, click, save, hide, share, but" in caplog.text
    assert caplog.text.rstrip().endswith("model tiny-1 goes on")
    assert swapped(serving, tmp_path / "bundle", *VOCABULARY.actions, "share")


def test_names_in_the_changelog_of_partitions_that_others_own_count_too(tmp_path, changelog, caplog):
    """Their heir may be this worker, and it would end, and so would the next one."""
    changelog[0] = {7: Names((*VOCABULARY.actions, "share"), VOCABULARY.surfaces)}
    serving = admitted(tmp_path, LiveRanker.open(a_bundle(tmp_path / "bundle")))
    assert not swapped(serving, tmp_path / "bundle", *VOCABULARY.actions, "buy")
    told = "partition 7 in the changelog user-state-changelog were written with the actions view, click, save, hide, "
    assert f"{told}share, but here they are view, click, save, hide, buy" in caplog.text
    assert swapped(serving, tmp_path / "bundle", *VOCABULARY.actions, "share")


def test_a_bundle_that_adds_no_name_asks_no_broker(tmp_path, changelog):
    changelog[0] = AssertionError("asked")
    serving = admitted(tmp_path, LiveRanker.open(a_bundle(tmp_path / "bundle")))
    assert swapped(serving, tmp_path / "bundle", *VOCABULARY.actions[:3])


def test_a_swap_waits_for_brokers_that_do_not_answer(tmp_path, changelog, caplog):
    changelog[:] = [ClientError("no broker answers"), TimeoutError(), {}]
    serving = admitted(tmp_path, LiveRanker.open(a_bundle(tmp_path / "bundle")))
    assert swapped(serving, tmp_path / "bundle", *VOCABULARY.actions, "share")
    assert caplog.text.count("the new bundle waits") == 1


def test_so_is_the_bundle_that_a_worker_starts_with(tmp_path, changelog):
    changelog[0] = {3: Names((*VOCABULARY.actions, "share"), VOCABULARY.surfaces)}
    other = Vocabulary((*VOCABULARY.actions, "buy"), VOCABULARY.surfaces)
    kept = KeptVocabulary(tmp_path, lambda: other)
    with pytest.raises(VocabularyRefusedError, match="partition 3 in the changelog user-state-changelog were written"):
        asyncio.run(Admission(Settings(), kept).at_start(other))
    assert not list(tmp_path.iterdir()), "names were kept that must not serve"


def test_a_worker_that_starts_again_with_the_names_that_it_kept_reads_no_changelog(tmp_path, changelog):
    kept = KeptVocabulary(tmp_path, lambda: VOCABULARY)
    asyncio.run(Admission(Settings(), kept).at_start(VOCABULARY))
    changelog[0] = AssertionError("asked")
    asyncio.run(Admission(Settings(), kept).at_start(VOCABULARY))


def test_what_serves_can_be_told(tmp_path):
    assert isinstance(LiveRanker.without_bundle(VOCABULARY), Swaps)
