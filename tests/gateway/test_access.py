"""Who is let in, and how often."""

import pytest

from rankstream.gateway.access import MAX_ADDRESSES, RateLimit, Tokens

TOKEN, OTHER = "0123456789abcdef", "fedcba9876543210"


def test_without_tokens_everybody_is_let_in():
    assert Tokens(()).admits(None)


@pytest.mark.parametrize("shown", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Bearer {OTHER}"])
def test_each_token_is_let_in_while_one_replaces_another(shown):
    assert Tokens((TOKEN, OTHER)).admits(shown)


WRONG = [None, "", TOKEN, "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}0", f"Bearer {TOKEN[:-1]}"]


@pytest.mark.parametrize("shown", WRONG)
def test_anything_else_is_not(shown):
    assert not Tokens((TOKEN,)).admits(shown)


def test_an_address_may_come_as_often_as_it_is_said_and_no_more():
    limit = RateLimit(2.0)
    assert [limit.wait_s("a", 0.0) for _ in range(3)] == [0, 0, 0.5]
    assert limit.wait_s("b", 0.0) == 0
    assert limit.wait_s("a", 0.5) == 0
    assert limit.wait_s("a", 0.5) == 0.5


def test_patience_is_not_saved_up_beyond_a_second():
    limit = RateLimit(2.0)
    limit.wait_s("a", 0.0)
    assert [limit.wait_s("a", 3600.0) for _ in range(3)] == [0, 0, 0.5]


def test_no_more_addresses_are_remembered_than_there_is_room_for():
    limit = RateLimit(1.0)
    for number in range(MAX_ADDRESSES + 10):
        limit.wait_s(str(number), 0.0)
    assert len(limit._buckets) == MAX_ADDRESSES
    assert limit.wait_s(str(MAX_ADDRESSES), 0.0) > 0
