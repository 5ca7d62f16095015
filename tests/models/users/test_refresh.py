import numpy as np
import pytest
import torch

from rankstream.evaluation.leakage import UserTables
from rankstream.events.sequences import histories_of
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.ids import id_keys
from rankstream.models.users.pinnerformer import PinnerFormer, PinnerFormerConfig
from rankstream.models.users.refresh import SpaceRefusedError, refresh, refresh_active, user_space
from tests.builders.models import a_log, a_random_log, a_state, an_item_table

CONFIG = PinnerFormerConfig(action_types=3, surfaces=2, item_dim=8, user_dim=16, hidden=16, layers=1, heads=2)
HALF = 2e-3  # tables keep half precision


def a_model(seed: int = 0) -> PinnerFormer:
    torch.manual_seed(seed)
    return PinnerFormer(CONFIG).eval()


def vectors_in(root, users):
    return EmbeddingTable.open(root).look_up(id_keys(users))


def test_histories_of_a_log_are_the_streams():
    log = a_random_log(3, 30, 150)
    for user, actions in histories_of(log, 100):
        held = a_state(log, user).history.columns()
        assert np.array_equal(actions.item_keys, held.item_keys)
        assert np.array_equal(actions.times_ms, held.times_ms)
        assert np.array_equal(actions.action_types, held.action_types)


def test_a_refresh_publishes_everybody_with_a_known_item(tmp_path):
    log = a_log([("ann", 1, "save", 1), ("bob", 999, "save", 2), (7, 3, "view", 3)])
    done = refresh(a_model(), an_item_table(), histories_of(log, 100), tmp_path, as_of_ms=int(log.times_ms[-1]))
    assert (done.users, done.unknown) == (2, 1)
    vectors, found = vectors_in(tmp_path, ["ann", "bob", 7])
    assert found.tolist() == [True, False, True]
    assert np.linalg.norm(vectors[0]) == pytest.approx(1, abs=HALF)
    assert EmbeddingTable.open(tmp_path).space == user_space(a_model())


def test_a_refresh_sees_nothing_later_than_its_as_of_time(tmp_path):
    log = a_random_log(5, 30, 60)
    until_ms = log.time_at(0.5)
    before, _ = log.split_at(until_ms)
    users = np.unique(before.user_ids).tolist()
    refresh(a_model(), an_item_table(), histories_of(log, 100), tmp_path / "all", as_of_ms=until_ms - 1)
    refresh(a_model(), an_item_table(), histories_of(before, 100), tmp_path / "past", as_of_ms=until_ms - 1)
    assert np.allclose(vectors_in(tmp_path / "all", users)[0], vectors_in(tmp_path / "past", users)[0], atol=HALF)


def test_refreshing_the_active_is_refreshing_everybody(tmp_path):
    first = a_log([(user, user % 30, "save", user) for user in range(40)])
    rest = a_log([(user, (user + 7) % 30, "view", 500 + user) for user in range(0, 60, 3)])
    log = joined(first, rest)
    now_ms = int(log.times_ms[-1])
    refresh(a_model(), an_item_table(), histories_of(first, 100), tmp_path / "a", as_of_ms=int(first.times_ms[-1]))
    done = refresh_active(a_model(), an_item_table(), histories_of(log, 100), tmp_path / "a", as_of_ms=now_ms)
    refresh(a_model(), an_item_table(), histories_of(log, 100), tmp_path / "b", as_of_ms=now_ms)
    assert done.users == 20
    users = np.unique(log.user_ids).tolist()
    merged, whole = vectors_in(tmp_path / "a", users), vectors_in(tmp_path / "b", users)
    assert merged[1].all()
    assert np.allclose(merged[0], whole[0], atol=HALF)


def joined(first, rest):
    rows = [*first.as_messages(), *rest.as_messages()]
    start = rows[0]["timestamp_ms"]
    log = a_log([(m["user_id"], m["item_id"], m["action"], (m["timestamp_ms"] - start) / 60_000) for m in rows])
    assert log.times_ms[0] == first.times_ms[0]
    return log


def test_an_erased_user_has_the_vector_of_what_was_done_since_or_none(tmp_path):
    model, items, everybody = a_model(), an_item_table(), a_log([(user, user, "save", user) for user in range(5)])
    refresh(model, items, histories_of(everybody, 100), tmp_path, as_of_ms=int(everybody.times_ms[-1]))
    before, _ = vectors_in(tmp_path, range(5))
    left = a_log([(user, user, "save", user) for user in (0, 2, 4)] + [(3, 9, "save", 3)])
    now_ms = int(everybody.times_ms[-1]) + 1
    done = refresh_active(model, items, histories_of(left, 100), tmp_path, as_of_ms=now_ms, erased=["1", "3", "lost"])
    after, found = vectors_in(tmp_path, range(5))
    assert (done.users, done.kept, found.tolist()) == (1, 3, [True, False, True, True, True])
    assert np.array_equal(after[[0, 2, 4]], before[[0, 2, 4]])
    assert not np.allclose(after[3], before[3], atol=HALF)


def test_another_models_table_is_not_merged_into(tmp_path):
    log = a_random_log(2, 30, 5)
    refresh(a_model(), an_item_table(), histories_of(log, 100), tmp_path, as_of_ms=1)
    with pytest.raises(SpaceRefusedError, match="do a full refresh"):
        refresh_active(a_model(seed=1), an_item_table(), histories_of(log, 100), tmp_path, as_of_ms=2)


def test_as_many_versions_stay_as_are_wanted_for_replays(tmp_path):
    log = a_log([("ann", 1, "save", 1), ("bob", 2, "save", 2), ("ann", 3, "save", 3), ("bob", 4, "view", 4)])
    times_ms = log.times_ms.tolist()
    for job, at_ms in zip((refresh, refresh_active, refresh_active), times_ms[1:], strict=True):
        job(a_model(), an_item_table(), histories_of(log, 100), tmp_path, as_of_ms=at_ms, keep=3)
    assert [table.as_of_ms for table in UserTables(tmp_path).opened] == times_ms[1:]
