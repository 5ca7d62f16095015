"""Which field somebody meant, and when nobody meant any."""

import pytest

from rankstream.content.filters import ItemFilters
from rankstream.events.action_event import ActionEvent
from rankstream.events.misspelt import misspelt, names_in, unread_fields
from rankstream.ranking.request import RankingRequest

ASKED = ("request_id", "user_id")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("topk", "top_k"), ("top-k", "top_k"), ("topK", "top_k"), ("TOP_K", "top_k"), ("k", "top_k"),
        ("candidate", "candidates"), ("item_ids", "candidates"), ("limits", "limit"), ("filter", "filters"),
        ("dead_line_ms", "deadline_ms"), ("timestamp", "timestamp_ms"), ("maxPerGroup", "max_per_group"),
    ],
)  # fmt: skip
def test_a_field_that_is_misspelt_is_told_by_the_one_that_was_meant(name, meant):
    assert misspelt(RankingRequest, [*ASKED, name]) == {name: meant}


@pytest.mark.parametrize("name", ["trace_id", "page", "ab_test", "price", "", "\ud83d\ude00", "x" * 500])
def test_a_producers_own_field_is_let_pass(name):
    assert misspelt(RankingRequest, [*ASKED, name]) == {}
    assert unread_fields(RankingRequest, [*ASKED, name]) == [name]


def test_one_beside_the_field_that_it_looks_like_is_the_producers_own():
    action = ("user_id", "item_id", "action", "timestamp_ms")
    assert misspelt(ActionEvent, [*action, "timestamp", "event", "user", "item"]) == {}
    assert misspelt(ActionEvent, [*action, "surfaces", "values"]) == {"surfaces": "surface", "values": "value"}


def test_a_filter_that_would_let_all_pass_is_told():
    assert misspelt(ItemFilters, ["max_price", "categories"]) == {"max_price": "price_max", "categories": "category"}


@pytest.mark.parametrize("value", [b"", b"[]", b"{", b"\xff", b"1", b'{"a":' * 5_000])
def test_what_is_no_object_has_no_fields(value):
    assert names_in(value) == []
