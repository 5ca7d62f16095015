"""`rankstream index`: built ahead, held to the exact search, refused in a sentence."""

import json
import re

import pytest

from rankstream.features.embeddings.table import EmbeddingTable, publish
from rankstream.retrieval.index import choice, hnsw
from rankstream.retrieval.index.hnsw_files import read_index
from tests.builders.bundle import a_bundle, vectors_of
from tests.builders.cli import rankstream, refusal


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("items")
    publish(root, range(5_000), vectors_of(5_000, 8, 1), space="items", as_of_ms=0)
    return root


@pytest.fixture(autouse=True)
def a_walk_is_quick(monkeypatch):
    """Of so few items each would be compared."""
    monkeypatch.setattr(hnsw, "EXACT_ROWS", 16)


def test_an_index_is_built_beside_its_table_and_prints_what_it_finds(root):
    done = rankstream("index", "build", root)
    assert done.exit_code == 0, done.output
    assert "workers compare every item of less than 20,000" in done.output
    index = read_index(EmbeddingTable.open(root), root)
    assert index.name in done.output
    first, *_ = json.loads(rankstream("index", "build", root, "--json").stdout)["curve"]
    assert first == {"limit": 10, "ef": index.curve.points[0].ef, "recall": index.curve.points[0].recall}


def test_the_check_holds_it_to_the_exact_search(root):
    rankstream("index", "build", root)
    done = rankstream("index", "check", root, "--limit", "500,10", "--queries", 20, "--json")
    assert done.exit_code == 0, done.output
    few, many = json.loads(done.stdout)["limits"]
    assert (few["limit"], many["limit"], many["ef"], many["recall"]) == (10, 500, None, 1.0)  # all are compared
    assert few["ef"] is not None
    assert 0.9 < few["recall"] <= 1
    assert few["p50_ms"] <= few["p99_ms"]
    shown = rankstream("index", "check", root, "--limit", "500").output
    assert re.search(r"500 │ +all │ +1\.000", shown)


def test_a_bundles_items_can_be_indexed_and_it_still_verifies(tmp_path):
    bundle = a_bundle(tmp_path / "bundle")
    assert rankstream("index", "build", bundle).exit_code == 0
    assert (bundle / "items" / "hnsw").is_dir()
    assert rankstream("bundle", "verify", bundle).exit_code == 0


def test_what_can_not_be_built_or_checked_is_one_sentence(root, tmp_path, monkeypatch):
    assert "publish one there" in refusal(rankstream("index", "build", tmp_path))
    publish(tmp_path, range(9), vectors_of(9, 8, 1), space="items", as_of_ms=0)
    assert "build it with `rankstream index build`" in refusal(rankstream("index", "check", tmp_path))
    assert "--limit many is no list of numbers" in refusal(rankstream("index", "check", root, "--limit", "many"))
    publish(tmp_path / "empty", [], vectors_of(0, 8, 1), space="items", as_of_ms=0)
    assert "is empty, so there is nothing to search" in refusal(rankstream("index", "build", tmp_path / "empty"))
    monkeypatch.setattr(choice, "find_spec", lambda name: None)
    assert 'pip install "rankstream[ann]"' in refusal(rankstream("index", "build", root))
