import random

from hypothesis import given
from hypothesis import strategies as st

from rankstream.features.actions import Action
from rankstream.features.history import History, split
from tests.builders.actions import a_history, an_action

LIMIT = 6
# few items, types and times: ties, duplicates and late actions are the rule
ACTIONS = st.lists(st.builds(Action, st.integers(0, 2), st.integers(1, 2), st.integers(0, 15)), max_size=40).map(
    lambda actions: [action.pack() for action in actions]
)


def test_a_history_keeps_only_the_newest_actions_newest_first():
    history = a_history(an_action("a", 1), an_action("b", 2), an_action("c", 3), limit=2)
    assert split(history.packed) == [an_action("c", 3), an_action("b", 2)]


def test_a_late_action_is_inserted_where_it_belongs():
    appended = a_history(an_action("a", 1), an_action("c", 3)).append([an_action("b", 2)])
    assert split(appended.history.packed) == [an_action("c", 3), an_action("b", 2), an_action("a", 1)]
    assert appended.late == 1


def test_the_same_action_twice_is_one():
    appended = a_history(an_action("a", 1)).append([an_action("a", 1)])
    assert len(appended.history) == 1
    assert appended.duplicates == 1


def test_an_action_older_than_all_of_a_full_history_changes_nothing():
    full = a_history(an_action("b", 2), an_action("c", 3), limit=2)
    appended = full.append([an_action("a", 1)])
    assert (appended.history, appended.too_old, appended.evicted) == (full, 1, ())


def test_of_two_equal_actions_with_different_values_the_greater_stays():
    small, great = Action(1, 1, 5, value_code=3).pack(), Action(1, 1, 5, value_code=9).pack()
    assert a_history(small, great) == a_history(great, small) == a_history(great)


@given(ACTIONS)
def test_a_history_is_bounded_ordered_and_without_duplicates(actions: list[bytes]):
    held = split(a_history(*actions, limit=LIMIT).packed)
    assert len(held) <= LIMIT
    assert held == sorted(held, reverse=True)
    assert len({action[:14] for action in held}) == len(held)


@given(ACTIONS, st.data())
def test_batches_lead_to_the_same_history_as_one_action_at_a_time(actions: list[bytes], data: st.DataObject):
    """The law behind chunks: how a log is cut never shows."""
    at_once, cut, evicted = History(b"", LIMIT).append(actions), History(b"", LIMIT), []
    rest = actions
    while rest:
        take = data.draw(st.integers(1, len(rest)))
        appended = cut.append(rest[:take])
        cut, rest = appended.history, rest[take:]
        evicted += appended.evicted
    assert cut == at_once.history
    assert tuple(evicted) == at_once.evicted


@given(st.lists(st.integers(0, 500), unique=True, max_size=60), st.integers(0, 2**32), st.integers(1, LIMIT - 1))
def test_any_bounded_shuffle_with_duplicates_leads_to_the_same_history(times: list[int], seed: int, reach: int):
    """No action arrives behind ``LIMIT`` newer ones or more: then history and evictions are those of the sorted log."""
    rng = random.Random(seed)
    log = [an_action(f"i{at % 7}", at) for at in sorted(times)]
    disturbed = sorted(range(len(log)), key=lambda index: index + rng.uniform(0, reach))
    arrivals: list[bytes] = []
    for index in disturbed:
        arrivals += [log[index]] * rng.choice((1, 1, 2))
    shuffled, in_order = History(b"", LIMIT).append(arrivals), History(b"", LIMIT).append(log)
    assert shuffled.history == in_order.history
    assert shuffled.evicted == in_order.evicted


@given(ACTIONS)
def test_what_a_history_evicts_leaves_in_order(actions: list[bytes]):
    evicted = list(History(b"", LIMIT).append(actions).evicted)
    assert evicted == sorted(evicted)
