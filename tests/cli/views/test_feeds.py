"""Feeds in a terminal: what a number shows, and what a feed was made from."""

import pytest
from msgspec.json import decode

from rankstream.cli.views.feeds import feed_table, number_text
from rankstream.streams.codec import RankedFeed


@pytest.mark.parametrize(
    ("number", "text"),
    [(1.25, "1.2500"), (0.0, "0.0000"), (0.00005, "0.0001"), (0.0000321, "3.2e-05"), (-0.0000321, "-3.2e-05")],
)
def test_scores_that_four_decimals_would_show_as_nothing_are_still_told_apart(number, text):
    assert number_text(number) == text


def test_a_feed_of_an_unknown_user_names_no_newest_action():
    feed = decode(
        b'{"request_id": "r", "user_id": 7, "ranked_at_ms": 1700000000000, "items": [], "model_version": "m",'
        b' "actions_used": 0, "newest_action_age_ms": null, "user_vector_found": false, "unknown_items": 0}',
        type=RankedFeed,
    )
    (told,) = feed_table(feed).notes
    assert told.startswith("model m; 0 actions used; user vector not found")
