"""`rankstream vectors import`: vectors of a team's own for new items, refused where they can't be of the space."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.ids import id_keys
from rankstream.ranking.serving import LiveRanker
from tests.builders.bundle import ITEM_SPACE, a_bundle, vectors_of
from tests.builders.cli import rankstream, refusal

IDS, VECTORS = ["fig", 999], vectors_of(2, 8, 5)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return a_bundle(tmp_path_factory.mktemp("bundle"))


def write(path, ids=IDS, vectors=VECTORS):
    rows = [{"item_id": item, "vector": vector} for item, vector in zip(ids, np.asarray(vectors).tolist(), strict=True)]
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    elif path.suffix == ".npz":
        np.savez(path, item_id=np.array(ids, str), vector=vectors)
    else:
        pq.write_table(pa.table({"item_id": [str(item) for item in ids], "vector": vectors.tolist()}), path)
    return path


def imported(path, bundle, root, *flags):
    return rankstream("vectors", "import", path, "--bundle", bundle, "--to", root, *flags)


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "npz"])
def test_vectors_of_new_items_are_published_beside_the_bundles_and_served(ending, bundle, tmp_path):
    done = imported(write(tmp_path / f"new.{ending}"), bundle, tmp_path / "items")
    assert done.exit_code == 0, done.output
    assert "202 items, 2 of them newer than the bundle" in done.output
    table = EmbeddingTable.open(tmp_path / "items")
    assert table.space == ITEM_SPACE
    assert np.array_equal(table.look_up(id_keys(IDS))[0], VECTORS)
    assert LiveRanker.open(bundle, item_vectors=tmp_path / "items").current.item_vectors == table.version


def test_a_second_file_adds_to_the_first_and_the_bundles_items_stay(bundle, tmp_path):
    imported(write(tmp_path / "one.jsonl"), bundle, tmp_path / "items")
    file = write(tmp_path / "two.jsonl", ["plum", 7], VECTORS)
    done = json.loads(imported(file, bundle, tmp_path / "items", "--as-of", "2024-01-01", "--json").stdout)
    assert (done["items"], done["added"], done["kept"], done["in_base"]) == (203, 3, 2, 1)
    assert EmbeddingTable.open(tmp_path / "items").as_of_ms == done["as_of_ms"] == 1_704_067_200_000
    assert "nothing new" in imported(file, bundle, tmp_path / "items").output


def test_vectors_far_from_the_length_of_the_bundles_are_pointed_out(bundle, tmp_path):
    done = imported(write(tmp_path / "long.jsonl", IDS, 100 * VECTORS), bundle, tmp_path / "items")
    assert "are they of its space?" in done.stderr


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("new.csv", "fig,1", "wanted one of .jsonl, .parquet, .npz"),
        ("new.jsonl", "", "holds no item"),
        ("new.jsonl", '{"item_id": "fig", "vector": [1, "x"]}', "line 1 of"),
        ("new.jsonl", '{"item_id": 1, "vector": [1]}\n{"item_id": 2, "vector": [1, 2]}', "several widths (1, 2)"),
        ("new.jsonl", '{"item_id": "fig", "vector": [1, 2]}', "vectors of 2 given, but the items' are of 8"),
        ("new.npz", "no zip", "can't be read"),
        ("new.parquet", "no parquet", "can't be read"),
    ],
)
def test_a_file_that_can_not_be_used_is_one_sentence(name, text, words, bundle, tmp_path):
    (tmp_path / name).write_text(text)
    assert words in refusal(imported(tmp_path / name, bundle, tmp_path / "items"))


def test_an_item_given_twice_and_a_time_to_come_are_refused(bundle, tmp_path):
    twice = write(tmp_path / "twice.jsonl", ["fig", "fig"])
    assert "name the same thing; give each once" in refusal(imported(twice, bundle, tmp_path / "items"))
    new = write(tmp_path / "new.jsonl")
    assert "still to come" in refusal(imported(new, bundle, tmp_path / "items", "--as-of", "2100-01-01"))
