"""A bundle that was trained with a file of users: it keeps what users are, and serves what training saw."""

import shutil
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from rankstream.bundles.manifest import MANIFEST, read_manifest, write_manifest
from rankstream.bundles.profiles import PROFILES
from rankstream.evaluation.audit.occlusion import NO_PROFILE, effects, occluded
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.join import join, match_user
from rankstream.features.profiles import PROFILE_FILES
from rankstream.features.user_state import UNKNOWN_USER
from rankstream.ranking.bundle import BundleRefusedError, open_bundle
from rankstream.ranking.request import RankingRequest
from rankstream.ranking.serving import ranker_of
from tests.builders.actions import MORNING_MS
from tests.builders.bundle import a_bundle
from tests.builders.item_counts import a_following_bundle
from tests.builders.profiles import some_profiles


@pytest.fixture(scope="module")
def profiles(tmp_path_factory):
    return some_profiles(tmp_path_factory.mktemp("users"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, profiles):
    return a_following_bundle(tmp_path_factory.mktemp("b") / "bundle", [], profiles=profiles)


@pytest.fixture(scope="module")
def ranker(bundle):
    opened = open_bundle(bundle)
    return ranker_of(opened, NoVectors(opened.manifest.sizes.user_dim))


def test_a_user_who_never_did_anything_is_told_from_others_by_what_he_is(ranker):
    feeds = [ranker.rank(RankingRequest("r", user, candidates=(2,)), UNKNOWN_USER, MORNING_MS) for user in (3, 7, 777)]
    woman, man, unknown = (feed.items[0].score for feed in feeds)
    assert woman > man + 0.1
    assert man == unknown  # the tiny ranker weighs the first label alone


def test_what_is_served_is_what_was_joined_in_training(ranker, profiles):
    """The profiles as training makes them and as read from the bundle: the same inputs, to the bit."""
    served, candidates = ranker.offline, np.arange(1, 9, dtype=np.uint64)
    trained = replace(served, profiles=profiles)
    inputs, same = (join(match_user(UNKNOWN_USER, 3, MORNING_MS, one), candidates, one) for one in (served, trained))
    assert inputs.digest() == same.digest()
    assert inputs.context[-profiles.width :].any()


def test_an_explanation_tells_what_it_adds_to_a_score(ranker):
    request = RankingRequest("r", 3, candidates=(2, 3))
    base = ranker.rank(request, UNKNOWN_USER, MORNING_MS)
    found = effects([2], base, occluded(ranker, request, UNKNOWN_USER, MORNING_MS, []))
    assert next(one.score for one in found["2"] if one.of == NO_PROFILE) > 0.1


@pytest.mark.parametrize("name", PROFILE_FILES)
def test_a_changed_file_is_refused(bundle, tmp_path, name):
    copied = shutil.copytree(bundle, tmp_path / "copy")
    path = copied / PROFILES / name
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    with pytest.raises(BundleRefusedError, match=rf"{name} was changed after the export"):
        open_bundle(copied)


def test_a_bundle_that_lost_them_is_refused(bundle, tmp_path):
    copied = shutil.copytree(bundle, tmp_path / "copy")
    parts = tuple(one for one in read_manifest(copied).parts if one.kind != PROFILES)
    write_manifest(copied, msgspec.structs.replace(read_manifest(copied), parts=parts))
    with pytest.raises(BundleRefusedError, match="lists no part 'profiles', which serving needs"):
        open_bundle(copied)


def test_a_bundle_without_profiles_is_as_ever_to_the_byte(tmp_path):
    """An earlier version, whose sizes had no such field, computes the same checksum."""
    assert b"profile" not in (a_bundle(tmp_path) / MANIFEST).read_bytes()
    assert not open_bundle(tmp_path).profiles.width
