"""Candidates that go together with what a user did."""

import numpy as np
import pytest

from rankstream.models.items.matches import match_tables
from rankstream.retrieval.sources.matches import MatchingItems
from tests.builders.models import a_log
from tests.builders.retrieval import a_user, an_item_table

ROWS = [
    *((user, item, "view", at) for user in ("u", "v", "w") for at, item in enumerate(("a", "b"))),
    ("x", "a", "view", 0), ("x", "c", "view", 1), ("y", "d", "view", 0), ("y", "e", "view", 1),
]  # fmt: skip


@pytest.fixture
def source(tmp_path):
    items = an_item_table(tmp_path, ["a", "b", "c", "d"], np.eye(4))  # e has no vector
    return MatchingItems(items)


def asked(*actions):
    return a_user(*actions, tables=match_tables(a_log(ROWS), ["view"]))


def test_what_goes_with_the_newest_item_is_proposed_the_best_first(source):
    proposals = source.propose(asked(("view", "a")), 10)
    assert list(proposals.ids) == ["b", "c"]
    assert set(proposals.sources) == {"matches"}


def test_no_more_than_asked_for_and_nothing_that_the_user_knows(source):
    assert list(source.propose(asked(("view", "a")), 1).ids) == ["b"]
    assert list(source.propose(asked(("view", "a"), ("view", "b")), 10).ids) == ["c"]


def test_an_item_without_a_vector_is_not_proposed(source):
    assert list(source.propose(asked(("view", "d")), 10).ids) == []


def test_a_user_without_actions_is_proposed_nothing(source):
    assert list(source.propose(asked(), 10).ids) == []
