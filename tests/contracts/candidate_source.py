"""The promise of every source of candidates, as a suite; each source's test file runs it by subclassing."""

import pytest

from rankstream.features.ids import id_keys
from rankstream.features.matches.columns import UserMatches
from rankstream.retrieval.source import CandidateSource
from tests.builders.retrieval import a_user


class CandidateSourceContract:
    @pytest.fixture
    def source(self, tmp_path) -> CandidateSource:
        raise NotImplementedError("return a source of at least 20 items, the integers from 1 on")

    @pytest.fixture(params=["unknown", "known"])
    def user(self, request) -> UserMatches:
        return a_user() if request.param == "unknown" else a_user(("save", 3), ("view", 7), ("hide", 12))

    @pytest.mark.parametrize("limit", [1, 5, 10_000])
    def test_up_to_limit_items_are_proposed_each_once_and_named(self, source, user, limit):
        proposals = source.propose(user, limit)
        assert len(proposals.ids) == len(proposals.sources)
        assert len(set(id_keys(proposals.ids).tolist())) == len(proposals.ids)
        assert len(proposals.ids) <= limit
        assert len(proposals.ids) or not len(user.user.actions)
        assert all(proposals.sources)

    def test_what_is_excluded_is_never_proposed(self, source, user):
        assert not set(id_keys(source.propose(user, 10_000).ids).tolist()) & set(user.excluded.tolist())

    def test_the_same_user_is_proposed_the_same_items(self, source, user):
        assert source.propose(user, 9) == source.propose(user, 9)
