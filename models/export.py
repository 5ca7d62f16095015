"""From trained torch modules to the bundle that serving opens: the only road there.

A bundle (``features/manifest.py`` draws it) is written beside its place, proved, and renamed into it: a folder of that
name is whole or absent. Proved means: the two graphs give the plain torch ranker's probabilities within
``MAX_PROBABILITY_ERROR`` for every history length that behaves in its own way and for one, two and many candidates.
The largest errors found, against torch in float32 and in float64, stand in the manifest's metrics.
"""

import logging
import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from features.actions import Vocabulary
from features.embeddings import publish
from features.golden import EncodeCase, FoldCase, Golden, RankerCase, golden_inputs, write_golden
from features.ids import Id
from features.manifest import (
    CANDIDATE_GRAPH,
    GOLDEN,
    ITEM_FEATURES,
    ITEMS,
    PINNERFORMER_GRAPH,
    SESSION_ENCODE_GRAPH,
    SESSION_FOLD_GRAPH,
    USER_GRAPH,
    Manifest,
    SessionModel,
    write_manifest,
)
from features.schema import CANDIDATE_INPUTS, PADDING_TYPE, USER_INPUTS, Floats, ModelInputs, random_inputs
from features.sessions import MAX_SESSION_ITEMS
from models.hiertcn import HierTCN
from models.pinnerformer import ActionSequences, PinnerFormer
from models.ranker import Ranker
from models.session_encoder import weights_tag
from models.split import CandidateSide, UserPart, UserSide
from models.time_features import NUM_ANGLES, NUM_LOGS

OPSET = 20  # LayerNormalization came with 17, Gelu with 20; ONNX Runtime 1.17 and later read it
MAX_PROBABILITY_ERROR = 1e-5
MAX_VECTOR_ERROR = 1e-4  # of session and user vectors, whose entries reach 1

Model = TypeVar("Model", bound=nn.Module)
Arrays = dict[str, npt.NDArray[Any]]
Dynamic = dict[str, dict[int, torch.export.Dim]]


class ExportError(ValueError):
    """A model that can't be exported, or whose graphs don't do what it does; the message says which and how far."""


@dataclass(frozen=True)
class Vectors:
    """A table to be put into the bundle: one row an item."""

    ids: Sequence[Id]
    vectors: Floats  # (n, width)
    space: str  # names what the vectors mean; vectors of one space can be compared


@dataclass(frozen=True)
class Purpose:
    """What a bundle is for and where it comes from: all of the manifest that weights don't tell."""

    model_version: str
    vocabulary: Vocabulary
    utility: Mapping[str, float]  # weight of each head in the final score
    user_space: str  # `space` that tables of user vectors must have
    trained_until_ms: int  # nothing later was seen in training, UTC
    metrics: Mapping[str, Any] = field(default_factory=dict)  # measured where, on what


def export_bundle(
    folder: Path,
    ranker: Ranker,
    items: Vectors,
    item_features: Vectors,
    purpose: Purpose,
    *,
    hiertcn: HierTCN | None = None,
    pinnerformer: PinnerFormer | None = None,
) -> Manifest:
    """Write and prove a bundle; give its manifest. Raises ``ExportError`` and leaves nothing behind if it can't be."""
    _check(folder, ranker, items, item_features, purpose, hiertcn, pinnerformer)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        manifest = _write(unfinished, ranker, items, item_features, purpose, hiertcn, pinnerformer)
        _sync(unfinished)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return manifest


