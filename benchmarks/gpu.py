"""The CUDA scorer on a card: is it right, how fast is it, and where the time goes; under eight minutes.

    python -m benchmarks.gpu [--out gpu.md] [--seconds 8] [--full-rank | --bundle FOLDER]

First parity: probabilities beside ONNX Runtime's on the CPU, for no action to 100 and one candidate to 1,000; it ends
with code 1 where they are further off than the scorer's bound. Then a closed loop: so many clients, each a thread that
asks for 500 candidates of a user with 100 actions, and asks again when it has the answer. "One run" is the device
alone: a recorded run of one such request, again and again. Weights are random and of the published size.

It has never run on a GPU. ``--device cpu`` takes the same way where there is none; its figures say nothing.
"""

import argparse
import platform
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from benchmarks.figures import MS, Figure, add_json, write_figures
from rankstream.bundles.manifest import read_manifest
from rankstream.bundles.ranker import CANDIDATE_GRAPH, USER_GRAPH
from rankstream.features.schema import FeatureSizes, ModelInputs, random_inputs
from rankstream.models.ranker.export import export_ranker
from rankstream.models.ranker.hybrid import HybridRanker, RankerConfig
from rankstream.models.ranker.transact import TransActConfig
from rankstream.ranking.backends.cuda import CudaBackend
from rankstream.ranking.backends.devices import CpuDevice, CudaDevice, Device
from rankstream.ranking.backends.onnx import OnnxBackend
from rankstream.ranking.backends.scorers import CUDA, CUDA_BF16, SCORERS

NUM_TYPES = 5
CANDIDATES = 500
BOUNDS = {"float32": SCORERS[CUDA].tolerance, "bf16": SCORERS[CUDA_BF16].tolerance}
DIFFERENT = 16  # requests that each client goes round
RUNS = 32  # recorded runs that follow each other


@dataclass(frozen=True)
class Loop:
    """A closed loop: how many asked, for how long, and what they got."""

    precision: str
    clients: int
    candidates_per_s: float
    p50_ms: float
    p99_ms: float
    mean_batch: float

    def row(self) -> str:
        """Return its row of the table."""
        rate, times = f"{self.candidates_per_s:,.0f}", f"{self.p50_ms:.2f} | {self.p99_ms:.2f}"
        return f"| {self.precision} | {self.clients} | {rate} | {times} | {self.mean_batch:.1f} |"


@dataclass(frozen=True)
class Model:
    """Graphs of a ranker, and what requests to it look like."""

    folder: Path
    sizes: FeatureSizes
    num_types: int

    def request(self, actions: int, candidates: int, seed: int) -> ModelInputs:
        """Draw a request."""
        return random_inputs(self.sizes, actions, candidates, self.num_types, seed)


def parity(backend: CudaBackend, onnx: OnnxBackend, model: Model) -> float:
    """Return the largest difference of a probability; each shape thrice: computed, recorded, repeated."""
    worst = 0.0
    for actions in sorted({0, 1, 10, model.sizes.num_actions}):
        for count in (1, 500, 1000):
            for seed in range(3):
                inputs = model.request(min(actions, model.sizes.num_actions), count, seed)
                worst = max(worst, float(np.abs(backend.score(inputs) - onnx.score(inputs)).max()))
    return worst


def closed_loop(score: Callable[[ModelInputs], object], clients: int, seconds: float, model: Model) -> list[float]:
    """Return how long each request took, of clients that ask for so long, in seconds."""
    requests = [model.request(model.sizes.num_actions, CANDIDATES, seed) for seed in range(DIFFERENT)]
    begin = threading.Barrier(clients)

    def ask(client: int) -> list[float]:
        begin.wait()
        times: list[float] = []
        until = perf_counter() + seconds
        while (started := perf_counter()) < until:
            score(requests[(client + len(times)) % DIFFERENT])
            times.append(perf_counter() - started)
        return times

    with ThreadPoolExecutor(clients) as threads:
        return [one for times in threads.map(ask, range(clients)) for one in times]


def timed(precision: str, backend: CudaBackend, clients: int, seconds: float, model: Model) -> Loop:
    """Return what a closed loop of so many clients got."""
    closed_loop(backend.score, clients, seconds / 8, model)  # to warm up
    before, started = backend.batches, perf_counter()
    times = closed_loop(backend.score, clients, seconds, model)
    passed_s = perf_counter() - started
    batches = sum(count - before.get(size, 0) for size, count in backend.batches.items())
    p50_ms, p99_ms = (1e3 * np.quantile(times, [0.5, 0.99])).tolist()
    return Loop(precision, clients, CANDIDATES * len(times) / passed_s, p50_ms, p99_ms, len(times) / batches)


