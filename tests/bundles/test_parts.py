"""A made-up kind of part: exported, written, opened and verified without a word of it in the general code."""

import msgspec
import numpy as np
import pytest

from rankstream.bundles.graphs import open_graph
from rankstream.bundles.item_tables import ITEM_FEATURES, ITEMS, Vectors, export_table
from rankstream.bundles.manifest import read_manifest
from rankstream.bundles.parts import BundlePart, ExportError, Part, Written
from rankstream.bundles.ranker import golden_inputs, ranker_case, ranker_part
from rankstream.bundles.writer import write_bundle
from rankstream.ranking.backends.base import OpenedPart
from rankstream.ranking.bundle import OPENERS, BundleRefusedError, open_bundle
from tests.builders.bundle import (
    AS_OF_MS,
    ITEM_SPACE,
    SIZES,
    a_bundle,
    draw_weights,
    tiny_ranker,
    vectors_of,
    write_graph,
    write_ranker,
)

# --- All that a second user model would bring: what it exports, and how it is opened ------------------------------


def lstm_user(*, factor=2.0, user_dim=8, optional=False, cases="lstm"):
    """A "model" that multiplies the mean of a user's items, as a part of a bundle."""
    part = Part(
        kind="lstm_user", model="LstmUser", files=("lstm.onnx",), sizes={"user_dim": user_dim}, optional=optional,
        facts={"factor": factor},
    )  # fmt: skip

    def write(folder):
        nodes = [("Mul", ["items", "factor"], "scaled", {}), ("ReduceMean", ["scaled"], "user_vector", {"axes": [0]})]
        shapes = {"items": ["T", 8]}, {"user_vector": [1, 8]}
        write_graph(folder / "lstm.onnx", nodes, *shapes, {"factor": np.full(1, factor, np.float32)})
        items = vectors_of(5, 8, 0)
        return Written({cases: [{"items": items, "user_vector": 2 * items.mean(axis=0, keepdims=True)}]}, {"lstm": 0.0})

    return BundlePart(part, write)


def open_lstm_user(folder, part, manifest, providers):
    graph = open_graph(folder / part.files[0], providers)
    run = lambda case: {"user_vector": graph.run(None, {"items": case["items"]})[0]}  # noqa: E731
    return OpenedPart(graph, {"lstm": run})


WITH_LSTM = {**OPENERS, "lstm_user": open_lstm_user}

# --- The recipe around it, as tiny as can be ------------------------------------------------------------------------


def the_other_parts():
    def write(folder):
        weights = draw_weights(0)
        write_ranker(folder, weights)
        return Written({"ranker": [ranker_case(one, tiny_ranker(weights, one)) for one in golden_inputs(SIZES, 4)]})

    items, features = (Vectors(range(20), vectors_of(20, width, 1), ITEM_SPACE) for width in (8, 2))
    return [
        export_table(ITEMS, items, AS_OF_MS),
        export_table(ITEM_FEATURES, features, AS_OF_MS),
        BundlePart(ranker_part(SIZES), write),
    ]


def write_with(tmp_path, part):
    general = msgspec.structs.replace(read_manifest(a_bundle(tmp_path / "general")), files={})
    write_bundle(tmp_path / "bundle", [*the_other_parts(), part], general)
    return tmp_path / "bundle"


def test_a_made_up_part_is_written_opened_and_verified(tmp_path):
    bundle = open_bundle(write_with(tmp_path, lstm_user()), openers=WITH_LSTM)
    assert [part.kind for part in bundle.manifest.parts] == ["items", "item_features", "ranker", "lstm_user"]
    assert bundle.manifest.parts[-1].facts == {"factor": 2.0}
    assert bundle.manifest.metrics["export"] == {"lstm": 0.0}
    (vector,) = bundle.parts["lstm_user"].serves.run(None, {"items": np.ones((3, 8), np.float32)})
    assert vector.tolist() == [[2.0] * 8]


def test_a_made_up_part_that_breaks_its_golden_cases_is_refused(tmp_path):
    folder = write_with(tmp_path, lstm_user(factor=2.1))
    with pytest.raises(BundleRefusedError, match=r"golden.npz: the graphs' outputs are up to .* off"):
        open_bundle(folder, openers=WITH_LSTM)


def test_a_made_up_part_without_its_golden_cases_is_refused(tmp_path):
    folder = write_with(tmp_path, lstm_user(cases="others"))
    with pytest.raises(BundleRefusedError, match="has no cases 'lstm' of the lstm_user"):
        open_bundle(folder, openers=WITH_LSTM)


def test_a_part_that_this_version_does_not_know_is_refused_in_one_sentence(tmp_path):
    folder = write_with(tmp_path, lstm_user())
    with pytest.raises(
        BundleRefusedError, match=r"lists a part 'lstm_user', which this version .* can't open"
    ) as refused:
        open_bundle(folder)
    assert "\n" not in str(refused.value)


def test_an_unknown_part_that_is_optional_is_left_alone_but_its_files_are_checked(tmp_path):
    folder = write_with(tmp_path, lstm_user(optional=True))
    assert "lstm_user" not in open_bundle(folder).parts
    (folder / "lstm.onnx").write_bytes(b"changed")
    with pytest.raises(BundleRefusedError, match=r"lstm.onnx was changed"):
        open_bundle(folder)


def test_parts_that_make_no_bundle_are_refused_before_anything_is_written(tmp_path):
    for part, complaint in (
        (lstm_user(user_dim=9), "the user vectors of LstmUser are 9, the ranker was made for 8"),
        (the_other_parts()[0], r"its parts are \[items, item_features, ranker, items\]; wanted each kind once"),
    ):
        with pytest.raises(ExportError, match=complaint):
            write_with(tmp_path, part)
        assert [path.name for path in tmp_path.iterdir()] == ["general"]


def test_two_parts_never_share_golden_cases_and_nothing_stays(tmp_path):
    with pytest.raises(ExportError, match="the golden cases ranker of lstm_user are another part's too"):
        write_with(tmp_path, lstm_user(cases="ranker"))
    assert [path.name for path in tmp_path.iterdir()] == ["general"]
