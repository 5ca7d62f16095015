"""Replays of the funnel with published catalogues and interests: each query has those that there were."""

from dataclasses import replace

import pytest

from rankstream.evaluation.leakage import LeakError
from rankstream.evaluation.replay.outcomes import ALL
from rankstream.evaluation.replay.plan import (
    ProtocolChoice,
    ReplayOptions,
    folders_of,
    known_items,
    plan_of,
    variants_of,
)
from rankstream.evaluation.replay.run import replay
from rankstream.evaluation.replay.variants import ReplayError
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.table_folders import TableFolders
from tests.builders.bundle import AS_OF_MS, a_bundle
from tests.builders.catalogue import an_item, published
from tests.builders.graph import publish_boards
from tests.builders.interests import interests, publish_of
from tests.builders.replay import ALog

HOUR = 3_600_000
OPTIONS = ReplayOptions(
    protocol="funnel", positives=("save",), from_ms=AS_OF_MS, until_ms=None, requests=None, sample=100,
    exclude_seen=False, session_gap_ms=HOUR, delays=(0,), ks=(10,), seed=1, allow_leak=False, interleave=False,
    limit=20, refresh_ms=0,
)  # fmt: skip
WARM = [an_item(n) for n in range(1, 41)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_bundle(a_bundle(tmp_path_factory.mktemp("bundle")))


def outcomes(bundle, rows, options=OPTIONS, **folders):
    """Replay the funnel with the tables in these folders; return the outcomes of the one variant, and the marks."""
    beside = [TableFolders(**folders)]
    variants, _, marks = variants_of([bundle.folder], [bundle], beside, options, 100)
    catalogue = known_items([bundle], beside)
    plan = plan_of([bundle], variants, catalogue, options, ProtocolChoice("funnel"))
    return replay(ALog(rows), variants, plan).outcomes.variants[variants[0].name], marks


def test_a_new_item_is_found_from_the_version_on_that_has_it(bundle, tmp_path):
    published(tmp_path, *WARM, as_of_ms=AS_OF_MS)
    published(tmp_path, *WARM, an_item("new", created_at_ms=AS_OF_MS + HOUR), as_of_ms=AS_OF_MS + HOUR)
    rows = [(f"u{n}", "new", "save", AS_OF_MS + n * HOUR // 2) for n in range(1, 5)]
    found, marks = outcomes(bundle, rows, catalogue=tmp_path)
    assert found.column(ALL, "found by new").tolist() == [0, 1, 1, 1]
    assert found.column(ALL, "found").tolist() == [0, 1, 1, 1]
    assert marks == []


def test_a_user_is_proposed_what_is_near_to_the_interests_that_there_were(bundle, tmp_path):
    publish_of(tmp_path, {"u1": interests((5, 1.0))}, as_of_ms=AS_OF_MS)
    rows = [("u1", 5, "save", AS_OF_MS + HOUR), ("u2", 5, "save", AS_OF_MS + 2 * HOUR)]
    found, _ = outcomes(bundle, rows, interests=tmp_path)
    assert found.column(ALL, "found by interest").tolist() == [1, 0]  # of user 2 nothing is known


def test_walks_go_on_the_graph_that_there_was(bundle, tmp_path):
    publish_boards(tmp_path, [("b1", 5), ("b1", 6)], as_of_ms=AS_OF_MS)
    publish_boards(tmp_path, [("b1", 5), ("b1", 7)], as_of_ms=AS_OF_MS + 2 * HOUR)
    rows = [(user, item, "save", AS_OF_MS + hour * HOUR)
            for user, hour in (("u1", 1), ("u2", 3)) for hour, item in ((hour, 5), (hour + 0.5, 6))]  # fmt: skip
    found, _ = outcomes(bundle, [(*row[:3], int(row[3])) for row in rows], graph=tmp_path)
    assert found.column(ALL, "found by board-walk").tolist() == [0, 1, 0, 0]  # of nobody's first; 6 is gone later


@pytest.mark.parametrize("table", ["catalogue", "interests", "graph"])
def test_what_knows_more_than_the_first_query_is_refused_or_marked(table, bundle, tmp_path):
    if table == "catalogue":
        published(tmp_path, *WARM, as_of_ms=AS_OF_MS + HOUR)
    elif table == "graph":
        publish_boards(tmp_path, [("b1", 5), ("b1", 6)], as_of_ms=AS_OF_MS + HOUR)
    else:
        publish_of(tmp_path, {"u1": interests((5, 1.0))}, as_of_ms=AS_OF_MS + HOUR)
    rows = [("u1", 5, "save", AS_OF_MS + 1)]
    with pytest.raises(LeakError, match="hold events until 2023-11-14 23:13:20"):
        outcomes(bundle, rows, **{table: tmp_path})
    _, marks = outcomes(bundle, rows, replace(OPTIONS, allow_leak=True), **{table: tmp_path})
    assert marks[0].startswith("LEAK: ")


def test_interests_among_other_items_are_refused(bundle, tmp_path):
    publish_of(tmp_path, {"u1": interests((5, 1.0))}, space="another")
    with pytest.raises(BrokenTableError, match="were found among the items 'another'"):
        outcomes(bundle, [("u1", 5, "save", AS_OF_MS + 1)], interests=tmp_path)


def test_what_the_protocol_would_not_ask_is_refused_and_so_is_a_folder_too_many(bundle, tmp_path):
    published(tmp_path, *WARM, as_of_ms=AS_OF_MS)
    with pytest.raises(ReplayError, match="only --protocol funnel asks for that"):
        outcomes(bundle, [], replace(OPTIONS, protocol="catalogue"), catalogue=tmp_path)
    with pytest.raises(ReplayError, match="2 --item-vectors for 3 --bundle; give one for all, or one each"):
        folders_of(3, {"item_vectors": [tmp_path, tmp_path]})
