"""What is kept of lists that users were shown: what came of them is counted as training counts it."""

from dataclasses import replace

import numpy as np

from rankstream.events.impression_event import ImpressionEvent
from rankstream.events.impressions import grouped
from rankstream.events.kept_actions import KeptActions
from rankstream.events.kept_lists import KeptLists
from rankstream.features.embeddings.memory import ItemTable
from rankstream.models.items.item_counts import item_counts
from tests.builders.bundle import AS_OF_MS, VOCABULARY
from tests.builders.item_counts import a_recipe, log_of, the_same
from tests.builders.replay import ALog

MINUTE = 60_000
ITEMS = ItemTable(np.arange(1, 9), np.zeros((8, 0), np.float32))
END_MS = AS_OF_MS + 60 * MINUTE


def a_list(name, user, items, minutes):
    return ImpressionEvent(name, user, items, AS_OF_MS + minutes * MINUTE)


LISTS = [a_list("r1", "u", (1, 2, 3), 0), a_list("r2", "v", (3, 2), 1), a_list("r1", "v", (4, 5, 4), 2)]
ACTIONS = [("u", 2, "save", AS_OF_MS + MINUTE), ("v", 5, "save", AS_OF_MS + 3 * MINUTE)]


def kept(*lists, most=1000, arrived_ms=AS_OF_MS):
    found = KeptLists(most)
    for one in lists:
        found.feed([(one, arrived_ms)])
    return found


def impressions_of(lists):
    """The same lists as training reads them: rows of a file."""
    rows = [(one.user_id, item, "view", one.timestamp_ms) for one in lists for item in one.item_ids]
    batch = next(ALog(rows, len(rows)).batches(VOCABULARY))
    names = [one.list_id for one in lists for _ in one.item_ids]
    positions = np.array([place for one in lists for place in range(len(one.item_ids))], np.int64)
    return grouped([replace(batch, list_ids=names, positions=positions)])


def test_rates_of_kept_lists_are_those_of_training():
    past = KeptActions(VOCABULARY, kept(*LISTS, LISTS[0]))  # one came again
    past.feed(next(ALog(ACTIONS, 9).batches(VOCABULARY)))
    names = (*a_recipe().feature_names, "log_exposures", "log_yesterday", "rate_save")
    recipe = replace(a_recipe(), rates={"save": ("save",)}, lists=True, feature_names=names)
    trained = replace(log_of(ACTIONS), impressions=impressions_of(LISTS))
    anew, of_file = (item_counts(log, ITEMS, recipe, END_MS) for log in (past.before(END_MS + 1), trained))
    assert the_same(anew, of_file)
    assert np.count_nonzero(anew.item_features.vectors[:, -1].astype(np.float32) > 0) == 2  # items 2 and 5


def test_a_list_is_known_when_it_arrives_and_one_that_came_again_is_the_first():
    found = kept(LISTS[0], a_list("r1", "u", (7,), 9), arrived_ms=AS_OF_MS + 5 * MINUTE)
    assert len(found.before(AS_OF_MS + 5 * MINUTE)) == 0
    assert found.before(AS_OF_MS + 6 * MINUTE).item_keys.tolist() == [1, 2, 3]
    assert found.before(END_MS).item_keys.tolist() == [1, 2, 3]


def test_no_more_than_the_newest_lists_are_kept():
    found = kept(*(a_list(f"r{n}", "u", (1, 2), n) for n in range(50)), most=10)
    newest = found.before(END_MS).times_ms.tolist()
    assert newest == [AS_OF_MS + n * MINUTE for n in range(50 - len(newest), 50)]
    assert 5 <= len(newest) <= 7


def test_lists_of_a_log_and_those_of_a_topic_are_kept_together():
    found = kept(LISTS[2])
    found.add(impressions_of(LISTS[:2]))
    assert found.before(END_MS).item_keys.tolist() == [1, 2, 3, 3, 2, 4, 5]
    assert found.read == 3