def one_run_ms(backend: CudaBackend, model: Model) -> float:
    """Return how long the device takes for one recorded run of a request, of many that follow each other."""
    batch = [model.request(model.sizes.num_actions, CANDIDATES, seed=0)] * RUNS
    backend.device_scores.start(batch[:2])()
    started = perf_counter()
    backend.device_scores.start(batch)()
    return 1e3 * (perf_counter() - started) / RUNS


def machine(device: Device) -> str:
    """Return the card, the processor and the versions that the figures are of."""
    versions = f"torch {torch.__version__}, Python {platform.python_version()}, {platform.system()}"
    if isinstance(device, CpuDevice):
        return f"no card (the CPU in its place), {versions}"
    properties = torch.cuda.get_device_properties(device.torch_device)
    memory = properties.total_memory / 2**30
    return f"{properties.name}, {memory:.0f} GiB, CUDA {torch.version.cuda}, {versions}"


def model(arguments: argparse.Namespace, folder: Path) -> Model:
    """Return a bundle's graphs, or those of the published size with random weights, written to ``folder``."""
    if arguments.bundle:
        manifest = read_manifest(arguments.bundle)
        return Model(arguments.bundle, manifest.sizes, len(manifest.vocabulary.actions))
    sizes = FeatureSizes()
    rank = None if arguments.full_rank else RankerConfig.cross_rank
    torch.manual_seed(0)
    config = RankerConfig(TransActConfig(NUM_TYPES), sizes, ("click", "save", "hide"), cross_rank=rank)
    export_ranker(HybridRanker(config).eval(), folder)
    return Model(folder, sizes, NUM_TYPES)


def report(arguments: argparse.Namespace, device: Device, loops: list[Loop]) -> Iterator[str]:
    """Yield the lines of the report as they are measured, and append the closed loops to ``loops``.

    Raises ``SystemExit`` where the scorer is not right.
    """
    with tempfile.TemporaryDirectory() as name:
        scored = model(arguments, Path(name))
        yield f"{machine(device)}; {arguments.bundle or 'published size, random weights'}\n"
        graphs = scored.folder / USER_GRAPH, scored.folder / CANDIDATE_GRAPH
        onnx = OnnxBackend(*graphs)
        backends = {precision: CudaBackend(*graphs, device, precision) for precision in BOUNDS}
        yield "| precision | largest difference to ONNX Runtime | bound | one run of 500, ms |\n|---|---|---|---|"
        for precision, backend in backends.items():
            worst = parity(backend, onnx, scored)
            yield f"| {precision} | {worst:.1e} | {BOUNDS[precision]:g} | {one_run_ms(backend, scored):.3f} |"
            if not worst <= BOUNDS[precision]:
                raise SystemExit(f"{precision} is further off than its bound: it must not serve")
        yield "\n| precision | clients | candidates/s | p50 ms | p99 ms | requests a batch |\n|---|---|---|---|---|---|"
        for precision, backend in backends.items():
            for clients in arguments.clients:
                loops.append(timed(precision, backend, clients, arguments.seconds, scored))
                yield loops[-1].row()


def figures_of(loops: Sequence[Loop]) -> list[Figure]:
    """Return the rate and the percentiles of each closed loop, which ran once."""
    found = []
    for one in loops:
        name = f"{one.precision}, {one.clients} clients"
        found.append(Figure.of(name, "candidates/s", [one.candidates_per_s]))
        found += [Figure.of(f"{name}, {what}", MS, [ms]) for what, ms in (("p50", one.p50_ms), ("p99", one.p99_ms))]
    return found


def main(given: Sequence[str] | None = None) -> None:
    """Print the report, and write it to ``--out``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="a CUDA device, or cpu to see that the script runs")
    parser.add_argument("--bundle", type=Path, help="a bundle's model instead of one of random weights")
    parser.add_argument("--full-rank", action="store_true", help="crosses of full rank instead of 128")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each closed loop")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64], help="threads that ask")
    parser.add_argument("--out", type=Path, help="file for the report, in Markdown")
    add_json(parser)
    arguments = parser.parse_args(given)
    if arguments.device != "cpu" and not torch.cuda.is_available():
        sys.exit("torch finds no CUDA device here; --device cpu --seconds 1 shows that the script runs")
    device: Device = CpuDevice() if arguments.device == "cpu" else CudaDevice(arguments.device)
    lines, loops = list[str](), list[Loop]()
    for line in report(arguments, device, loops):
        print(line, flush=True)
        lines.append(line)
    write_figures(arguments.json, figures_of(loops))
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
