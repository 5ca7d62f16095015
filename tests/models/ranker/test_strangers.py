"""Users of whom nothing is known, in a world where the right answer is: nobody has a taste, some items are popular."""

from dataclasses import replace

import numpy as np

from rankstream.events.log import EventLog
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.join import OfflineFeatures
from rankstream.features.schema import FeatureSizes
from rankstream.features.sessions import NoSessions
from rankstream.models.items.item_features import item_features
from rankstream.models.ranker.examples import NegativesConfig, inputs_of, pool_of, ranking_examples
from rankstream.models.ranker.factored import SplitRanker
from rankstream.models.ranker.joined import JoinedRequests
from rankstream.models.ranker.training import RankerTraining, train_ranker
from rankstream.models.training.loop import FitConfig
from tests.builders.models import a_log
from tests.builders.ranker import a_config

ITEMS = 80
SHARES = 1 / np.arange(1, ITEMS + 1) / sum(1 / np.arange(1, ITEMS + 1))  # of all actions, whoever acts


def a_world() -> tuple[EventLog, OfflineFeatures]:
    """A log in which each user acts once, on what SHARES say, and what it tells of items; their vectors say nothing."""
    rng = np.random.default_rng(0)
    acted_on = rng.choice(ITEMS, 1_500, p=SHARES).tolist()
    log = a_log([(f"u{minute}", item, "save", minute) for minute, item in enumerate(acted_on)])
    table = ItemTable(np.arange(ITEMS), rng.normal(size=(ITEMS, 4)).astype(np.float32) / 2)
    features, names = item_features(log, table)
    sizes = FeatureSizes(2, table.dim, 1, 1, len(names))
    return log, OfflineFeatures(sizes, table, ItemTable(table.ids, features), NoVectors(1), NoSessions(1))


def best_five(steps: int) -> float:
    """Return how much is done on the five items that a stranger is shown first, after a training of so many steps."""
    log, offline = a_world()
    examples = ranking_examples(
        log, {"save": ("save",)}, offline, NegativesConfig(), np.random.default_rng(1), max_requests=400
    )
    config = a_config(offline.sizes, heads=1, layers=1, recent_outputs=1)
    training = RankerTraining(softmax=1.0, fit=FitConfig(steps=steps, learning_rate=1e-2, warm_up=10))
    nothing = JoinedRequests.of([], offline)
    ranker, _ = train_ranker(replace(config, heads=("save",)), training, JoinedRequests.of(examples, offline), nothing)
    everything = replace(examples[-1], candidates=pool_of(log, offline).items)
    scores = SplitRanker(ranker).probabilities(inputs_of(everything, offline))[:, 0]
    shares_of = dict(zip(offline.item_features.rows_of(everything.candidates).tolist(), scores.tolist(), strict=True))
    return float(sum(SHARES[row] for row in sorted(shares_of, key=shares_of.__getitem__)[-5:]))


def test_strangers_are_shown_what_is_popular():
    assert best_five(steps=150) > 0.9 * SHARES[:5].sum()


def test_before_training_they_are_not():
    assert best_five(steps=1) < 0.5 * SHARES[:5].sum()
