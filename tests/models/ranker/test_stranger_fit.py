"""How logits and counts are weighed for strangers: on choices whose right answer is known."""

from dataclasses import asdict

import msgspec
import numpy as np
import pytest

from rankstream.models.ranker import strangers
from rankstream.models.ranker.strangers import AskedDay, Choice, fit_strangers

ITEMS = 60
COUNTS = np.round(2_000 / np.arange(1, ITEMS + 1) ** 1.2)
POPULARITY = np.log1p(COUNTS) / np.log1p(COUNTS).max()
NOBODY = np.zeros(0, np.int64)


def a_day(taken_by: np.ndarray, network: np.ndarray, choices: int = 1_500, each: int = 1, seed: int = 0) -> AskedDay:
    """A day on which each user chooses ``each`` different items, as the softmax of ``taken_by`` says, one head."""
    rng = np.random.default_rng(seed)
    chosen = []
    for user in range(choices // each):
        noisy = taken_by + rng.gumbel(size=ITEMS)
        order = np.argsort(-noisy)[:each]  # without replacement, the likeliest first
        chosen += [Choice(int(item), np.array([True]), user, np.sort(order[:at])) for at, item in enumerate(order)]
    useless = rng.random(ITEMS)
    return AskedDay(network[:, None], np.stack([POPULARITY, useless], axis=1), chosen)


def order_of(day: AskedDay, fit: strangers.StrangersFit) -> list[int]:
    """Return the items as strangers would be shown them."""
    line = fit.line
    scores = day.logits[:, 0] if line is None else line.slope * day.logits[:, 0] + day.popularity @ line.popularity
    return np.argsort(-scores, kind="stable").tolist()


def noise(seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2, ITEMS)


def test_where_counts_are_right_and_the_network_is_not_strangers_are_shown_what_is_popular():
    day = a_day(np.log1p(COUNTS), noise())
    fit = fit_strangers([day], [1.0])
    assert fit.low > 0.5
    assert order_of(day, fit)[:10] == list(range(10))
    assert fit.line is not None
    assert fit.line.popularity[0] == pytest.approx(np.log1p(COUNTS).max(), rel=0.1)
    assert fit.line.slope < 0.1 > fit.line.popularity[1] / fit.line.popularity[0]


def test_where_the_network_is_right_it_stays():
    day = a_day(noise(), noise())
    assert fit_strangers([day], [1.0]).line is None


def test_where_nothing_is_right_nothing_is_gained():
    gains = [fit_strangers([a_day(np.zeros(ITEMS), 0.05 * noise(), seed=seed)], [1.0]).gain for seed in range(5)]
    assert max(gains) < 0.01


def test_what_a_user_had_taken_is_no_alternative():
    day = a_day(np.log1p(COUNTS), noise(), choices=3_000, each=20)
    told = fit_strangers([day], [1.0]).line
    untold = [Choice(one.item, one.heads, one.user, NOBODY) for one in day.choices]
    misled = fit_strangers([AskedDay(day.logits, day.popularity, untold)], [1.0]).line
    assert told is not None
    assert told.popularity[0] == pytest.approx(np.log1p(COUNTS).max(), rel=0.1)
    assert misled is None or misled.popularity[0] < 0.5 * told.popularity[0]


def test_the_mean_logit_of_what_was_chosen_stays():
    day = a_day(np.log1p(COUNTS), noise() - 3)
    line = fit_strangers([day], [1.0]).line
    assert line is not None
    items = [one.item for one in day.choices]
    served = line.slope * day.logits[items, 0] + day.popularity[items] @ line.popularity + line.intercept
    assert served.mean() == pytest.approx(day.logits[items, 0].mean())


def test_a_head_that_weighs_nothing_or_less_is_not_fitted_to():
    one = a_day(np.log1p(COUNTS), noise())
    other = a_day(-np.log1p(COUNTS), noise(), seed=1)
    both = [
        *(Choice(c.item, np.array([True, False]), c.user, c.seen) for c in one.choices),
        *(Choice(c.item, np.array([False, True]), c.user, c.seen) for c in other.choices),
    ]
    day = AskedDay(np.repeat(one.logits, 2, axis=1), one.popularity, both)
    line = fit_strangers([day], [1.0, -0.5]).line
    assert line is not None
    assert line.popularity[0] == pytest.approx(np.log1p(COUNTS).max(), rel=0.1)


@pytest.mark.parametrize(
    ("firsts", "new_users"),
    [
        ([a_day(np.log1p(COUNTS), noise(), 60, seed=1)], True),
        ([a_day(noise(), noise(), 60, seed=1)], False),
        ([a_day(noise(), noise() / 5, 60, seed=1)], False),  # its order is right, though it is not sure of it
        ([a_day(noise(), noise(), 19, seed=1)], True),  # too few to tell
        ([], True),
    ],
)
def test_new_users_are_left_to_the_network_where_it_knows_what_they_choose_first(firsts, new_users):
    """As on a sign-up page, whose films are not those that people come back for."""
    fit = fit_strangers([a_day(np.log1p(COUNTS), noise())], [1.0], firsts=firsts)
    assert fit.line is not None
    assert fit.line.new_users == new_users
    assert fit.first_choices == sum(len(day.choices) for day in firsts)
    assert ("new users too" in fit.in_words()) == new_users


@pytest.mark.parametrize("choices", [0, 99])
def test_few_choices_tell_nothing(choices):
    fit = fit_strangers([a_day(np.log1p(COUNTS), noise(), choices=choices)], [1.0])
    assert fit.line is None
    assert f"{choices} held-out choices of {choices} users are too few" in fit.in_words()


def test_what_came_of_it_is_plain_values_as_manifests_hold_them():
    fit = fit_strangers([a_day(np.log1p(COUNTS), noise())], [1.0])
    assert msgspec.to_builtins(asdict(fit))["line"]["slope"] == fit.line.slope


def test_derivatives_are_those_of_the_likelihood():
    days = [a_day(np.log1p(COUNTS), noise(), choices=200, each=4), a_day(noise(), noise(5), choices=50)]
    at, step = np.array([0.4, 2.0, 0.7]), 1e-5
    found = strangers._likelihood(days, np.ones(1), at)
    for column in range(3):
        moved = step * np.eye(3)[column]
        above, below = (strangers._likelihood(days, np.ones(1), at + way * moved) for way in (1, -1))
        assert found.gradient[column] == pytest.approx((above.value - below.value) / (2 * step), rel=1e-4)
        curved = -(above.gradient - below.gradient) / (2 * step)
        np.testing.assert_allclose(found.curvature[column], curved, rtol=1e-4, atol=1e-4)


def test_it_says_what_is_served_and_what_that_gains():
    words = fit_strangers([a_day(np.log1p(COUNTS), noise())], [1.0]).in_words()
    assert words.startswith("Users without actions: the network's logits times 0.0")
    assert "popularity 7." in words
    assert words.endswith("of log likelihood on 1,500 held-out choices of 1,500 users; new users too")
