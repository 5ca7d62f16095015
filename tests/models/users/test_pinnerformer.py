from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rankstream.events.sequences import group_by_user
from rankstream.features.user_view import known_actions
from rankstream.models.users.pinnerformer import ActionSequences, PinnerFormer, PinnerFormerConfig, collate, tokens_of
from rankstream.models.users.pinnerformer_training import user_vectors_at
from rankstream.models.users.time_features import NUM_ANGLES, RELATIVE_PERIODS_MS, time_features
from tests.builders.models import START_MS, a_log, a_random_log, a_state, an_item_table

CONFIG = PinnerFormerConfig(action_types=3, surfaces=2, item_dim=8, user_dim=16, hidden=16, layers=2, heads=2)


def a_model() -> PinnerFormer:
    torch.manual_seed(0)
    return PinnerFormer(CONFIG).eval()


def a_batch(times_ms: np.ndarray, seed: int = 0) -> ActionSequences:
    rng = torch.Generator().manual_seed(seed)
    shape = times_ms.shape
    angles, logs = time_features(times_ms)
    return ActionSequences(
        item_vectors=torch.randn(*shape, 8, generator=rng),
        action_types=torch.randint(1, 4, shape, generator=rng),
        surfaces=torch.randint(0, 3, shape, generator=rng),
        log_values=torch.rand(*shape, generator=rng),
        angles=torch.from_numpy(angles),
        logs=torch.from_numpy(logs),
    )


def some_times(count: int) -> np.ndarray:
    return START_MS + np.cumsum(np.random.default_rng(1).integers(0, 10_000_000, (1, count)), axis=1)


def test_every_position_returns_a_unit_vector_and_the_last_is_served():
    batch = a_batch(some_times(9))
    vectors = a_model()(batch)
    assert vectors.shape == (1, 9, 16)
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(1, 9))
    assert torch.allclose(a_model().encode_last(batch), vectors[:, -1])


@pytest.mark.parametrize("field", ["item_vectors", "action_types", "surfaces", "log_values", "angles", "logs"])
def test_what_comes_later_never_changes_an_earlier_vector(field):
    batch = a_batch(some_times(9))
    changed = getattr(batch, field).clone()
    changed[:, 5:] = 1 + 0 * changed[:, 5:]
    before, after = a_model()(batch), a_model()(batch._replace(**{field: changed}))
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


def test_padding_changes_nothing():
    item_table, log = an_item_table(), a_random_log(3, 30, 40)
    histories = [a_state(log, user).history.columns() for user in ("user0", "user1", "user2")]
    tokens = [tokens_of(history, item_table, CONFIG) for history in histories]
    short = tokens_of(
        a_state(a_log([("u", 1, "save", 5), ("u", 2, "view", 9)]), "u").history.columns(), item_table, CONFIG
    )
    together = a_model().encode_last(*collate([short, *tokens]))
    alone = a_model().encode_last(*collate([short]))
    assert torch.allclose(together[0], alone[0], atol=1e-6)


def test_tokens_turn_a_history_round_and_leave_unknown_items_out():
    log = a_log([("u", 3, "view", 1), ("u", 999, "save", 2), ("u", 4, "hide", 3)])
    tokens = tokens_of(known_actions(a_state(log, "u").history.columns(), START_MS + 10**9), an_item_table(), CONFIG)
    assert tokens.action_types.tolist() == [1, 3]
    assert np.array_equal(tokens.item_vectors, an_item_table().vectors[[3, 4]])
    assert np.all(np.diff(tokens.times_ms) > 0)


@pytest.mark.parametrize("actions", [1, 40, 100, 250])
def test_the_vector_of_a_history_is_the_training_graphs(actions):
    item_table, log = an_item_table(), a_random_log(4, 30, actions)
    sequences = group_by_user(log, item_table)
    trained = user_vectors_at(a_model(), sequences, item_table, sequences.starts[1:] - 1)
    for user, wanted in zip(sequences.user_ids, trained, strict=True):
        tokens = tokens_of(a_state(log, user).history.columns(), item_table, CONFIG)
        served = a_model().encode_last(*collate([tokens]))[0].detach().numpy()
        assert np.abs(served - wanted).max() < 1e-5


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=20), st.integers(1, 4500))
def test_relative_time_features_do_not_know_the_date(gaps, pairs_of_days):
    times = START_MS + np.cumsum(np.array(gaps, np.int64))
    angles, logs = time_features(times)
    moved_angles, moved_logs = time_features(times + pairs_of_days * 2 * 86_400_000)
    assert np.array_equal(angles[:, 12:], moved_angles[:, 12:])
    assert np.array_equal(logs[:, 1:], moved_logs[:, 1:])
    assert np.array_equal(angles[:, :9], moved_angles[:, :9])  # 15 minutes to a day: all divide two days


def test_time_features_keep_a_second_apart_after_fifty_years():
    angles, _ = time_features(np.array([START_MS, START_MS + 1000]))
    assert angles.shape == (2, NUM_ANGLES)
    quarter = 2 * np.pi * 1000 / 900_000
    assert (angles[1, 0] - angles[0, 0]) % (2 * np.pi) == pytest.approx(quarter, abs=1e-5)
    assert RELATIVE_PERIODS_MS[0] == 1000
    assert RELATIVE_PERIODS_MS[-1] == 28 * 86_400_000


def test_training_at_a_position_sees_the_time_that_serving_will_see():
    """A longer window does not leak how soon it goes on: earlier vectors are those of the shorter window."""
    times = some_times(9)
    whole, short = a_batch(times), a_batch(times[:, :5])
    short = ActionSequences(*(part[:, :5] for part in whole))._replace(angles=short.angles, logs=short.logs)
    assert torch.allclose(stirred(a_model())(whole)[:, :5], stirred(a_model())(short), atol=1e-5)


def test_as_published_time_since_the_latest_leaks_the_end_to_earlier_positions():
    times = some_times(9)
    whole, short = a_batch(times), a_batch(times[:, :5])
    short = ActionSequences(*(part[:, :5] for part in whole))._replace(angles=short.angles, logs=short.logs)
    torch.manual_seed(0)
    published = PinnerFormer(replace(CONFIG, time_in_attention=False)).eval()
    assert not torch.allclose(published(whole)[:, :5], published(short), atol=1e-2)


def test_attention_knows_the_time_between_actions():
    near, far = some_times(9), some_times(9)
    far[:, 5:] += 86_400_000
    one, other = a_batch(near), a_batch(far)
    other = one._replace(angles=torch.cat([one.angles[..., :12], other.angles[..., 12:44], one.angles[..., 44:]], -1))
    model = stirred(a_model())
    assert torch.allclose(model(one)[:, :5], model(other)[:, :5], atol=1e-5)
    assert not torch.allclose(model(one)[:, 5:], model(other)[:, 5:], atol=1e-5)


def stirred(model: PinnerFormer) -> PinnerFormer:
    """Return the weights that start at zero some other value."""
    torch.manual_seed(1)
    for pair_times in model.pair_times:
        for weights in pair_times.parameters():
            torch.nn.init.normal_(weights)
    return model
