"""The ranker as two ONNX graphs, verified against torch, and as a part of a bundle.

One graph runs once a request, the other once for its candidates (``factored.py``). Verified means: both return the
plain torch ranker's probabilities within ``MAX_PROBABILITY_ERROR``, for the history lengths at which a graph could go
wrong (none, one, around ``recent_outputs``, the longest) and for one, two and many candidates.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor, nn

from rankstream.bundles.graphs import open_graph
from rankstream.bundles.parts import BundlePart, ExportError, Written
from rankstream.bundles.ranker import CANDIDATE_GRAPH, RANKER_CASE, USER_GRAPH, golden_inputs, ranker_case, ranker_part
from rankstream.features.actions import Vocabulary
from rankstream.features.schema import CANDIDATE_INPUTS, PADDING_TYPE, USER_INPUTS, Floats, ModelInputs, random_inputs
from rankstream.models.onnx_graph import Dynamic, export_graph, ready, require_finite
from rankstream.models.ranker.factored import CandidateSide, UserPart, UserSide
from rankstream.models.ranker.hybrid import HybridRanker

MAX_PROBABILITY_ERROR = 1e-5

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class RankerGraphs:
    """The two graphs as ONNX Runtime runs them; only verification and the golden cases need this here."""

    user: onnxruntime.InferenceSession
    candidate: onnxruntime.InferenceSession

    def probabilities(self, inputs: ModelInputs) -> Floats:
        """Return (N, heads)."""
        shared = self.user.run(None, {name: getattr(inputs, name) for name in USER_INPUTS} | _padding_row(inputs))
        feeds = dict(zip(UserPart._fields, shared, strict=True))
        feeds |= {name: getattr(inputs, name) for name in CANDIDATE_INPUTS}
        (probabilities,) = self.candidate.run(None, feeds)
        return np.asarray(probabilities, np.float32)


def _padding_row(inputs: ModelInputs) -> Arrays:
    """Return the one row that stands for no action, where there is none."""
    if len(inputs.action_types):
        return {}
    row = np.zeros((1, inputs.action_items.shape[1]), np.float32)
    return {"action_types": np.array([PADDING_TYPE], np.int64), "action_items": row}


def bundle_part(ranker: HybridRanker, vocabulary: Vocabulary, calibrated: Sequence[str] | None = None) -> BundlePart:
    """Return the ranker as a part of a bundle. Raises ``ExportError`` for one that can't be, or of other actions.

    ``calibrated`` are the heads whose numbers are probabilities (``calibration.py``); None where it is not known.
    """
    require_finite(ranker)
    config = ranker.config
    given, wanted = len(vocabulary.actions), config.transact.num_types
    if given != wanted:
        raise ExportError(
            f"the action types of the vocabulary are {given}, the ranker was made for {wanted}; train it again or give "
            "the names that it was trained with"
        )

    def write(folder: Path) -> Written:
        graphs = export_ranker(ranker, folder)
        errors = verify_ranker(ranker, graphs)
        inputs = golden_inputs(config.sizes, wanted)
        return Written({RANKER_CASE: [ranker_case(one, graphs.probabilities(one)) for one in inputs]}, errors)

    strangers = None if config.strangers is None else asdict(config.strangers)
    part = ranker_part(config.sizes, type(ranker).__name__, calibrated, config.seen_logit, strangers)
    return BundlePart(part, write)


def export_ranker(ranker: HybridRanker, folder: Path) -> RankerGraphs:
    """Write ``user.onnx`` and ``candidate.onnx``; open them."""
    ranker = ready(ranker)
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
        """Return probabilities (N, heads)."""
        user = UserPart(scores, score_maps, values, rows, recent_places, recent_exist, user_columns, user_crossed)
        return self.side(user, candidate_items, candidate_features)  # type: ignore[no-any-return]


class Errors(NamedTuple):
    """Largest differences of probabilities between the graphs and torch."""

    float32: float
    float64: float


def verify_ranker(ranker: HybridRanker, graphs: RankerGraphs) -> dict[str, float]:
    """Compare the graphs with the plain ranker. Raises ``ExportError`` if they differ by ``MAX_PROBABILITY_ERROR``.

    Returns the largest errors, against torch in float32 and in float64, for the manifest.
    """
    config = ranker.config
    plain, exact = ready(ranker), ready(ranker, torch.float64)
    recent, maximum = config.transact.recent_outputs, config.sizes.num_actions
    lengths = sorted(
        {length for length in (0, 1, 2, recent - 1, recent, recent + 1, maximum) if 0 <= length <= maximum}
    )
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


def _errors(plain: HybridRanker, exact: HybridRanker, graphs: RankerGraphs, inputs: ModelInputs) -> Errors:
    served = graphs.probabilities(inputs)
    distances = (np.abs(served - torch_ranker.probabilities(inputs).numpy()).max() for torch_ranker in (plain, exact))
    return Errors(*(float(distance) for distance in distances))
