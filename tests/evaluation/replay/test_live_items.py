"""Replays with published item vectors: each query sees the version that there was, and none that was still to come."""

from functools import partial

import pytest

from rankstream.evaluation.leakage import ItemTables, LeakError
from rankstream.evaluation.point_in_time import LiveRankerAsOf, RankerAsOf, no_table
from rankstream.evaluation.replay.candidates import Catalogue, whole
from rankstream.evaluation.replay.outcomes import ALL
from rankstream.evaluation.replay.plan import item_vectors, known_items
from rankstream.evaluation.replay.protocols import NextPositive, bits
from rankstream.evaluation.replay.run import Plan, replay
from rankstream.evaluation.replay.variants import DelayedPipeline, Variant
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.ids import id_keys
from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.serving import ranker_of
from rankstream.ranking.table_folders import TableFolders
from tests.builders.bundle import AS_OF_MS, VOCABULARY, a_bundle
from tests.builders.live_items import NEW, publish_described, publish_items
from tests.builders.replay import ALog

HOUR = 3_600_000
SAVE = bits([VOCABULARY.action_codes["save"]])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_bundle(a_bundle(tmp_path_factory.mktemp("bundle")))


@pytest.fixture
def root(tmp_path):
    """Versions as of one and of two hours after the training; the second one knows another item."""
    publish_items(tmp_path, as_of_ms=AS_OF_MS + HOUR)
    publish_items(tmp_path, [NEW, "newer"], as_of_ms=AS_OF_MS + 2 * HOUR)
    return tmp_path


class Ids(list):
    """Items that a catalogue names."""

    def ids(self, rows):
        return [self[row] for row in rows]


def delayed_by_nothing(bundle):
    return DelayedPipeline(LiveRankerAsOf(VOCABULARY, ranker_of(bundle, NoVectors(8))), 0, 100)


def known_at(ranker, *items):
    return ranker.offline.items.look_up(id_keys(items))[1].tolist()


def test_a_ranker_has_the_vectors_that_there_were_and_before_the_first_the_bundles(bundle, root):
    rankers = RankerAsOf(bundle, no_table, items=item_vectors(root, bundle))
    before, between, after = (rankers.at(AS_OF_MS + HOUR * n - 1) for n in (1, 2, 3))
    assert [known_at(ranker, 1, NEW, "newer") for ranker in (before, between, after)] == [
        [True, False, False], [True, True, False], [True, True, True]
    ]  # fmt: skip
    assert before.item_vectors is None
    assert between.item_vectors < after.item_vectors
    assert rankers.at(AS_OF_MS + 4 * HOUR) is after  # no ranker is made anew without need


def test_a_new_item_can_be_found_from_its_publication_on_and_not_before(bundle, root):
    serving = LiveRankerAsOf(VOCABULARY, ranker_of(bundle, NoVectors(8)))
    delayed = DelayedPipeline(serving, 0, 100)
    variant = Variant("it", bundle, no_table, delayed, items=item_vectors(root, bundle))
    rows = [(f"u{n}", NEW, "save", AS_OF_MS + n * HOUR // 2) for n in range(1, 6)]
    catalogue = known_items([bundle], [TableFolders(item_vectors=root)])
    plan = Plan(
        protocol=partial(NextPositive, SAVE), select=whole(catalogue, exclude_seen=False), vocabulary=VOCABULARY,
        positives=SAVE, heads={"save": VOCABULARY.action_codes["save"]}, from_ms=AS_OF_MS, max_queries=None,
    )  # fmt: skip
    found = replay(ALog(rows), [variant], plan).outcomes.variants["it"].column(ALL, "mrr")
    assert [rank > 0 for rank in found.tolist()] == [False, True, True, True, True]


@pytest.mark.parametrize("described", [True, False])
def test_a_withheld_item_is_found_by_what_it_is_and_by_nothing_where_no_version_says_so(bundle, tmp_path, described):
    publish_described(tmp_path, [NEW] if described else ["another"])
    variant = Variant("it", bundle, no_table, delayed_by_nothing(bundle), items=item_vectors(tmp_path, bundle))
    rows = [
        row for n in range(4) for row in ((f"u{n}", 3, "click", AS_OF_MS + n), (f"u{n}", NEW, "save", AS_OF_MS + 9))
    ]
    plan = Plan(
        protocol=partial(NextPositive, SAVE), select=whole(Catalogue([bundle.items, Ids([NEW])]), exclude_seen=False),
        vocabulary=VOCABULARY, positives=SAVE, heads={}, from_ms=AS_OF_MS, max_queries=None, retrieve=10,
    )  # fmt: skip
    found = replay(ALog(rows), [variant], plan).outcomes.variants["it"]
    assert found.column(ALL, "found").tolist() == [float(described)] * 4
    assert found.column(ALL, "found by described").tolist() == [float(described)] * 4
    assert found.column(ALL, "found by recent-likes").tolist() == [0.0] * 4


def test_a_version_whose_time_can_not_be_true_is_refused_as_a_leak(bundle, tmp_path):
    publish_items(tmp_path, as_of_ms=AS_OF_MS // 1_000)
    with pytest.raises(LeakError, match="seconds that were read as milliseconds"):
        item_vectors(tmp_path, bundle)


def test_another_space_and_a_folder_without_versions_are_refused(bundle, tmp_path):
    with pytest.raises(BrokenTableError, match="holds no version of item vectors"):
        ItemTables(tmp_path / "nowhere", bundle)
    publish_items(tmp_path, space="another")
    with pytest.raises(BrokenTableError, match="are of the space 'another'"):
        item_vectors(tmp_path, bundle)
