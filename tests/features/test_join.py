from dataclasses import replace

import numpy as np
import pytest

from rankstream.features.counters import counter_columns
from rankstream.features.ids import id_key, id_keys
from rankstream.features.join import OfflineFeatures, join, match_user
from rankstream.features.schema import CONTEXT_NAMES, ModelInputs, check_inputs, random_inputs
from rankstream.features.sessions import NoSessions
from rankstream.features.user_state import UNKNOWN_USER, UserState
from tests.builders.actions import MORNING_MS, SIZES, MixingSessions, SomeVectors, a_state, an_action

TABLES = OfflineFeatures(
    SIZES, SomeVectors(4, missing=frozenset({id_key("lost")})), SomeVectors(2), SomeVectors(3), MixingSessions()
)


def joined(state: UserState, at: int = 100, candidates: tuple[str, ...] = ("x", "y")) -> ModelInputs:
    return join(match_user(state, id_key("u1"), MORNING_MS + 1000 * at, TABLES), id_keys(candidates), TABLES)


def test_the_join_keeps_the_contract():
    check_inputs(joined(a_state(an_action("a", 1), an_action("b", 2))), SIZES)


def test_actions_are_seen_newest_first_with_their_ages():
    inputs = joined(a_state(an_action("a", 1, "view"), an_action("b", 2, "save")), at=10)
    assert inputs.action_types.tolist() == [3, 1]
    assert inputs.action_ages_ms.tolist() == [8000, 9000]
    assert np.array_equal(inputs.action_items, TABLES.items.look_up(id_keys(["b", "a"]))[0])


def test_nothing_later_than_now_is_seen():
    past, future = an_action("a", 1), an_action("b", 50)
    assert joined(a_state(past, future), at=10).digest() == joined(a_state(past), at=10).digest()


def test_an_unknown_user_is_zeros_and_a_mask_bit_never_an_error():
    offline = OfflineFeatures(
        SIZES, TABLES.items, TABLES.item_features, SomeVectors(3, frozenset({id_key("u1")})), NoSessions(2)
    )
    unknown = match_user(UNKNOWN_USER, id_key("u1"), MORNING_MS, offline)
    inputs = join(unknown, id_keys(["x"]), offline)
    check_inputs(inputs, SIZES)
    assert not inputs.user_vector.any()
    assert inputs.context[[CONTEXT_NAMES.index("user_found"), CONTEXT_NAMES.index("any_action")]].tolist() == [0, 0]


def with_surfaces(surface: int) -> ModelInputs:
    offline = replace(TABLES, sizes=replace(SIZES, surfaces=3))
    user = match_user(a_state(an_action("a", 1)), id_key("u1"), MORNING_MS + 2000, TABLES)
    inputs = join(user, id_keys(["x"]), offline, surface)
    check_inputs(inputs, offline.sizes)
    return inputs


def test_the_surface_of_a_request_is_one_column_behind_the_context():
    columns = [with_surfaces(code).context[len(CONTEXT_NAMES) :].tolist() for code in (1, 3)]
    assert columns == [[1, 0, 0], [0, 0, 1]]
    assert np.array_equal(with_surfaces(3).context[: len(CONTEXT_NAMES)], with_surfaces(0).context[:-3])


def test_a_surface_that_the_model_does_not_know_is_none():
    assert with_surfaces(4).digest() == with_surfaces(0).digest()
    assert not with_surfaces(0).context[-3:].any()


def test_the_counters_of_a_user_stand_last_and_count_what_left_the_history_and_nothing_later():
    offline = replace(TABLES, sizes=replace(SIZES, surfaces=1, counted_types=4))
    state = a_state(*(an_action("a", at, "save") for at in range(5)), an_action("b", 50), limit=3)
    at_ten, at_sixty = (
        join(match_user(state, id_key("u1"), MORNING_MS + 1000 * at, TABLES), id_keys(["x"]), offline, 1)
        for at in (10, 60)
    )
    check_inputs(at_ten, offline.sizes)
    assert at_ten.context[len(CONTEXT_NAMES) :].tolist() == [1, *counter_columns(np.array([0, 0, 5, 0])).tolist()]
    assert at_sixty.context[len(CONTEXT_NAMES) :].tolist() == [1, *counter_columns(np.array([1, 0, 5, 0])).tolist()]


def test_a_model_without_surfaces_sees_what_it_saw_before():
    user = match_user(a_state(an_action("a", 1)), id_key("u1"), MORNING_MS, TABLES)
    one, other = (join(user, id_keys(["x"]), TABLES, surface) for surface in (0, 2))
    assert one.context.shape == (len(CONTEXT_NAMES),)
    assert one.digest() == other.digest()


def test_an_unknown_item_is_zeros_and_a_mask_bit():
    inputs = joined(a_state(an_action("lost", 1)), candidates=("lost", "x"))
    assert inputs.candidate_features[:, -1].tolist() == [0, 1]
    assert not inputs.candidate_items[0].any()
    assert inputs.action_found.tolist() == [False]


def test_equal_inputs_have_equal_digests_and_any_bit_shows():
    one = random_inputs(SIZES, 3, 5, 4, seed=1)
    assert one.digest() == random_inputs(SIZES, 3, 5, 4, seed=1).digest()
    one.candidate_items[4, 3] += 1e-6
    assert one.digest() != random_inputs(SIZES, 3, 5, 4, seed=1).digest()


@pytest.mark.parametrize("name", ["action_items", "user_vector", "candidate_features"])
def test_an_array_of_the_wrong_shape_is_named(name: str):
    inputs = random_inputs(SIZES, 3, 5, 4, seed=1)
    object.__setattr__(inputs, name, np.zeros((9, 9), np.float32))
    with pytest.raises(ValueError, match=name):
        check_inputs(inputs, SIZES)
