"""Users without actions are served a line of logits and counts; all others what they were served, to the bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rankstream.bundles.ranker import STRANGERS
from rankstream.features.actions import Vocabulary
from rankstream.features.schema import POPULARITY_COLUMN, ModelInputs
from rankstream.models.ranker.export import bundle_part, export_ranker
from rankstream.models.ranker.factored import SplitRanker
from rankstream.models.ranker.hybrid import ANY_ACTION, USER_FOUND, HybridRanker, RankerConfig, StrangerLogits
from rankstream.models.recipes.export import model_version_of
from rankstream.models.training.checkpoints import load_weights, save_weights
from tests.builders.ranker import SMALL, a_config, a_ranker, some_inputs

LINE = StrangerLogits(0.25, -0.5, (3.0, 1.5), new_users=True)


def asked(actions: int) -> ModelInputs:
    """A request of a user with so many actions, for five candidates of different popularity."""
    inputs = some_inputs(actions, candidates=5)
    inputs.context[ANY_ACTION] = float(actions > 0)
    inputs.candidate_features[:, POPULARITY_COLUMN : POPULARITY_COLUMN + 2] = np.linspace(0, 1, 10).reshape(5, 2)
    return inputs


def two_rankers(line: StrangerLogits = LINE) -> tuple[HybridRanker, HybridRanker]:
    """The same weights, as they were trained and as they serve."""
    served = a_ranker(a_config(strangers=line))
    trained = HybridRanker(a_config()).eval()
    trained.load_state_dict(served.state_dict())
    return trained, served


def test_logits_of_a_stranger_are_the_line():
    trained, served = two_rankers()
    logits = torch.logit(trained.probabilities(asked(0)))
    counts = torch.from_numpy(asked(0).candidate_features[:, :2]) @ torch.tensor(LINE.popularity)
    wanted = torch.sigmoid(LINE.slope * logits + counts[:, None] + LINE.intercept)
    torch.testing.assert_close(served.probabilities(asked(0)), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("actions", [1, 7])
def test_whoever_has_acted_is_served_as_ever_to_the_bit(tmp_path, actions):
    trained, served = two_rankers()
    (tmp_path / "before").mkdir()
    before, now = export_ranker(trained, tmp_path / "before"), export_ranker(served, tmp_path)
    for plain, line in (
        (before.probabilities, now.probabilities),
        (SplitRanker(trained).probabilities, SplitRanker(served).probabilities),
        (trained.probabilities, served.probabilities),
    ):
        np.testing.assert_array_equal(np.asarray(line(asked(actions))), np.asarray(plain(asked(actions))))
        assert np.abs(np.asarray(line(asked(0))) - np.asarray(plain(asked(0)))).max() > 0.01


def test_new_users_may_be_left_to_the_network_while_those_with_a_vector_are_not(tmp_path):
    trained, served = two_rankers(replace(LINE, new_users=False))
    graphs = export_ranker(served, tmp_path)
    new, known = asked(0), asked(0)
    new.context[USER_FOUND], known.context[USER_FOUND] = 0.0, 1.0
    _, all_served = two_rankers()
    for found in (served.probabilities, SplitRanker(served).probabilities, graphs.probabilities):
        np.testing.assert_allclose(np.asarray(found(new)), trained.probabilities(new).numpy(), rtol=0, atol=1e-6)
        np.testing.assert_allclose(np.asarray(found(known)), all_served.probabilities(known).numpy(), rtol=0, atol=1e-6)


def test_both_sides_and_both_graphs_know_it(tmp_path):
    _, served = two_rankers()
    wanted = served.probabilities(asked(0)).numpy()
    np.testing.assert_allclose(SplitRanker(served).probabilities(asked(0)), wanted, rtol=0, atol=1e-6)
    np.testing.assert_allclose(export_ranker(served, tmp_path).probabilities(asked(0)), wanted, rtol=0, atol=1e-6)


def test_a_bundle_says_so_and_is_another_version():
    trained, served = two_rankers()
    vocabulary = Vocabulary(("view", "click", "save", "hide"))
    facts = [bundle_part(ranker, vocabulary).part.facts.get(STRANGERS) for ranker in (trained, served)]
    assert facts == [None, {"slope": 0.25, "intercept": -0.5, "popularity": (3.0, 1.5), "new_users": True}]
    assert model_version_of(trained, "items", {"save": 1.0}) != model_version_of(served, "items", {"save": 1.0})


def test_weights_keep_it(tmp_path):
    _, served = two_rankers()
    save_weights(tmp_path / "ranker.pt", served, served.config)
    assert load_weights(tmp_path / "ranker.pt", HybridRanker, RankerConfig).config.strangers == LINE


def test_more_counts_than_items_have_are_refused():
    with pytest.raises(ValueError, match="3 counts are weighed for strangers, items have 2 features"):
        replace(a_config(SMALL), strangers=StrangerLogits(1.0, 0.0, (1.0, 1.0, 1.0), new_users=True))
