"""A bundle that was trained with a catalogue: it keeps what items are, and serves what training saw."""

import shutil
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from rankstream.bundles.attributes import ATTRIBUTES, COLUMNS
from rankstream.bundles.manifest import read_manifest, write_manifest
from rankstream.evaluation.audit.occlusion import NO_ATTRIBUTES, effects, occluded
from rankstream.features.attributes.table import ATTRIBUTE_FILES
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.join import columns_of_attributes, join, match_user
from rankstream.models.items.attributes import item_attributes
from rankstream.ranking.bundle import BundleRefusedError, open_bundle
from rankstream.ranking.request import RankingRequest
from rankstream.ranking.serving import ranker_of
from tests.builders.actions import MORNING_MS, a_state, an_action
from tests.builders.bundle import VOCABULARY
from tests.builders.catalogue import a_catalogue, an_item
from tests.builders.item_counts import a_following_bundle, log_of

ODD = "category, level 1: recent"
CATALOGUE = a_catalogue(*(an_item(n, category=("even", "odd")[n % 2], price=1.0 * n) for n in range(1, 50)))
NOW_MS = MORNING_MS + 60_000


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    attributes = item_attributes(CATALOGUE, log_of([]))
    return a_following_bundle(tmp_path_factory.mktemp("b") / "bundle", [], attributes=attributes, by={ODD: 2.0})


@pytest.fixture(scope="module")
def ranker(bundle):
    opened = open_bundle(bundle)
    return ranker_of(opened, NoVectors(opened.manifest.sizes.user_dim))


def test_the_feed_follows_the_category_that_the_user_acts_on(ranker):
    request = RankingRequest("r", 7, candidates=(2, 3, 4, 5))
    feeds = [ranker.rank(request, a_state(an_action(item, 1)), NOW_MS) for item in (9, 8)]
    assert [[item.item_id for item in feed.items[:2]] for feed in feeds] == [[3, 5], [2, 4]]


def test_an_item_that_only_the_catalogue_knows_is_told_from_others(ranker):
    request = RankingRequest("r", 7, candidates=(44, 45, 777))  # the item table ends with 40
    feed = ranker.rank(request, a_state(an_action(9, 1)), NOW_MS)
    assert feed.items[0].item_id == 45
    assert feed.items[1].score == feed.items[2].score


def test_what_is_served_is_what_was_joined_in_training(ranker):
    """The same attributes as training makes them and as read from the bundle: the same inputs, to the bit."""
    served = ranker.offline
    trained = replace(served, attributes=item_attributes(CATALOGUE, log_of([])))
    user, candidates = a_state(an_action(9, 1), an_action(4, 2)), np.arange(1, 60, dtype=np.uint64)
    inputs, same = (join(match_user(user, 7, NOW_MS, one), candidates, one) for one in (served, trained))
    assert inputs.digest() == same.digest()
    columns = columns_of_attributes(served.sizes, len(VOCABULARY.actions))
    assert inputs.candidate_features[:49, columns].any(axis=1).all()
    assert not inputs.candidate_features[49:, columns].any()  # no item of the catalogue


def test_an_explanation_tells_what_they_add_to_a_score(ranker):
    request, user = RankingRequest("r", 7, candidates=(2, 3)), a_state(an_action(9, 1))
    base = ranker.rank(request, user, NOW_MS)
    found = effects([2, 3], base, occluded(ranker, request, user, NOW_MS, []))
    added = {item: next(one.score for one in of if one.of == NO_ATTRIBUTES) for item, of in found.items()}
    assert added["2"] == 0
    assert added["3"] > 0.1


@pytest.mark.parametrize("name", ATTRIBUTE_FILES)
def test_a_changed_file_is_refused(bundle, tmp_path, name):
    copied = shutil.copytree(bundle, tmp_path / "copy")
    path = copied / ATTRIBUTES / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleRefusedError, match=rf"{name} was changed after the export"):
        open_bundle(copied)


def seal(folder, parts):
    return write_manifest(folder, msgspec.structs.replace(read_manifest(folder), parts=parts))


def test_columns_of_another_version_are_refused(bundle, tmp_path):
    copied = shutil.copytree(bundle, tmp_path / "copy")
    parts = read_manifest(copied).parts
    fewer = [msgspec.structs.replace(one, facts=one.facts | {COLUMNS: 2}) for one in parts if one.kind == ATTRIBUTES]
    seal(copied, (*(one for one in parts if one.kind != ATTRIBUTES), *fewer))
    with pytest.raises(BundleRefusedError, match=r"trained with .* match features, this version computes"):
        open_bundle(copied)


def test_a_bundle_that_lost_them_is_refused(bundle, tmp_path):
    copied = shutil.copytree(bundle, tmp_path / "copy")
    seal(copied, tuple(one for one in read_manifest(copied).parts if one.kind != ATTRIBUTES))
    with pytest.raises(BundleRefusedError, match=r"trained with .* match features, this version computes"):
        open_bundle(copied)
