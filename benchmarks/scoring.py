"""Candidates scored a second on one core: the ranker exported as one graph, and as the bundle's two.

    python -m benchmarks.scoring [--full-rank] [--rounds 7] [--lengths 5 100] [--candidates 256] [--json FILE]

All contenders take turns within one process, each figure is the best of the rounds, by CPU time; weights are random, as
speed does not depend on them. The plain graph knows 100 rows, padded, whatever the history's length; it is run as it is
by default ("plain"), and with what makes it fastest here: chunks of 64, SkipLayerNormFusion off ("plain, tuned"). The
bundle's two graphs are run by each scorer that can be had here. "Its user's part" is a request of four candidates,
counted as if it had them all: what remembering the user's part between requests could save at most. "lightgbm" is what
people would score with instead, where it is installed: 500 trees over the same columns (`lambdamart.py`).
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import process_time

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from benchmarks.figures import TIMES, Figure, add_json, write_figures
from benchmarks.lambdamart import NO_LIGHTGBM, is_here, lambdamart_scorer
from rankstream.bundles.graphs import CPU
from rankstream.features.schema import CANDIDATE_INPUTS, USER_INPUTS, FeatureSizes, Floats, ModelInputs, random_inputs
from rankstream.models.onnx_graph import export_graph
from rankstream.models.ranker.export import export_ranker
from rankstream.models.ranker.hybrid import HybridRanker, RankerBatch, RankerConfig
from rankstream.models.ranker.transact import TransActConfig
from rankstream.ranking.backends.onnx import OnnxBackend
from rankstream.ranking.backends.scorers import (
    OPENVINO,
    OPENVINO_BF16,
    OPENVINO_INT8,
    SCORERS,
    ScorerRefusedError,
)
from rankstream.ranking.backends.two_graphs import CHUNK

LENGTHS = (5, 20, 50, 100)
CANDIDATES = (64, 256, 1000)
NUM_TYPES = 5
PLAIN, TREES = "plain", "lightgbm"  # contenders; trees have no difference to the plain graph
Score = Callable[[ModelInputs], Floats]


class PlainRequest(nn.Module):
    """The ranker as it was trained, for one request: what a straightforward export would serve."""

    def __init__(self, ranker: HybridRanker) -> None:
        super().__init__()
        self.ranker = ranker

    def forward(
        self,
        action_types: Tensor,
        action_items: Tensor,
        user_vector: Tensor,
        session_vector: Tensor,
        context: Tensor,
        candidate_items: Tensor,
        candidate_features: Tensor,
    ) -> Tensor:
        """Return probabilities (N, heads); shapes as in ``features.schema``, actions padded."""
        rows = torch.zeros_like(candidate_items[:, 0], dtype=torch.int64)
        shared = (part[None] for part in (action_types, action_items, action_types))
        vectors = (part[None] for part in (user_vector, session_vector, context))
        untrained = [candidate_items[:, :0]] * 4  # labels, weights, log Q, places
        return torch.sigmoid(
            self.ranker(RankerBatch(*shared, *vectors, rows, candidate_items, candidate_features, *untrained))
        )


def export_plain(ranker: HybridRanker, path: Path) -> None:
    """Write the plain ranker as one graph of 100 rows."""
    example = random_inputs(ranker.config.sizes, 100, 5, NUM_TYPES, 0)
    names = (*USER_INPUTS, *CANDIDATE_INPUTS)
    count = torch.export.Dim("N")
    dynamic = {name: {0: count} for name in CANDIDATE_INPUTS}
    examples = [torch.from_numpy(getattr(example, name)) for name in names]
    export_graph(PlainRequest(ranker), examples, path, names, ("probabilities",), dynamic)


def padded(inputs: ModelInputs) -> dict[str, np.ndarray]:
    """Return the plain graph's inputs: actions padded to 100 rows."""
    feeds = {name: getattr(inputs, name) for name in (*USER_INPUTS, *CANDIDATE_INPUTS)}
    missing = 100 - len(inputs.action_types)
    feeds["action_types"] = np.pad(inputs.action_types, (0, missing))
    feeds["action_items"] = np.pad(inputs.action_items, ((0, missing), (0, 0)))
    return feeds


def plain_scorer(path: Path) -> Score:
    """Run the plain graph with ONNX Runtime's defaults, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=list(CPU))
    return lambda inputs: session.run(None, padded(inputs))[0]


def tuned_plain_scorer(path: Path) -> Score:
    """Run the plain graph as the backend runs its own.

    Opened here: what bundles hold is checked, and the plain graph has operators that no exported one has.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        path, options, providers=list(CPU), disabled_optimizers=["SkipLayerNormFusion"]
    )

    def score(inputs: ModelInputs) -> Floats:
        feeds = padded(inputs)
        parts = []
        for start in range(0, inputs.num_candidates, CHUNK):
            chunk = {name: feeds[name][start : start + CHUNK] for name in CANDIDATE_INPUTS}
            parts.append(session.run(None, feeds | chunk)[0])
        return np.concatenate(parts)

    return score