def _check(
    folder: Path,
    ranker: Ranker,
    items: Vectors,
    item_features: Vectors,
    purpose: Purpose,
    hiertcn: HierTCN | None,
    pinnerformer: PinnerFormer | None,
) -> None:
    """Raise ``ExportError`` for parts that don't fit each other."""
    sizes = ranker.config.sizes
    widths = {
        "item vectors are": (items.vectors.shape[1], sizes.item_dim),
        "item features are": (item_features.vectors.shape[1], sizes.item_features),
        "action types of the vocabulary are": (len(purpose.vocabulary.actions), ranker.config.transact.num_types),
    }
    if hiertcn:
        widths["item vectors of HierTCN are"] = (hiertcn.config.item_dim, sizes.item_dim)
        widths["session vectors of HierTCN are"] = (hiertcn.config.session_dim, sizes.session_dim)
    if pinnerformer:
        widths["item vectors of PinnerFormer are"] = (pinnerformer.config.item_dim, sizes.item_dim)
        widths["user vectors of PinnerFormer are"] = (pinnerformer.config.user_dim, sizes.user_dim)
    for what, (given, wanted) in widths.items():
        if given != wanted:
            raise ExportError(f"the {what} {given}, the ranker was made for {wanted}; train it again or give others")
    if set(purpose.utility) != set(ranker.config.heads):
        raise ExportError(
            f"utility weighs {sorted(purpose.utility)}; wanted a weight for each head of the ranker: "
            f"{sorted(ranker.config.heads)}"
        )
    for model in (ranker, hiertcn, pinnerformer):
        for name, weight in model.named_parameters() if model else ():
            if not weight.isfinite().all():
                raise ExportError(f"weights {name} of {type(model).__name__} are not finite; train it again, slower")
    if folder.exists():
        raise ExportError(f"{folder} is there already; a bundle never changes: export to a new folder")


def _write(
    folder: Path,
    ranker: Ranker,
    items: Vectors,
    item_features: Vectors,
    purpose: Purpose,
    hiertcn: HierTCN | None,
    pinnerformer: PinnerFormer | None,
) -> Manifest:
    graphs = export_ranker(ranker, folder)
    metrics = {**purpose.metrics, "export": prove_ranker(ranker, graphs)}
    fold_cases, encode_cases = export_sessions(hiertcn, folder) if hiertcn else ([], [])
    if pinnerformer:
        export_pinnerformer(pinnerformer, folder)
    inputs = golden_inputs(ranker.config.sizes, ranker.config.transact.num_types)
    ranked = [RankerCase(one, graphs.probabilities(one)) for one in inputs]
    write_golden(folder / GOLDEN, Golden(ranked, fold_cases, encode_cases))
    tables = {ITEMS: items} | ({ITEM_FEATURES: item_features} if ranker.config.sizes.item_features else {})
    for name, table in tables.items():
        publish(folder / name, table.ids, table.vectors, space=table.space, as_of_ms=purpose.trained_until_ms, meta={})
    return write_manifest(
        folder,
        Manifest(
            model_version=purpose.model_version,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            vocabulary=purpose.vocabulary,
            heads=ranker.config.heads,
            utility=dict(purpose.utility),
            sizes=ranker.config.sizes,
            item_space=items.space,
            user_space=purpose.user_space,
            trained_until_ms=purpose.trained_until_ms,
            metrics=metrics,
            session=_session_model(hiertcn) if hiertcn else None,
            opset=OPSET,
            versions={module.__name__: str(module.__version__) for module in (torch, onnx, onnxruntime)},
            files={},
        ),
    )


def _session_model(hiertcn: HierTCN) -> SessionModel:
    config = hiertcn.config
    return SessionModel(tag=weights_tag(hiertcn), state_size=config.state_size, dim=config.session_dim)


# --- The ranker: two graphs --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RankerGraphs:
    """The two graphs as ONNX Runtime runs them; only the proof and the golden cases need this here."""

    user: onnxruntime.InferenceSession
    candidate: onnxruntime.InferenceSession

    def probabilities(self, inputs: ModelInputs) -> Floats:
        """Give (N, heads)."""
        shared = self.user.run(None, {name: getattr(inputs, name) for name in USER_INPUTS} | _row_of_nobody(inputs))
        feeds = dict(zip(UserPart._fields, shared, strict=True))
        feeds |= {name: getattr(inputs, name) for name in CANDIDATE_INPUTS}
        (probabilities,) = self.candidate.run(None, feeds)
        return np.asarray(probabilities, np.float32)


def _row_of_nobody(inputs: ModelInputs) -> Arrays:
    """Give the one row that stands for no action, where there is none."""
    if len(inputs.action_types):
        return {}
    row = np.zeros((1, inputs.action_items.shape[1]), np.float32)
    return {"action_types": np.array([PADDING_TYPE], np.int64), "action_items": row}


