"""How old items are: by the catalogue, else by the first action; what is not known counts as old."""

from rankstream.evaluation.replay.exposures import exposures_of, groups_of
from rankstream.evaluation.replay.item_ages import DAY_MS, ItemAges
from rankstream.features.ids import id_keys
from tests.builders.bundle import AS_OF_MS
from tests.builders.catalogue import a_catalogue, an_item
from tests.builders.replay import arrivals_of_rows

KEYS = id_keys(["early", "late", "never"])


def ages():
    """The items of a log, acted on out of order: one of them on two days, one on the last day only."""
    rows = [("u1", "late", "view", AS_OF_MS + 8 * DAY_MS), ("u2", "early", "view", AS_OF_MS + DAY_MS),
            ("u1", "early", "view", AS_OF_MS)]  # fmt: skip
    arrivals, found = arrivals_of_rows(rows), ItemAges()
    for group in groups_of(arrivals):
        found.note(exposures_of(arrivals, group))
    return found


def test_an_item_is_young_for_a_week_from_its_first_action_on():
    young = ages().young
    assert young(KEYS, AS_OF_MS).tolist() == [True, False, False]
    assert young(KEYS, AS_OF_MS + 7 * DAY_MS - 1).tolist() == [True, False, False]
    assert young(KEYS, AS_OF_MS + 8 * DAY_MS).tolist() == [False, True, False]


def test_the_catalogue_knows_better_where_it_says_when_an_item_came_into_being():
    items = (an_item("early", created_at_ms=AS_OF_MS + 5 * DAY_MS), an_item("late"), an_item("never"))
    young = ages().young(KEYS, AS_OF_MS + 8 * DAY_MS, a_catalogue(*items))
    assert young.tolist() == [True, True, False]
    assert ages().young(KEYS, AS_OF_MS, a_catalogue()).tolist() == [True, False, False]
