from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.progress import Progress

from rankstream.events.public.kuairand import HEADS, VOCABULARY
from rankstream.experiments import plots
from rankstream.experiments.kuairand import tables as ranker_tables
from rankstream.experiments.kuairand.baselines import counters
from rankstream.experiments.kuairand.data import DataConfig, day_lists
from rankstream.experiments.kuairand.ranker import BASELINES, SMALL, Experiment, RunConfig, compare
from rankstream.experiments.kuairand.request_cache import CachedRequest, RequestCache, write_cache
from rankstream.experiments.kuairand.rows import rows
from rankstream.experiments.runs import Runs
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.join import OfflineFeatures
from rankstream.features.schema import FeatureSizes
from rankstream.features.sessions import NoSessions
from rankstream.models.ranker.examples import inputs_of
from rankstream.models.ranker.impressions import impression_examples
from tests.builders.models import a_log

torch.set_num_threads(1)

SETTINGS = replace(
    SMALL,
    data=DataConfig(users=0.01),
    num_actions=4,
    action_dim=4,
    recent_outputs=2,
    mlp=(8,),
    requests=16,
    epochs=6.0,
)
SIZES = FeatureSizes(num_actions=4, item_dim=4, user_dim=3, session_dim=2, item_features=7)


def a_feed(folder, seed):
    """Sessions of users who click every item of an even number and skip the others, written as a cache."""
    rng = np.random.default_rng(seed)
    sampled = [(user, int(rng.integers(12)), 45 * step) for user in range(30) for step in range(6)]
    log = a_log([(user, item, "skip" if item % 2 else "click", minutes) for user, item, minutes in sampled], VOCABULARY)
    vectors = np.random.default_rng(0).standard_normal((12, 7)).astype(np.float16).astype(np.float32)
    items, features = ItemTable(np.arange(12), vectors[:, :4]), ItemTable(np.arange(12), vectors)
    offline = OfflineFeatures(SIZES, items, features, NoVectors(3), NoSessions(2))
    requests = (
        CachedRequest(inputs_of(one, offline), one.labels, one.user_key,
                      one.now_ms, one.candidates)
        for one in impression_examples(log, HEADS, offline)
    )  # fmt: skip
    write_cache(folder, requests, SIZES, tuple(HEADS))
    return RequestCache(folder)


@pytest.fixture
def experiment(tmp_path):
    parts = {name: a_feed(tmp_path / name, seed) for seed, name in enumerate(("train", "validation", "test"))}
    parts |= {f"{name}_days": day_lists(cache) for name, cache in parts.items()}
    return Experiment(parts, {item: (str(item % 3), str(item)) for item in range(12)}, tmp_path / "predictions")


def test_runs_become_tables(experiment, tmp_path):
    runs, wanted = Runs(tmp_path / "results", tmp_path / "work"), ("full", "no_realtime", "max")
    with Progress(disable=True) as progress:
        for name in BASELINES:
            runs.run(f"ranker-half/{name}-0", RunConfig(name, 0, SETTINGS), experiment.work(None, progress))
        for row in rows(SETTINGS.recent_outputs, SETTINGS.num_actions):
            if row.name in wanted:
                config = RunConfig(row.name, 0, SETTINGS)
                runs.run(f"ranker-half/{row.name}-0", config, experiment.work(row, progress))
    full = runs.result("ranker-half/full-0")
    assert full is not None
    assert full["metrics"]["test"]["auc_click"] > 0.8
    compare(experiment, runs, "ranker-half", SETTINGS)
    made = ranker_tables.tables(runs)
    assert {"ranker-lists", "ranker-differences", "ranker-outputs", "ranker-diversity", "ranker-freshness"} < set(made)
    assert "| full hybrid | 1 | " in made["ranker-lists"]
    assert "| popularity (the item's own rates) | 1 | " in made["ranker-differences"]
    assert "| random order | 1 | " in made["ranker-lists"]
    (boosted,) = [line for line in made["ranker-differences"].splitlines() if "LambdaMART" in line]
    assert boosted.endswith("|  |  |  |  |  |  |")  # it has no heads
    assert "| up to 3 hours | " in made["ranker-freshness"]
    plotted = plots.draw(runs, tmp_path)
    assert [path.name for path in plotted] == ["ranker.svg", "freshness.svg"]
    before = [path.read_bytes() for path in plotted]
    assert before == [path.read_bytes() for path in plots.draw(runs, tmp_path)]  # the same results, the same file
    assert "full hybrid less row" in plotted[0].read_text()
    assert "age of the newest action" in plotted[1].read_text()


def test_nothing_is_compared_without_the_full_hybrid(experiment, tmp_path):
    runs = Runs(tmp_path / "results", tmp_path / "work")
    compare(experiment, runs, "ranker-half", SETTINGS)
    assert ranker_tables.tables(runs) == {}


def test_counters_count_what_rankers_see(experiment):
    whole = experiment.parts["train"]
    few = RequestCache(whole.folder, 1)
    types = len(VOCABULARY.actions)
    shares = counters(few, types)[:, -2 * types : -types]
    assert set(np.unique(shares)) <= {0.0, 1.0}  # of one action
    assert not np.array_equal(counters(whole, types), counters(few, types))
