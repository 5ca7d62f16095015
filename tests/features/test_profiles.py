"""What users are, as columns of a request's context."""

from dataclasses import replace

import numpy as np
import pytest

from rankstream.features.ids import id_key
from rankstream.features.join import columns_of_profiles, context, join, match_user
from rankstream.features.profiles import (
    PROFILE_FILES,
    UserProfiles,
    no_profiles,
    open_profiles,
    profiles_tag,
    write_profiles,
)
from rankstream.features.schema import CONTEXT_NAMES, check_inputs
from tests.builders.actions import MORNING_MS, a_state, an_action, an_erasure
from tests.builders.profiles import USERS, some_profiles
from tests.features.test_join import SIZES, TABLES


@pytest.fixture
def profiles(tmp_path):
    return some_profiles(tmp_path)


def test_a_user_has_a_one_for_each_of_his_labels(profiles):
    assert profiles.column_names == ("sex: F", "sex: M", "plan: free", "plan: other")
    assert [profiles.columns(user).tolist() for user in (3, 7)] == [[1, 0, 1, 0], [0, 1, 0, 1]]


def test_what_is_not_known_is_zeros_and_so_is_an_unknown_user(profiles):
    assert profiles.columns(9).tolist() == [0, 1, 0, 0]
    assert profiles.columns(id_key("nobody")).tolist() == [0, 0, 0, 0]
    assert profiles.of_no_user().columns(3).tolist() == [0, 0, 0, 0]


def test_the_profile_stands_behind_all_else_of_the_context(profiles):
    knowing = replace(TABLES, sizes=replace(SIZES, surfaces=2, profile_columns=profiles.width), profiles=profiles)
    user = match_user(a_state(an_action("a", 1)), 3, MORNING_MS + 2000, knowing)
    inputs = join(user, np.array([1], np.uint64), knowing, surface=2)
    check_inputs(inputs, knowing.sizes)
    assert inputs.context[len(CONTEXT_NAMES) :].tolist() == [0, 1, 1, 0, 1, 0]
    assert np.flatnonzero(columns_of_profiles(knowing.sizes)).tolist() == [
        len(CONTEXT_NAMES) + at for at in range(2, 6)
    ]


def test_of_an_erased_user_the_model_has_no_profile_any_more(profiles):
    knowing = replace(TABLES, profiles=profiles)
    erased = a_state(an_erasure(1), an_action("a", 2))
    assert match_user(a_state(an_action("a", 2)), 3, MORNING_MS + 3000, knowing).user.profile.any()
    assert not match_user(erased, 3, MORNING_MS + 3000, knowing).user.profile.any()


def test_without_profiles_the_context_is_as_ever_to_the_byte():
    user = match_user(a_state(an_action("a", 1)), 3, MORNING_MS + 2000, TABLES).user
    assert not len(user.profile)
    assert len(context(user, 0, SIZES)) == SIZES.context == len(CONTEXT_NAMES)
    assert not columns_of_profiles(SIZES).any()


def test_a_profile_may_be_that_of_another_key(profiles):
    """Training finds a user's vector by user and day, and strangers have no vector; the profile stays the user's."""
    knowing = replace(TABLES, profiles=profiles)
    user = match_user(a_state(an_action("a", 1)), id_key("3@19700"), MORNING_MS, knowing, profile_key=3)
    assert user.user.profile.tolist() == profiles.columns(3).tolist()


@pytest.mark.parametrize("known", [True, False])
def test_profiles_are_read_as_they_were_written(tmp_path, profiles, known):
    written = profiles if known else no_profiles()
    write_profiles(tmp_path / "it", written)
    assert sorted(path.name for path in (tmp_path / "it").iterdir()) == sorted(PROFILE_FILES)
    found = open_profiles(tmp_path / "it")
    assert (found.facets, found.keys.tobytes(), found.codes.tobytes()) == (
        written.facets,
        written.keys.tobytes(),
        written.codes.tobytes(),
    )
    assert profiles_tag(found) == profiles_tag(written)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 2_000])
@pytest.mark.parametrize("name", PROFILE_FILES)
def test_a_damaged_file_is_refused_as_a_value_error(tmp_path, profiles, name, content):
    write_profiles(tmp_path, profiles)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"is no whole \.npy file|can't be read"):
        open_profiles(tmp_path)


def test_codes_that_are_no_labels_are_refused(profiles):
    for codes in (profiles.codes + 3, profiles.codes[:-1], profiles.codes.astype(np.int64)):
        with pytest.raises(ValueError, match="codes are"):
            UserProfiles(profiles.facets, profiles.keys, codes.astype(codes.dtype))


def test_another_sex_is_another_tag(tmp_path, profiles):
    assert profiles_tag(some_profiles(tmp_path, USERS.replace("9,M", "9,F"))) != profiles_tag(profiles)