def export_ranker(ranker: Ranker, folder: Path) -> RankerGraphs:
    """Write ``user.onnx`` and ``candidate.onnx``; open them."""
    ranker = _ready(ranker)
    example = random_inputs(ranker.config.sizes, min(7, ranker.config.sizes.num_actions), 5, 1, 0)
    tensors = {name: torch.from_numpy(getattr(example, name)) for name in USER_INPUTS + CANDIDATE_INPUTS}
    user_side, candidate_side = UserSide(ranker), CandidateSide(ranker)
    user_inputs = [tensors[name] for name in USER_INPUTS]
    shared = user_side(*user_inputs)
    length, count = torch.export.Dim("T", max=ranker.config.sizes.num_actions), torch.export.Dim("N")
    over_actions: Dynamic = {"action_types": {0: length}, "action_items": {0: length}}
    export_graph(user_side, user_inputs, folder / USER_GRAPH, USER_INPUTS, UserPart._fields, over_actions)
    export_graph(
        FlatCandidateSide(candidate_side),
        [*shared, *(tensors[name] for name in CANDIDATE_INPUTS)],
        folder / CANDIDATE_GRAPH,
        (*UserPart._fields, *CANDIDATE_INPUTS),
        ("probabilities",),
        {
            "scores": {1: length, 2: length},
            "score_maps": {2: length},
            "values": {1: length},
            "rows": {0: length},
            **{name: {0: count} for name in CANDIDATE_INPUTS},
        },
    )
    return RankerGraphs(open_graph(folder / USER_GRAPH), open_graph(folder / CANDIDATE_GRAPH))


class FlatCandidateSide(nn.Module):
    """``CandidateSide`` with each tensor of the user's part as an input of its own."""

    def __init__(self, side: CandidateSide) -> None:
        super().__init__()
        self.side = side

    def forward(
        self,
        scores: Tensor,
        score_maps: Tensor,
        values: Tensor,
        rows: Tensor,
        recent_places: Tensor,
        recent_exist: Tensor,
        user_columns: Tensor,
        user_crossed: Tensor,
        candidate_items: Tensor,
        candidate_features: Tensor,
    ) -> Tensor:
        """Give probabilities (N, heads)."""
        user = UserPart(scores, score_maps, values, rows, recent_places, recent_exist, user_columns, user_crossed)
        return self.side(user, candidate_items, candidate_features)  # type: ignore[no-any-return]


class Errors(NamedTuple):
    """How far the graphs are from torch: largest differences of probabilities."""

    float32: float
    float64: float


def prove_ranker(ranker: Ranker, graphs: RankerGraphs) -> dict[str, float]:
    """Compare the graphs with the plain ranker. Raises ``ExportError`` if they differ by ``MAX_PROBABILITY_ERROR``.

    Gives the largest errors, against torch in float32 and in float64, for the manifest.
    """
    config = ranker.config
    plain, exact = _ready(ranker), _ready(ranker, torch.float64)
    recent, most = config.transact.recent_outputs, config.sizes.num_actions
    lengths = sorted({length for length in (0, 1, 2, recent - 1, recent, recent + 1, most) if 0 <= length <= most})
    worst = Errors(0.0, 0.0)
    for length in lengths:
        for count in (1, 2, 65):
            inputs = random_inputs(config.sizes, length, count, config.transact.num_types, seed=length)
            errors = _errors(plain, exact, graphs, inputs)
            if not all(error < MAX_PROBABILITY_ERROR for error in errors):  # NaN is not
                raise ExportError(
                    f"the exported graphs differ from the trained ranker by {max(errors):.1e} at {length} actions and "
                    f"{count} candidates; wanted less than {MAX_PROBABILITY_ERROR:.0e}. "
                    "Look for weights that are not finite or have grown very large"
                )
            worst = Errors(max(worst.float32, errors.float32), max(worst.float64, errors.float64))
    return {"max_error_vs_torch_float32": worst.float32, "max_error_vs_torch_float64": worst.float64}


def _errors(plain: Ranker, exact: Ranker, graphs: RankerGraphs, inputs: ModelInputs) -> Errors:
    served = graphs.probabilities(inputs)
    distances = (np.abs(served - torch_ranker.probabilities(inputs).numpy()).max() for torch_ranker in (plain, exact))
    return Errors(*(float(distance) for distance in distances))


