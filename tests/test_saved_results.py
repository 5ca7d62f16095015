"""The committed results of experiments still belong to their configs: else hours of training would begin again."""

import json
from dataclasses import replace

import pytest

from rankstream.experiments.kuairand import ranker
from rankstream.experiments.movielens import leave_one_out as movielens
from rankstream.experiments.music import hiertcn, pinnerformer
from rankstream.experiments.runs import RESULTS, Runs


def configs():
    """The run's name and its config, as the commands make it, of each result that a training stands behind."""
    for name in ranker.NAMES:
        yield from (
            (f"ranker-full/{name}-{seed}", ranker.RunConfig(name, seed, ranker.SIZES["full"])) for seed in range(3)
        )
    for name, row in hiertcn.ROWS.items():
        yield from ((f"hiertcn-full/{name}-seed{seed}", row("full", seed)) for seed in range(3))
    for name, row in pinnerformer.ROWS.items():
        yield from (
            (f"pinnerformer-full/{name}-seed{seed}", row(pinnerformer.dense("full", seed))) for seed in range(3)
        )
    for name, repeats in movielens.ROWS.items():
        yield f"movielens/full-{name}", replace(movielens.SIZES["full"], repeats=repeats)


HELD = {name: config for name, config in configs() if (RESULTS / f"{name}.json").exists()}


def train(config, folder):
    pytest.fail("its config is another one now, so that it would be trained again")


@pytest.mark.parametrize("name", HELD)
def test_a_result_that_is_there_is_not_made_again(name, tmp_path):
    assert Runs(work=tmp_path).run(name, HELD[name], train) == json.loads((RESULTS / f"{name}.json").read_text())
