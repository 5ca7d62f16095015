"""Queries held against each other: a plain two-tower, those of the default training, and the table."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from rankstream.experiments.movielens.next_item import NextItemConfig
from rankstream.experiments.queries.__main__ import KS, written
from rankstream.experiments.queries.of_the_default import Newest, Session
from rankstream.experiments.queries.two_tower import TwoTower

ITEMS = np.eye(3, dtype=np.float32)


@pytest.fixture
def contexts():
    torch.manual_seed(0)
    model = TwoTower(NextItemConfig(items=9, num_actions=4, hidden=8)).eval()
    return lambda *items: model(torch.tensor([items]))[0].detach()


def test_the_two_tower_knows_the_newest_item_and_of_older_ones_the_mean(contexts):
    assert torch.allclose(contexts(1, 2, 3)[2], contexts(2, 1, 3)[2], atol=1e-6)
    assert not torch.allclose(contexts(1, 2, 3)[2], contexts(1, 3, 2)[2], atol=1e-3)
    assert not torch.allclose(contexts(1, 2, 3)[2], contexts(4, 2, 3)[2], atol=1e-3)


def test_no_position_of_the_two_tower_knows_what_comes_after_it_nor_padding(contexts):
    whole = contexts(1, 2, 3, 9)
    assert torch.allclose(whole[:2], contexts(1, 2), atol=1e-6)
    assert torch.allclose(whole[2], contexts(9, 1, 2, 3)[3], atol=1e-6)


def test_queries_are_of_the_items_that_have_a_vector_newest_first():
    acted = np.array([[0, 0, 0], [0, 3, 0], [4, 0, 0]], np.float32)
    inputs = SimpleNamespace(
        candidate_items=ITEMS, action_items=acted, action_found=np.array([False, True, True]),
        session_vector=np.array([0, 0, 2], np.float32),
    )  # fmt: skip
    assert Newest(1).score(inputs).ravel().tolist() == [0, 1, 0]
    assert Newest(20).score(inputs).ravel().tolist() == pytest.approx([0.8, 0.6, 0])
    assert Session().score(inputs).ravel().tolist() == [0, 0, 1]
    unknown = SimpleNamespace(**vars(inputs) | {"action_found": np.zeros(3, np.bool_)})
    assert Newest(20).score(unknown).ravel().tolist() == [0, 0, 0]


def test_the_table_holds_each_query_against_the_first_paired(tmp_path):
    rows = [
        {"query": f"q{at}", "user_id": at, "variant": name} | {f"hit@{k}": float(k >= least) for k in KS}
        for at in range(4)
        for name, least in (("mean", 100), ("own", 20), ("popularity", 1000))
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "o.parquet")
    head, _, mean, own = written(tmp_path / "o.parquet", ["mean", "own"]).splitlines()
    assert head.startswith("| 4 queries | recall@20 | recall@100 | recall@500 | less the first: @20")
    assert mean.startswith("| mean | .000")
    assert "1.000 [1.000, 1.000] | .000 [.000, .000] | .000 [.000, .000] |" in own
