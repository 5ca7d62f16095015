"""What serving computes is what was trained: torch and the exported graphs, side by side."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from shutil import copytree
from tempfile import mkdtemp

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.bundles.golden import case_of, read_golden
from rankstream.bundles.graph_check import EXPORTED, OPSETS
from rankstream.bundles.graphs import open_graph
from rankstream.bundles.item_tables import Vectors
from rankstream.bundles.manifest import read_manifest
from rankstream.bundles.parts import ExportError
from rankstream.bundles.sessions import EncodeCase
from rankstream.features.actions import ActionColumns, Vocabulary
from rankstream.features.schema import ModelInputs
from rankstream.features.sessions import MAX_SESSION_ITEMS
from rankstream.models.onnx_graph import OPSET
from rankstream.models.ranker.export import RankerGraphs, export_ranker, verify_ranker
from rankstream.models.ranker.hybrid import HybridRanker
from rankstream.models.recipes.export import Purpose, export_bundle
from rankstream.models.sessions import hiertcn_export
from rankstream.models.sessions.hiertcn import HierTCN, HierTCNConfig
from rankstream.models.sessions.torch_encoder import TorchSessions
from rankstream.models.users import pinnerformer_export
from rankstream.models.users.pinnerformer import PinnerFormer, PinnerFormerConfig, collate, tokens_of
from rankstream.ranking.backends.onnx import OnnxBackend
from rankstream.ranking.bundle import Bundle, BundleRefusedError, open_bundle
from tests.builders.actions import SomeVectors
from tests.builders.ranker import SMALL, a_config, a_ranker, largest, some_inputs

VOCABULARY = Vocabulary(("view", "click", "save", "hide"))
SIZES = replace(SMALL, session_dim=4)  # HierTCN's vectors live in the items' space

VARIANTS = {
    "the paper's attention, low-rank crosses": a_config(SIZES, cross_rank=6),
    "the published code's two heads, full rank": a_config(SIZES, heads=2, cross_rank=None),
    "one layer, one cross": a_config(SIZES, layers=1, crosses=1, mlp=(8,)),
}


@cache
def exported(variant: str) -> tuple[HybridRanker, Path]:
    folder = Path(mkdtemp(prefix="rankstream-test-"))
    ranker = a_ranker(VARIANTS[variant])
    export_ranker(ranker, folder)
    return ranker, folder


def backend_of(variant: str) -> tuple[HybridRanker, OnnxBackend]:
    ranker, folder = exported(variant)
    return ranker, OnnxBackend(folder / "user.onnx", folder / "candidate.onnx")


def a_hiertcn() -> HierTCN:
    torch.manual_seed(0)
    return HierTCN(HierTCNConfig(item_dim=4, hidden=8, layer_state=6, channels=(8, 8))).eval()


def a_pinnerformer() -> PinnerFormer:
    torch.manual_seed(0)
    config = PinnerFormerConfig(4, num_actions=9, item_dim=4, user_dim=3, hidden=8, heads=2, action_dim=4)
    return PinnerFormer(config).eval()


def a_purpose(**more: object) -> Purpose:
    facts = {"model_version": "test-1", "vocabulary": VOCABULARY, "utility": {"save": 1.0, "hide": -2.0}}
    return Purpose(**(facts | {"user_space": "users", "trained_until_ms": 5, "metrics": {"ndcg@10": 0.4}} | more))


def some_vectors(width: int, count: int = 20) -> Vectors:
    vectors = np.random.default_rng(width).standard_normal((count, width)).astype(np.float32)
    return Vectors([f"i{n}" for n in range(count)], vectors, f"space{width}")


def export_to(folder: Path, ranker: HybridRanker | None = None, **more: object) -> Path:
    made = {"hiertcn": a_hiertcn(), "pinnerformer": a_pinnerformer(), "purpose": a_purpose()} | more
    ranker = ranker or a_ranker(VARIANTS["the paper's attention, low-rank crosses"])
    exporters = {"hiertcn": hiertcn_export.bundle_part, "pinnerformer": pinnerformer_export.bundle_part}
    encoders = [exporter(made[name]) for name, exporter in exporters.items() if made[name]]
    export_bundle(folder, ranker, some_vectors(4), some_vectors(2), made["purpose"], encoders)
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(export_to(tmp_path_factory.mktemp("bundles") / "one"))


def test_the_list_of_operators_that_graphs_may_have_is_that_of_the_exports(bundle):
    folders = [bundle.folder, *(exported(variant)[1] for variant in VARIANTS)]
    graphs = [onnx.load(path) for folder in folders for path in folder.glob("*.onnx")]
    assert {node.op_type for graph in graphs for node in graph.graph.node} == EXPORTED
    assert {opset.version for graph in graphs for opset in graph.opset_import} == {OPSET} <= set(OPSETS)


def test_the_exporter_reads_its_translations_once_a_process(bundle):
    """By private names of torch: where this fails, see ``models/onnx_graph.py``."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    assert ONNXRegistry().from_torchlib(opset_version=OPSET) is ONNXRegistry().from_torchlib(opset_version=OPSET)


