"""The rate of what was shown, by hand: as of the last full hour, of outcomes that were known by then."""

import numpy as np
import pytest

from rankstream.evaluation.baselines.base import NOTHING, ItemRows, UserItems
from rankstream.evaluation.baselines.panel import Baselines
from rankstream.evaluation.baselines.shown_rate import PRIOR_SHOWN, ShownRate
from rankstream.evaluation.baselines.steps import Counted
from rankstream.features.ids import id_keys
from tests.builders.impressions import shown
from tests.builders.models import MINUTE_MS, START_MS

CLICK, HIDE = 1, 2
HALF_HOUR_MS = 30 * MINUTE_MS
BEGIN = -(START_MS // MINUTE_MS) % 60  # minutes after the start: a full hour
LISTS = shown(
    ("u", "a", BEGIN), ("u", "b", BEGIN), ("v", "a", BEGIN + 40), ("v", "c", BEGIN + 40), ("w", "c", BEGIN + 89),
)  # fmt: skip
DONE = {("u", "a"): CLICK, ("v", "a"): CLICK, ("v", "c"): HIDE, ("w", "c"): CLICK}
USERS = np.repeat(LISTS.user_ids, np.diff(LISTS.starts))
ACTIONS = [DONE.get(pair, 0) for pair in zip(USERS.tolist(), LISTS.item_ids.tolist(), strict=True)]


def rates(minutes, actions=ACTIONS):
    """What the items a to d have then, less the rate of all."""
    items = ItemRows()
    one = ShownRate(items, LISTS, actions, CLICK, HALF_HOUR_MS)
    found = one.scores(UserItems(), START_MS + int((BEGIN + minutes) * MINUTE_MS))
    return found.of(items.rows_of(id_keys(["a", "b", "c", "d"]))).tolist()


def smoothed(hits, shows, usual):
    return (hits + PRIOR_SHOWN * usual) / (shows + PRIOR_SHOWN) - usual


def test_lists_count_from_the_full_hour_on_at_which_all_that_followed_was_known():
    assert rates(59) == [0, 0, 0, 0]
    first = [smoothed(1, 1, 0.5), smoothed(0, 1, 0.5), 0, 0]
    assert rates(60) == rates(119) == pytest.approx(first)  # the list of minute 40 is known at 70, and counts at 120
    second = [smoothed(2, 2, 0.6), smoothed(0, 1, 0.6), smoothed(1, 2, 0.6), 0]
    assert rates(120) == pytest.approx(second)


def test_what_is_asked_later_counts_more_and_asking_in_between_changes_nothing():
    items = ItemRows()
    one = ShownRate(items, LISTS, ACTIONS, CLICK, HALF_HOUR_MS)
    rows = items.rows_of(id_keys(["a", "b", "c"]))
    found = [one.scores(UserItems(), START_MS + (BEGIN + at) * MINUTE_MS).of(rows).tolist() for at in (0, 60, 61, 300)]
    assert found == [rates(at)[:3] for at in (0, 60, 61, 300)]


def test_the_panel_has_it_where_the_log_says_what_was_shown():
    panel = Baselines(Counted(CLICK, CLICK), of_lists=[lambda items: ShownRate(items, LISTS, ACTIONS, CLICK, 0)])
    asked = panel.ask(b"u", START_MS + 300 * MINUTE_MS, START_MS + 300 * MINUTE_MS)
    ranks = panel.ranks(asked, id_keys(["b", "a", "d"]), np.array([0, 1, 2]), "query")
    assert ranks["rate when shown"].tolist() == [3, 1, 2]
    assert "rate when shown" in panel.about()
    assert asked.scores.get("never", NOTHING) is NOTHING
