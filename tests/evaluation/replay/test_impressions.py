"""Impressions are told from acts by what a log holds: logs as shops, feeds, film sites and players write them."""

import numpy as np
import pytest

from rankstream.evaluation.replay import impressions
from rankstream.evaluation.replay.impressions import impressions_of
from rankstream.evaluation.replay.protocols import bits
from rankstream.features.actions import Vocabulary
from tests.builders.replay import ALog

START, SECOND, MINUTE = 1_700_000_000_000, 1000, 60_000


def told(rows, positives, declared=None, batch=997):
    """Look at rows of (user, item, action, time)."""
    vocabulary = Vocabulary(tuple(sorted({action for _, _, action, _ in rows})))
    rows = sorted(rows, key=lambda row: row[3])
    mask = bits(vocabulary.action_codes[name] for name in positives if name in vocabulary.action_codes)
    return impressions_of(ALog(rows, batch, vocabulary).batches(vocabulary), vocabulary, mask, declared=declared)


def a_shop(names=("view", "cart", "buy"), unit=1, sessions=300):
    """Users look at items one after the other, put few into the cart, and buy some of these."""
    rng, rows = np.random.default_rng(0), []
    view, cart, buy = names
    for session in range(sessions):
        at_ms = START + int(rng.integers(0, 10**9))
        for item in rng.integers(0, 500, int(rng.integers(2, 12))).tolist():
            at_ms += int(rng.integers(3, 90)) * SECOND
            rows.append((f"u{session % 90}", item, view, at_ms // unit * unit))
            for name in (cart, buy)[: int(rng.choice(3, p=[0.85, 0.1, 0.05]))]:
                at_ms += int(rng.integers(2, 20)) * SECOND
                rows.append((f"u{session % 90}", item, name, at_ms // unit * unit))
    return rows


def a_feed(shown="impression", click="click", together=1, delay_ms=0, exclusive=False, sessions=200):
    """Items are shown ``together`` at a time; a third is clicked, ``delay_ms`` later, or in the same record."""
    rng, rows = np.random.default_rng(1), []
    for session in range(sessions):
        at_ms = START + int(rng.integers(0, 10**9))
        for _ in range(int(rng.integers(2, 5))):
            at_ms += int(rng.integers(5, 60)) * SECOND + int(rng.integers(0, 1000))
            for item in rng.choice(500, together, replace=False).tolist():
                clicked = rng.random() < 0.3
                if not (exclusive and clicked):
                    rows.append((f"u{session}", item, shown, at_ms))
                if clicked:
                    rows.append((f"u{session}", item, click, at_ms + delay_ms))
    return rows


@pytest.mark.parametrize("unit", [1, SECOND, MINUTE, 24 * 60 * MINUTE])
@pytest.mark.parametrize("names", [("view", "cart", "buy"), ("pv", "fav", "buy"), ("browse", "add", "order")])
def test_a_shop_log_holds_acts_whether_views_count_as_positive_or_not(names, unit):
    rows = a_shop(names, unit)
    assert not told(rows, names[1:]).found
    assert not told(rows, names).found


@pytest.mark.parametrize(
    "feed",
    [
        a_feed(),
        a_feed(exclusive=True),
        a_feed("exposure_feed", "play"),
        a_feed("shown", "liked", delay_ms=3500),
        a_feed("view", "click", exclusive=True),
        a_feed("view", "click", delay_ms=2000),
        a_feed("no_click", "click", exclusive=True),
        a_feed("state_0", "state_1"),  # names that say nothing, but an impression's record holds what came of it
        a_feed("state_0", "state_1", together=6, delay_ms=4000),  # a list at one time, and what was chosen from it
    ],
)
def test_a_feed_of_impressions_is_one_whatever_its_names(feed):
    clicks = [name for name in ("click", "play", "liked", "state_1") if any(row[2] == name for row in feed)]
    found = told(feed, clicks)
    assert found.found, found.why


def test_ratings_are_acts_good_and_bad_ones():
    rng = np.random.default_rng(2)
    names = {1: "hide", 2: "hide", 3: "view", 4: "click", 5: "save"}
    rows = []
    for user in range(100):
        for number in range(int(rng.integers(10, 40))):  # a page of films is rated in one second
            rows.append((user, int(rng.integers(0, 900)), names[int(rng.integers(1, 6))], START + number // 3 * SECOND))
    found = told(rows, ("view", "click", "save"))
    assert not found.found
    assert "hide" in found.why
    likes = [(user, item, {"hide": "dislike"}.get(action, "like"), at_ms) for user, item, action, at_ms in rows]
    assert not told(likes, ("like",)).found


def test_where_every_item_was_acted_on_there_are_none_whatever_the_actions_are_called():
    plays = [(f"u{row % 40}", row % 77, "impression", START + row * MINUTE) for row in range(2000)]
    found = told(plays, ("impression",))
    assert not found.found
    assert found.why.startswith("100 % of the items in sessions of the first 2,000 rows were acted on positively")
    assert not told(plays, ("impression",), declared=True).found


def test_a_known_kind_of_log_says_itself_what_it_holds():
    feed, shop = a_feed("a", "b", delay_ms=500), a_shop()
    assert not told(feed, ("b",)).found  # one at a time, clicked later, under names that say nothing: as in a shop
    assert told(feed, ("b",), declared=True).found
    assert not told(a_feed(), ("click",), declared=False).found
    assert not told(shop, ("cart", "buy"), declared=False).found


def test_a_row_of_another_time_and_the_order_of_rows_change_nothing():
    feed = a_feed()
    assert told([*feed, ("u1", 3, "click", START + 10**11)], ("click",)).found
    assert told(feed[::-1], ("click",), batch=10) == told(feed, ("click",))


def test_only_the_first_rows_are_read(monkeypatch):
    monkeypatch.setattr(impressions, "MAX_ROWS", 3000)

    class Endless(ALog):
        def batches(self, vocabulary, erasures=False):
            while True:
                yield from super().batches(vocabulary)

    feed = a_feed()
    vocabulary = Vocabulary(("click", "impression"))
    log = Endless(sorted(feed, key=lambda row: row[3]), 1000, vocabulary)
    assert impressions_of(log.batches(vocabulary), vocabulary, bits([1])).found