# --- The ranker --------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    variant=st.sampled_from(list(VARIANTS)),
    actions=st.integers(0, SIZES.num_actions),
    candidates=st.integers(1, 130),
    seed=st.integers(0, 10_000),
)
def test_the_graphs_return_what_the_trained_ranker_returns(variant, actions, candidates, seed):
    ranker, backend = backend_of(variant)
    inputs = some_inputs(actions, candidates, seed, SIZES)
    assert largest(backend.score(inputs) - ranker.probabilities(inputs).numpy()) < 1e-5


@pytest.mark.parametrize("variant", VARIANTS)
def test_verification_passes_with_room_to_spare(variant):
    ranker, folder = exported(variant)
    graphs = RankerGraphs(open_graph(folder / "user.onnx"), open_graph(folder / "candidate.onnx"))
    errors = verify_ranker(ranker, graphs)
    assert set(errors) == {"max_error_vs_torch_float32", "max_error_vs_torch_float64"}
    assert 0 < max(errors.values()) < 5e-6


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_candidate_does_not_depend_on_the_others(variant):
    _, backend = backend_of(variant)
    inputs = some_inputs(9, 100, sizes=SIZES)
    everyone = backend.score(inputs)
    for row in (0, 63, 64, 99):
        alone = replace(
            inputs,
            candidate_items=inputs.candidate_items[row : row + 1],
            candidate_features=inputs.candidate_features[row : row + 1],
        )
        assert largest(backend.score(alone) - everyone[row]) < 1e-6


def test_large_weights_return_numbers_and_the_right_ones(tmp_path):
    variant = "the published code's two heads, full rank"
    torch_ranker = a_ranker(VARIANTS[variant])
    with torch.no_grad():
        for layer in torch_ranker.transact.layers:
            layer.project.weight *= 12
    graphs = export_ranker(torch_ranker, tmp_path)
    inputs = some_inputs(12, 20, sizes=SIZES)
    served = graphs.probabilities(inputs)
    assert np.isfinite(served).all()
    exact = a_ranker(VARIANTS[variant]).double()
    exact.load_state_dict(torch_ranker.state_dict())
    assert largest(served - exact.probabilities(inputs).numpy()) < 1e-4


def test_graphs_of_another_ranker_fail_verification():
    _, folder = exported("one layer, one cross")
    graphs = RankerGraphs(open_graph(folder / "user.onnx"), open_graph(folder / "candidate.onnx"))
    with pytest.raises(ExportError, match="the exported graphs differ from the trained ranker by"):
        verify_ranker(a_ranker(VARIANTS["one layer, one cross"], seed=1), graphs)


def test_a_ranker_of_broken_weights_is_not_exported(tmp_path):
    ranker = a_ranker(VARIANTS["one layer, one cross"])
    with torch.no_grad():
        ranker.output.weight[0, 0] = float("nan")
    with pytest.raises(ExportError, match=r"output\.weight of HybridRanker are not finite"):
        export_to(tmp_path / "bundle", ranker, hiertcn=None, pinnerformer=None)
    assert list(tmp_path.iterdir()) == []


# --- The bundle --------------------------------------------------------------------------------------------------


def test_serving_opens_what_was_exported(bundle):
    manifest = bundle.manifest
    assert manifest.heads == ("save", "hide")
    assert manifest.utility == {"save": 1.0, "hide": -2.0}
    assert manifest.metrics["ndcg@10"] == 0.4
    assert manifest.metrics["export"]["max_error_vs_torch_float64"] < 1e-5
    assert (manifest.item_space, manifest.user_space, manifest.trained_until_ms) == ("space4", "users", 5)
    assert bundle.items.ids([0, 1, 2]) != []
    assert "pinnerformer.onnx" in manifest.files


def test_golden_cases_reach_from_no_action_to_the_most(bundle):
    golden = read_golden(bundle.folder / "golden.npz")
    inputs = [case_of(ModelInputs, case) for case in golden["ranker"]]
    encoded = [case_of(EncodeCase, case) for case in golden["encode"]]
    assert {len(case.action_types) for case in inputs} == {0, 1, 7, SIZES.num_actions}
    assert {case.num_candidates for case in inputs} == {1, 3, 65}
    assert {(len(case.closed), len(case.opened)) for case in encoded} >= {(0, 0), (1, MAX_SESSION_ITEMS)}


