"""Bundles whose names don't fit the states that there are, swapped in under running workers."""

import pytest

from rankstream.features.actions import Vocabulary
from rankstream.ranking.bundle import use_bundle
from rankstream.streams.topics import ACTIONS
from rankstream.streams.worker.vocabulary_guard import keep_vocabulary
from tests.builders.bundle import VOCABULARY, a_bundle
from tests.kafka.harness import wait_until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(90)]


def test_a_bundle_with_names_that_only_the_states_know_is_refused_and_the_old_one_goes_on(bench):
    """They were written by one that served before this process did: nothing in memory tells."""
    bundles, longer = bench.folder / "bundles", Vocabulary((*VOCABULARY.actions, "share"), VOCABULARY.surfaces)
    keep_vocabulary(bench.folder / "state" / bench.settings.app_id, longer)
    a_bundle(bundles / "shorter", model_version="shorter")
    a_bundle(bundles / "other", vocabulary=Vocabulary((*VOCABULARY.actions, "buy"), VOCABULARY.surfaces))
    bench.create_topics()
    use_bundle(bundles, "shorter")
    worker = bench.worker(SERVE="1", RANKSTREAM_BUNDLE=str(bundles))
    worker.wait_ready()
    use_bundle(bundles, "other")
    # whoever asks has new bundles looked for
    wait_until(lambda: bench.send_requests(1) or "model shorter goes on" in worker.log, "it is refused", every_s=0.5)
    bench.send_actions(20)
    bench.wait_committed(20, ACTIONS)
    assert worker.terminate() == 0, worker
    assert "were written with the actions view, click, save, hide, share, but" in worker.log
