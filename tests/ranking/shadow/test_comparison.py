import pytest

from rankstream.ranking.shadow.comparison import Outcome, compare, overlap, rank_correlation

TWENTY = tuple(range(20))


@pytest.mark.parametrize(
    ("other", "share"),
    [
        (TWENTY, 1.0),
        (TWENTY[9::-1] + TWENTY[10:], 1.0),  # the same ten in another order
        (TWENTY[10:] + TWENTY[:10], 0.0),
        (TWENTY[5:], 0.5),
        (TWENTY[:5], 0.5),  # five of the ten are not there
        ((), 0.0),
    ],
)
def test_overlap_is_the_share_of_the_ten_best_that_both_have(other, share):
    assert overlap(TWENTY, other) == share


def test_overlap_of_lists_shorter_than_ten_is_of_all_that_they_hold():
    assert overlap((1, 2, 3), (3, 2, 1)) == 1.0


@pytest.mark.parametrize(
    ("other", "correlation"),
    [
        (TWENTY, 1.0),
        (TWENTY[::-1], -1.0),
        ((0, 2, 1, 3), 0.8),  # 1 - 6 * 2 / (4 * 15)
        ((99, 0, 98, 1, 97, 2), 1.0),  # items that only one has do not count
        ((0, 99), None),
    ],
)
def test_rank_correlation_is_of_the_order_of_what_both_have(other, correlation):
    assert rank_correlation(TWENTY, other) == correlation


def test_ids_of_both_kinds_are_compared():
    compared = compare(Outcome(("a", 1, "1"), 2.0), Outcome(("1", 1, "a"), 6.0))
    assert (compared.overlap, compared.correlation) == (1.0, -1.0)
    assert (compared.serving_ms, compared.new_ms) == (2.0, 6.0)
