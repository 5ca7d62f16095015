"""The example's log: exactly as large as asked for, the same for a seed, with what a model can learn and blemishes."""

from dataclasses import replace

import numpy as np
import pytest

from rankstream.events.example.sessions import (
    BEGINS_MS,
    CART,
    DAY_MS,
    PURCHASE,
    VIEW,
    ExampleConfig,
    ExampleLog,
    example_log,
)
from rankstream.events.example.shop import CATEGORIES

SMALL = ExampleConfig(rows=8_000, customers=150, products=240)
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def log() -> ExampleLog:
    return example_log(SMALL)


def guests(log: ExampleLog) -> set[int]:
    return {row for row, name in enumerate(log.customers.ids) if name.startswith("guest-")}


def steps(log: ExampleLog) -> np.ndarray:
    """(product, next product) of a customer's views less than half an hour apart."""
    rows = np.flatnonzero((log.types == VIEW) & (log.customer >= 0))
    rows = rows[np.lexsort((log.times_ms[rows], log.customer[rows]))]
    before, after = rows[:-1], rows[1:]
    together = log.customer[before] == log.customer[after]
    together &= log.times_ms[after] - log.times_ms[before] < HOUR_MS / 2
    return np.stack([log.product[before[together]], log.product[after[together]]], axis=1)


@pytest.mark.parametrize("rows", [1_200, 1_201, 7_999])
def test_there_are_exactly_so_many_rows(rows):
    assert len(example_log(replace(SMALL, rows=rows))) == rows


def test_every_customer_comes_and_guests_only_once(log):
    assert set(log.customer.tolist()) == {-1, *range(SMALL.customers)}
    assert len(guests(log)) == 45
    for guest in guests(log):
        times = log.times_ms[log.customer == guest]
        assert times.max() - times.min() < 12 * HOUR_MS


def test_customers_with_an_account_come_back(log):
    regular = np.isin(log.customer, [row for row in range(SMALL.customers) if row not in guests(log)])
    days = np.unique(np.stack([log.customer, (log.times_ms - BEGINS_MS) // DAY_MS], axis=1)[regular], axis=0)
    assert np.median(np.bincount(days[:, 0])) >= 3


def test_rows_are_in_order_of_time_and_fill_the_weeks(log):
    assert np.all(np.diff(log.times_ms) >= 0)
    days = np.unique((log.times_ms - BEGINS_MS) // DAY_MS)
    assert set(range(SMALL.days)) <= set(days.tolist())


def test_a_session_stays_near_its_products_far_more_often_than_popularity_would(log):
    before, after = steps(log).T
    category = log.products.category
    assert np.mean(category[before] == category[after]) > 0.7
    shuffled = np.random.default_rng(0).permutation(after)
    assert np.mean(category[before] == category[shuffled]) < 0.3


def test_a_cart_follows_a_view_and_a_purchase_a_cart_of_the_same_product(log):
    done = set[tuple[int, int, int]]()
    for customer, product, what in zip(log.customer.tolist(), log.product.tolist(), log.types.tolist(), strict=True):
        if what != VIEW and customer >= 0:
            assert {(customer, product, what - 1), (-1, product, what - 1)} & done
        done.add((customer, product, what))
    assert np.mean(log.types == CART) > np.mean(log.types == PURCHASE) > 0.01


def test_what_is_used_up_is_bought_again_and_nothing_else_is(log):
    bought = np.stack([log.customer, log.product, log.times_ms], axis=1)
    bought = np.unique(bought[(log.types == PURCHASE) & (log.customer >= 0)], axis=0)  # without the copies
    pairs, times = np.unique(bought[:, :2], axis=0, return_counts=True)
    consumed = np.array([CATEGORIES[log.products.category[product]].consumed for _, product in pairs])
    assert np.mean(times[consumed] > 1) > 0.15
    assert np.mean(times[~consumed] > 1) == 0


def test_products_have_distinct_ids_some_with_leading_zeros(log):
    assert len(set(log.products.ids)) == SMALL.products
    assert {len(name) for name in log.products.ids} == {6}
    assert 0.02 < np.mean([name.startswith("0") for name in log.products.ids]) < 0.25


def test_some_customers_are_not_known_and_some_rows_are_there_twice(log):
    assert 0.002 < np.mean(log.customer < 0) < 0.01
    rows = np.stack([log.times_ms, log.types, log.product, log.customer], axis=1)
    assert len(rows) - len(np.unique(rows, axis=0)) >= int(SMALL.duplicates * SMALL.rows)


def test_a_seed_is_a_log():
    first, again, other = (example_log(replace(SMALL, rows=1_500, seed=seed)) for seed in (3, 3, 4))
    assert first.product.tolist() == again.product.tolist()
    assert first.times_ms.tolist() == again.times_ms.tolist()
    assert first.product.tolist() != other.product.tolist()


def test_a_shop_may_be_smaller_than_its_list_of_categories():
    tiny = example_log(ExampleConfig(rows=40, customers=2, products=3, days=1))
    assert set(tiny.product.tolist()) <= {0, 1, 2}


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ({"rows": 100, "customers": 50}, r"100 rows are too few for 50 customers.* 400 rows or more.* 12 customers"),
        ({"products": 0}, "at least one"),
    ],
)
def test_sizes_that_make_no_log_are_refused(sizes, sentence):
    with pytest.raises(ValueError, match=sentence):
        ExampleConfig(**sizes)