# --- HierTCN and PinnerFormer ------------------------------------------------------------------------------------


class Fold(nn.Module):
    """``HierTCN.fold`` as a graph."""

    def __init__(self, hiertcn: HierTCN) -> None:
        super().__init__()
        self.hiertcn = hiertcn

    def forward(self, states: Tensor, pooled: Tensor) -> Tensor:
        """Give new states (n, H) of states (n, H) and mean items (n, I)."""
        return self.hiertcn.fold(states, pooled)


class Encode(nn.Module):
    """``HierTCN.encode`` as a graph."""

    def __init__(self, hiertcn: HierTCN) -> None:
        super().__init__()
        self.hiertcn = hiertcn

    def forward(self, state: Tensor, opened: Tensor) -> Tensor:
        """Give the session vector (S,) of a state (1, H) and items (1 + t, I), the first of them zeros."""
        return self.hiertcn.encode(state, opened)


def export_sessions(hiertcn: HierTCN, folder: Path) -> tuple[list[FoldCase], list[EncodeCase]]:
    """Write and prove ``session_fold.onnx`` and ``session_encode.onnx``; give golden cases made with them."""
    hiertcn = _ready(hiertcn)
    config = hiertcn.config
    states, pooled = torch.zeros(3, config.state_size), torch.zeros(3, config.item_dim)
    count, steps = torch.export.Dim("n"), torch.export.Dim("steps", max=1 + MAX_SESSION_ITEMS)
    export_graph(
        Fold(hiertcn),
        [states, pooled],
        folder / SESSION_FOLD_GRAPH,
        ("states", "pooled"),
        ("new_states",),
        {"states": {0: count}, "pooled": {0: count}},
    )
    export_graph(
        Encode(hiertcn),
        [states[:1], torch.zeros(5, config.item_dim)],
        folder / SESSION_ENCODE_GRAPH,
        ("state", "opened"),
        ("session_vector",),
        {"opened": {0: steps}},
    )
    fold, encode = open_graph(folder / SESSION_FOLD_GRAPH), open_graph(folder / SESSION_ENCODE_GRAPH)
    chance = np.random.default_rng(0)
    fold_cases = [_fold_case(hiertcn, fold, count, chance) for count in (1, 2, 65)]
    shapes = [(0, 0), (0, 1), (1, 0), (3, 4), (1, MAX_SESSION_ITEMS)]
    return fold_cases, [_encode_case(hiertcn, fold, encode, closed, opened, chance) for closed, opened in shapes]


def _fold_case(
    hiertcn: HierTCN, fold: onnxruntime.InferenceSession, count: int, chance: np.random.Generator
) -> FoldCase:
    states = np.tanh(_normal(chance, count, hiertcn.config.state_size))
    pooled = _normal(chance, count, hiertcn.config.item_dim)
    (stepped,) = fold.run(None, {"states": states, "pooled": pooled})
    with torch.no_grad():
        _prove(SESSION_FOLD_GRAPH, hiertcn.fold(torch.from_numpy(states), torch.from_numpy(pooled)), stepped)
    return FoldCase(states, pooled, stepped)


def _encode_case(
    hiertcn: HierTCN,
    fold: onnxruntime.InferenceSession,
    encode: onnxruntime.InferenceSession,
    num_closed: int,
    num_opened: int,
    chance: np.random.Generator,
) -> EncodeCase:
    config = hiertcn.config
    state = np.tanh(_normal(chance, config.state_size))
    closed, opened = _normal(chance, num_closed, config.item_dim), _normal(chance, num_opened, config.item_dim)
    now = state[None]
    for pooled in closed:
        (now,) = fold.run(None, {"states": now, "pooled": pooled[None]})
    started = np.concatenate([np.zeros((1, config.item_dim), np.float32), opened])
    (vector,) = encode.run(None, {"state": now, "opened": started})
    with torch.no_grad():
        _prove(SESSION_ENCODE_GRAPH, hiertcn.encode(torch.from_numpy(now), torch.from_numpy(started)), vector)
    return EncodeCase(state, closed, opened, vector)


