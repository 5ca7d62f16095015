"""Items that nobody has acted on have places of their own in a feed, and what they are reaches the ranker, at once."""

from collections import Counter

import numpy as np
import pytest

from rankstream.features.described import DescribedItems
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.embeddings.table import EmbeddingTable, publish
from rankstream.features.ids import id_keys
from rankstream.features.join import join, match_user
from rankstream.models.items.attributes import attributes_of_new, item_attributes
from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.request import RankingRequest
from rankstream.ranking.retrieval_mix import DEFAULT_MIX, RetrievalMix
from rankstream.ranking.served_items import FollowedItems, published_items
from rankstream.ranking.serving import ranker_of
from tests.builders.actions import a_state, an_action
from tests.builders.bundle import a_bundle
from tests.builders.catalogue import DAY_MS, a_catalogue, an_item
from tests.builders.item_counts import a_following_bundle, log_of
from tests.builders.live_items import publish_described
from tests.ranking.test_attributes import CATALOGUE, NOW_MS, ODD
from tests.ranking.test_ranker import NOW, a_user

EXPECTED = [(0.5, n / 64) for n in range(40)]
NAMES = [f"described-{n}" for n in range(40)]
OLD_MS = NOW - 900 * DAY_MS
STOCK = [*(an_item(n, created_at_ms=OLD_MS) for n in range(1, 201)), *(an_item(name) for name in NAMES)]
YOUNG = [an_item(f"young-{n}", created_at_ms=NOW - DAY_MS) for n in range(30)]


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """Make a ranker whose item vectors describe forty items, beside a catalogue or without any."""
    folder = tmp_path_factory.mktemp("described")
    bundle = open_bundle(a_bundle(folder / "b"))
    publish_described(folder / "items", NAMES, features=np.array(EXPECTED, np.float32))
    items = published_items(EmbeddingTable.open(folder / "items"), folder / "items", bundle)

    def with_catalogue(*stock, mix=DEFAULT_MIX):
        catalogue = a_catalogue(*stock) if stock else None
        return ranker_of(bundle, NoVectors(8), catalogues=catalogue, mix=mix, items=items)

    return with_catalogue


def sources_of(ranker, limit=100):
    feed = ranker.rank(RankingRequest("r", "u1", limit=limit), a_user(5, 6), NOW)
    assert feed.unknown_items == sum(str(item.item_id).startswith("young") for item in feed.items)
    for item in feed.items:
        assert (item.source == "described") == str(item.item_id).startswith("described")
    return Counter(item.source for item in feed.items), feed


def test_they_share_the_places_of_new_items_with_those_that_are_sampled(described):
    assert sources_of(described(*STOCK, *YOUNG))[0] == {"recent-likes": 85, "described": 8, "new": 2, "popular": 5}
    assert sources_of(described(*STOCK))[0] == {"recent-likes": 85, "described": 10, "popular": 5}


def test_they_are_found_without_a_catalogue_too_and_the_answer_names_the_shares(described):
    found, feed = sources_of(described())
    assert found == {"recent-likes": 90, "described": 10}
    assert feed.retrieval == DEFAULT_MIX.text


def test_without_places_for_new_items_none_is_proposed(described):
    mix = RetrievalMix(new_share=0.0)
    assert sources_of(described(*STOCK, mix=mix))[0] == {"recent-likes": 95, "popular": 5}
    assert sources_of(described(mix=mix))[0].keys() == {"recent-likes"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle of items 1 to 40 whose ranker follows the category that the user acts on."""
    attributes = item_attributes(CATALOGUE, log_of([]))
    folder = tmp_path_factory.mktemp("b") / "bundle"
    return open_bundle(a_following_bundle(folder, [], attributes=attributes, by={ODD: 2.0}))


def publish_new(root, bundle, attributes):
    """Publish the bundle's items and two new ones, with what they are."""
    base, keys = bundle.items, id_keys(["new even", "new odd"])
    said = DescribedItems.of(keys, attributes)
    ids, vectors = [*base.ids(np.arange(len(base))), "new even", "new odd"], np.ones((2, base.dim))
    both = np.concatenate([base.vectors, vectors])
    publish(root, ids, both, space=base.space, as_of_ms=NOW_MS, meta=said.meta, beside=said.beside)


NEW = a_catalogue(an_item("new even", category="even", price=9.0), an_item("new odd", category="odd", price=9.0))


def test_what_a_new_item_is_reaches_the_ranker_before_the_next_training(bundle, tmp_path):
    publish_new(tmp_path, bundle, attributes_of_new(NEW, bundle.attributes))
    items = FollowedItems(tmp_path).of(bundle)
    request, state = RankingRequest("r", 7, candidates=("new even", "new odd", 3, 4)), a_state(an_action(9, 1))
    before, after = (ranker_of(bundle, NoVectors(8), items=one).rank(request, state, NOW_MS) for one in (None, items))
    scores = [{item.item_id: item.score for item in feed.items} for feed in (before, after)]
    assert scores[0]["new even"] == scores[0]["new odd"]
    assert scores[1]["new odd"] > scores[1]["new even"]
    assert [scores[1][item] for item in (3, 4)] == [scores[0][item] for item in (3, 4)]  # to the bit


def test_the_ranker_sees_the_counts_to_expect_and_those_of_others_as_they_are(described):
    ranker, keys = described(*STOCK), id_keys([5, NAMES[0], "nobody"])
    features, _ = ranker.offline.item_features.look_up(keys)
    assert features[1:].tolist() == [list(EXPECTED[0]), [0.0, 0.0]]
    assert features[0].any()
    assert ranker.popularity.look_up(keys)[1].tolist() == [True, False, False]  # popular is what was acted on


def test_kernels_give_the_ranker_the_same_bytes(described):
    pytest.importorskip("numba", reason="numba is not installed: pip install 'rankstream[fast]'")
    from rankstream.features.compiled.join import can_put, compiled_join

    offline, keys = described(*STOCK).offline, id_keys([5, NAMES[0], "nobody", NAMES[39]])
    matches = match_user(a_user(5, 6), 1, NOW, offline)
    assert can_put(offline.item_features)
    assert compiled_join(matches, keys, offline).digest() == join(matches, keys, offline).digest()


def test_what_new_items_are_by_another_trainings_labels_is_refused_and_the_bundles_own_serve(bundle, tmp_path, caplog):
    other = item_attributes(a_catalogue(*(an_item(n, category=("x", "y")[n % 2]) for n in range(1, 50))), log_of([]))
    publish_new(tmp_path, bundle, attributes_of_new(NEW, other))
    assert FollowedItems(tmp_path).of(bundle) is None
    assert "by the labels of another training" in caplog.text
    assert "the bundle's own serve" in caplog.text
    with pytest.raises(BrokenTableError, match="rankstream embed --items"):
        published_items(EmbeddingTable.open(tmp_path), tmp_path, bundle)
