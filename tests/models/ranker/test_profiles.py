"""Profiles of users in the ranker's training: whose a request has, and that they may be missing."""

from dataclasses import replace

import numpy as np
import torch

from rankstream.features.join import columns_of_profiles
from rankstream.models.ranker.examples import NegativesConfig, joined, ranking_examples, without_actions
from rankstream.models.ranker.training_join import as_of_its_day
from tests.builders.models import a_log
from tests.builders.profiles import some_profiles
from tests.builders.ranker import SMALL
from tests.models.ranker.test_hybrid import HEADS, offline_features

LOG = a_log([(n % 3, f"i{n % 4}", "save", n) for n in range(90)])


def examples_of(offline):
    return ranking_examples(LOG, HEADS, offline, NegativesConfig(2), np.random.default_rng(0))


def test_the_profile_of_a_request_is_the_users_whatever_key_finds_his_vector():
    (one, *_) = examples_of(offline_features())
    (stranger,) = without_actions([one], 1.0, np.random.default_rng(0))
    for asked in (one, stranger):
        assert as_of_its_day(asked).profile_key == one.user_key
        assert as_of_its_day(asked).user_key != one.user_key


def test_a_request_whose_profile_is_hidden_is_what_the_join_makes_of_an_unknown_user(tmp_path):
    profiles = some_profiles(tmp_path, "user,sex\n0,F\n1,F\n2,M\n3,M\n")
    sizes = replace(SMALL, profile_columns=profiles.width)
    knowing = replace(offline_features(sizes), profiles=profiles)
    some = examples_of(knowing)
    known, unknown = joined(some, knowing), joined(some, replace(knowing, profiles=profiles.of_no_user()))
    columns = torch.from_numpy(columns_of_profiles(sizes))
    assert (known.contexts[:, columns].sum(dim=1) == 1).all()
    every = known.hide_profiles(1.0, columns, torch.Generator())
    torch.testing.assert_close(every.contexts, unknown.contexts)
    half = known.hide_profiles(0.5, columns, torch.Generator().manual_seed(0))
    hidden = half.contexts[:, columns].sum(dim=1) == 0
    assert 0.3 < hidden.double().mean() < 0.7
    torch.testing.assert_close(half.contexts[~hidden], known.contexts[~hidden])