class NewestVector(nn.Module):
    """``PinnerFormer.encode_last`` of one user as a graph."""

    def __init__(self, pinnerformer: PinnerFormer) -> None:
        super().__init__()
        self.pinnerformer = pinnerformer

    def forward(
        self,
        item_vectors: Tensor,
        action_types: Tensor,
        surfaces: Tensor,
        log_values: Tensor,
        angles: Tensor,
        logs: Tensor,
    ) -> Tensor:
        """Give the user vector (1, U) of one user's tokens (1, T, ...), oldest first, T of at least 1."""
        return self.pinnerformer.encode_last(
            ActionSequences(item_vectors, action_types, surfaces, log_values, angles, logs)
        )


def export_pinnerformer(pinnerformer: PinnerFormer, folder: Path) -> None:
    """Write and prove ``pinnerformer.onnx``: inputs named as in ``ActionSequences``, one user, output user_vector."""
    pinnerformer = _ready(pinnerformer)
    chance = np.random.default_rng(0)
    length = torch.export.Dim("T", max=pinnerformer.config.num_actions)
    names = ActionSequences._fields
    example = _sequences(pinnerformer, min(5, pinnerformer.config.num_actions), chance)
    export_graph(
        NewestVector(pinnerformer),
        list(example),
        folder / PINNERFORMER_GRAPH,
        names,
        ("user_vector",),
        {name: {1: length} for name in names},
    )
    graph = open_graph(folder / PINNERFORMER_GRAPH)
    for count in sorted({1, 2, pinnerformer.config.num_actions}):
        sequences = _sequences(pinnerformer, count, chance)
        (served,) = graph.run(None, {name: part.numpy() for name, part in zip(names, sequences, strict=True)})
        with torch.no_grad():
            _prove(PINNERFORMER_GRAPH, pinnerformer.encode_last(sequences), served)


def _sequences(pinnerformer: PinnerFormer, count: int, chance: np.random.Generator) -> ActionSequences:
    config = pinnerformer.config
    return ActionSequences(
        item_vectors=torch.from_numpy(_normal(chance, 1, count, config.item_dim)),
        action_types=torch.from_numpy(chance.integers(1, config.action_types + 1, (1, count))),
        surfaces=torch.from_numpy(chance.integers(0, config.surfaces + 1, (1, count))),
        log_values=torch.from_numpy(np.abs(_normal(chance, 1, count))),
        angles=torch.from_numpy(_normal(chance, 1, count, NUM_ANGLES)),
        logs=torch.from_numpy(_normal(chance, 1, count, NUM_LOGS)),
    )


def _normal(chance: np.random.Generator, *shape: int) -> Floats:
    return chance.standard_normal(shape).astype(np.float32)


def _prove(graph: str, wanted: Tensor, served: Floats) -> None:
    """Raise ``ExportError`` if a graph's output is not torch's."""
    error = float(np.abs(wanted.numpy() - served).max())
    if not error < MAX_VECTOR_ERROR:
        raise ExportError(f"{graph} differs from torch by {error:.1e}; wanted less than {MAX_VECTOR_ERROR:.0e}")


# --- ONNX --------------------------------------------------------------------------------------------------------


def export_graph(
    module: nn.Module,
    examples: Sequence[Tensor],
    path: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic: Dynamic,
) -> None:
    """Write a module as a graph of one file; ``dynamic`` names the axes of inputs that have no fixed length."""
    shapes = tuple(dynamic.get(name) for name in inputs)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            tuple(examples),
            path,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
            optimize=True,
        )


def open_graph(path: Path) -> onnxruntime.InferenceSession:
    """Open a graph on one thread of the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        path, options, providers=["CPUExecutionProvider"], disabled_optimizers=["SkipLayerNormFusion"]
    )


def _ready(model: Model, dtype: torch.dtype = torch.float32) -> Model:
    """Give a copy of a model on the CPU, ready to be used."""
    return deepcopy(model).to("cpu", dtype).eval().requires_grad_(False)


def _sync(folder: Path) -> None:
    """Make sure that all under ``folder`` is on the disk before its name says that it is whole."""
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