def test_the_bundles_ranker_returns_what_the_trained_one_returns(bundle):
    ranker = a_ranker(VARIANTS["the paper's attention, low-rank crosses"])
    inputs = some_inputs(12, 70, sizes=SIZES)
    assert largest(bundle.backend.score(inputs) - ranker.probabilities(inputs).numpy()) < 1e-5


@settings(max_examples=40)
@given(closed=st.integers(0, 5), opened=st.integers(0, MAX_SESSION_ITEMS), seed=st.integers(0, 1000))
def test_sessions_are_encoded_as_trained(bundle, closed, opened, seed):
    rng = np.random.default_rng(seed)
    parts = [rng.standard_normal(shape).astype(np.float32) for shape in ((6,), (closed, 4), (opened, 4))]
    trained = TorchSessions(a_hiertcn())
    assert bundle.sessions.tag == trained.tag
    assert largest(bundle.sessions.encode(*parts) - trained.encode(*parts)) < 1e-5


def test_sessions_are_folded_as_trained(bundle):
    rng = np.random.default_rng(0)
    states, pooled = (rng.standard_normal((40, width)).astype(np.float32) for width in (6, 4))
    assert largest(bundle.sessions.fold(states, pooled) - TorchSessions(a_hiertcn()).fold(states, pooled)) < 1e-5


@pytest.mark.parametrize("count", [1, 2, 9])
def test_the_user_encoder_returns_the_trained_user_vector(bundle, count):
    rng = np.random.default_rng(count)
    columns = ActionColumns(
        rng.integers(0, 1000, count).astype(np.uint64),
        rng.integers(1, 5, count),
        np.sort(rng.integers(1_600_000_000_000, 1_700_000_000_000, count))[::-1],
        np.zeros(count, np.int64),
        rng.random(count).astype(np.float32),
    )
    pinnerformer = a_pinnerformer()
    sequences, _ = collate([tokens_of(columns, SomeVectors(4), pinnerformer.config)])
    graph = open_graph(bundle.folder / "pinnerformer.onnx")
    feeds = {name: part.numpy() for name, part in sequences._asdict().items()}
    (vector,) = graph.run(["user_vector"], feeds)
    assert largest(vector - pinnerformer.encode_last(sequences).detach().numpy()) < 1e-5


def test_a_bundle_without_session_and_user_models_can_serve(tmp_path):
    bundle = open_bundle(export_to(tmp_path / "plain", hiertcn=None, pinnerformer=None))
    assert "sessions" not in bundle.parts
    assert bundle.sessions.state_size == 0
    assert bundle.backend.score(some_inputs(0, 2, sizes=SIZES)).shape == (2, 2)


def test_a_changed_graph_is_refused(bundle, tmp_path):
    folder = Path(copytree(bundle.folder, tmp_path / "copy"))
    graph = folder / "candidate.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleRefusedError, match=r"candidate\.onnx"):
        open_bundle(folder)


def test_a_bundle_never_replaces_another(bundle):
    before = read_manifest(bundle.folder)
    with pytest.raises(ExportError, match="a bundle never changes"):
        export_to(bundle.folder)
    assert read_manifest(bundle.folder) == before


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"purpose": a_purpose(vocabulary=Vocabulary(("view",)))}, "action types of the vocabulary are 1"),
        ({"purpose": a_purpose(utility={"save": 1.0})}, "wanted a finite weight for each of save, hide"),
        ({"hiertcn": HierTCN(HierTCNConfig(item_dim=5))}, "item vectors of HierTCN are 5"),
        ({"pinnerformer": PinnerFormer(PinnerFormerConfig(4, item_dim=4))}, "user vectors of PinnerFormer are 64"),
    ],
)
def test_parts_that_do_not_fit_are_refused_and_nothing_stays(tmp_path, part, message):
    with pytest.raises(ValueError, match=message):
        export_to(tmp_path / "bundle", **({"hiertcn": None, "pinnerformer": None} | part))
    assert list(tmp_path.iterdir()) == []


def test_equal_weights_are_exported_as_equal_graphs(tmp_path):
    ranker, folder = exported("one layer, one cross")
    export_ranker(ranker, tmp_path)
    for name in ("user.onnx", "candidate.onnx"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_graphs_do_not_carry_the_folders_of_the_machine_that_exported_them(bundle):
    graphs = sorted(bundle.folder.glob("*.onnx"))
    assert len(graphs) == 5
    for graph in graphs:
        content = graph.read_bytes()
        assert str(Path(__file__).parents[2]).encode() not in content
        assert b"site-packages" not in content