def measure(contenders: dict[str, Score], inputs: ModelInputs, rounds: int) -> dict[str, list[float]]:
    """Return each contender's candidates a second of CPU in each of the rounds, in which all take turns.

    CPU time, as one thread computes: on a quiet machine that is the time that passes, on a busy one what is left of it.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, score in contenders.items():
            start = process_time()
            score(inputs)
            seconds[name].append(process_time() - start)
    return {name: [inputs.num_candidates / took for took in times] for name, times in seconds.items()}


def other_scorers(folder: Path) -> dict[str, Score]:
    """Open the graphs with every scorer for the CPU that can be had here, besides ONNX Runtime."""
    opened: dict[str, Score] = {}
    for name in (OPENVINO, OPENVINO_BF16, OPENVINO_INT8):
        try:
            opened[name] = SCORERS[name].open(folder / "user.onnx", folder / "candidate.onnx", CPU).score
        except ScorerRefusedError as exc:
            print(f"without {name}: {exc}")
    return opened


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full-rank", action="store_true", help="crosses of full rank instead of 128")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="actions of the user")
    parser.add_argument("--candidates", type=int, nargs="+", default=CANDIDATES, help="of a request")
    add_json(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rank = None if arguments.full_rank else RankerConfig.cross_rank
    heads = ("click", "save", "hide")
    ranker = HybridRanker(RankerConfig(TransActConfig(NUM_TYPES), FeatureSizes(), heads, cross_rank=rank)).eval()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_plain(ranker, folder / "plain.onnx")
        export_ranker(ranker, folder)
        backend = OnnxBackend(folder / "user.onnx", folder / "candidate.onnx")
        contenders: dict[str, Score] = {
            PLAIN: plain_scorer(folder / "plain.onnx"),
            "plain, tuned": tuned_plain_scorer(folder / "plain.onnx"),
            "onnxruntime": backend.score,
            "its user's part": lambda inputs: backend.score(without_candidates(inputs)),
        } | other_scorers(folder)
        contenders |= trees(ranker.config.sizes)
        figures: list[Figure] = []
        print(f"candidates/s on one core, crosses of {'full rank' if rank is None else f'rank {rank}'}")
        print("   T     N  scorer           candidates/s   of plain   largest difference to plain")
        for length in arguments.lengths:
            for count in arguments.candidates:
                inputs = random_inputs(ranker.config.sizes, length, count, NUM_TYPES, 0)
                wanted = contenders[PLAIN](inputs)
                errors = {name: largest_error(score(inputs), wanted) for name, score in contenders.items()}  # warms up
                rates = measure(contenders, inputs, arguments.rounds)
                for name, rate in ((name, max(each)) for name, each in rates.items()):
                    line = f"{length:4} {count:5}  {name:16}{rate:13,.0f}{rate / max(rates[PLAIN]):10.2f}x"
                    print(f"{line}   {'-' if name == TREES else f'{errors[name]:.1e}'}", flush=True)
                figures += figures_of(rates, f"{length} actions, {count} candidates")
    write_figures(arguments.json, figures)


def trees(sizes: FeatureSizes) -> dict[str, Score]:
    """Return LightGBM's LambdaMART where it is installed."""
    if is_here():
        return {TREES: lambdamart_scorer(sizes, NUM_TYPES)}
    print(f"without {TREES}: {NO_LIGHTGBM}")
    return {}


def figures_of(rates: dict[str, list[float]], request: str) -> list[Figure]:
    """Return each contender's rate, and how many times the plain graph's ONNX Runtime's is, round by round."""
    found = [Figure.of(f"{request}, {name}", "candidates/s of CPU", each) for name, each in rates.items()]
    ratios = [ours / plain for ours, plain in zip(rates["onnxruntime"], rates[PLAIN], strict=True)]
    return [*found, Figure.of(f"{request}, onnxruntime to plain", TIMES, ratios)]


def without_candidates(inputs: ModelInputs) -> ModelInputs:
    """Return a request of four rows: what a request costs besides its candidates, nearly."""
    return replace(inputs, **{name: getattr(inputs, name)[:4] for name in CANDIDATE_INPUTS})


def largest_error(scores: Floats, wanted: Floats) -> float:
    """Return the largest difference of a probability."""
    return float(np.abs(scores - wanted[: len(scores)]).max())


if __name__ == "__main__":
    main()
