r"""Scoring on a GPU while this machine joins: a batch is one copy there, and each request one recorded run.

::

    threads that rank --score--> Batcher --pack--> pinned bytes --one copy--> device --a CUDA graph a request--> scores
                                    \--packs and copies the next batch meanwhile

The inputs of a user go once a request, not once a candidate, and the user's graph runs once in each recorded run. A
shape (length of the history, candidates padded to ``packing.ROWS``) that comes for the second time is recorded, so that
its hundred kernels start as one; ``MAX_SHAPES`` of them are kept, those asked for last. Kernels are torch's own.

All of it but the CUDA calls runs with ``CpuDevice`` too, and is tested so. **It has never run on a GPU**:
``python -m benchmarks.gpu`` is the script that checks and times it on one.
"""

import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import torch
from torch import Tensor

from rankstream.features.schema import CANDIDATE_INPUTS, USER_INPUTS, Floats, ModelInputs
from rankstream.ranking.backends.batching import Batcher
from rankstream.ranking.backends.devices import Device
from rankstream.ranking.backends.packing import Layout, Shapes, layout_of, pack, packed_shapes, padded_rows
from rankstream.ranking.backends.torch_graph import TorchGraph
from rankstream.ranking.backends.two_graphs import PROBABILITIES

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
MAX_SHAPES = 512  # recorded runs that are kept: 100 lengths of histories at a few counts of candidates
IN_FLIGHT = 2  # batches: one is computed, one copied
FIRST_BYTES = 1 << 20


class CudaBackend:
    """Scores with ``user.onnx`` and ``candidate.onnx`` on a device; safe to call from many threads, better from many.

    Requests that threads ask at the same time make one batch of at most ``max_batch``; with ``wait_s`` a batch waits
    so long after its first request for more.
    """

    def __init__(
        self,
        user_graph: Path,
        candidate_graph: Path,
        device: Device,
        precision: str = "bf16",
        *,
        max_batch: int = 32,
        wait_s: float = 0.0,
    ) -> None:
        self.device_scores = DeviceScores(user_graph, candidate_graph, device, precision)
        self._batcher: Batcher[ModelInputs, Floats] = Batcher(
            self.device_scores.start, max_batch=max_batch, wait_s=wait_s, in_flight=IN_FLIGHT
        )
        weakref.finalize(self, self._batcher.close)  # its threads end with a bundle that is served no more

    @property
    def batches(self) -> dict[int, int]:
        """How many batches of each size there were."""
        return dict(self.device_scores.batches)

    def score(self, inputs: ModelInputs) -> Floats:
        """Return probabilities ``(N, heads)``; no row depends on the other candidates."""
        return self._batcher.ask(inputs)


class DeviceScores:
    """Starts batches on the device; one thread starts them, another waits for them."""

    def __init__(self, user_graph: Path, candidate_graph: Path, device: Device, precision: str) -> None:
        self.device, dtype = device, DTYPES[precision]
        self.user = TorchGraph(user_graph, device.torch_device, dtype)
        self.candidates = TorchGraph(candidate_graph, device.torch_device, dtype)
        self.batches: dict[int, int] = {}
        self._runs: OrderedDict[Shapes, Run] = OrderedDict()
        self._idle: SimpleQueue[Staging] = SimpleQueue()
        for _ in range(IN_FLIGHT):
            self._idle.put(Staging(device))

    @torch.inference_mode()
    def start(self, batch: Sequence[ModelInputs]) -> Callable[[], Sequence[Floats]]:
        """Copy a batch to the device and start its runs; return what waits for the probabilities of each request."""
        self.batches[len(batch)] = self.batches.get(len(batch), 0) + 1
        staging = self._idle.get()
        try:
            scores = self._started(batch, staging)
            wait = self.device.mark()
        except Exception:
            self._idle.put(staging)
            raise

        def end() -> Sequence[Floats]:
            try:
                wait()
                return [one.numpy().copy() for one in scores]
            finally:
                self._idle.put(staging)

        return end

    def _started(self, batch: Sequence[ModelInputs], staging: "Staging") -> list[Tensor]:
        """Start the copy and the runs of a batch; return where its probabilities will be."""
        shapes = [packed_shapes(one, padded_rows(one.num_candidates)) for one in batch]
        layouts = [layout_of(shape) for shape in shapes]
        starts = staging.fill(batch, layouts)
        with self.device.computing():
            outputs = [
                self._run(shape, layout)(staging.inputs[start : start + layout.nbytes])[: one.num_candidates]
                for shape, layout, start, one in zip(shapes, layouts, starts, batch, strict=True)
            ]
            return staging.fetch(outputs)

    def _run(self, shapes: Shapes, layout: Layout) -> "Run":
        run = self._runs.pop(shapes, None) or Run(self, layout)
        self._runs[shapes] = run
        if len(self._runs) > MAX_SHAPES:
            self._runs.popitem(last=False)
        return run


class Staging:
    """Memory of one batch, here and on the device; it grows to the largest batch."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._host = device.host_bytes(FIRST_BYTES)
        self._host_scores = device.host_bytes(FIRST_BYTES)
        self.inputs = torch.empty(FIRST_BYTES, dtype=torch.uint8, device=device.torch_device)

    def fill(self, batch: Sequence[ModelInputs], layouts: Sequence[Layout]) -> list[int]:
        """Pack a batch and begin its one copy; return where each request starts."""
        ends = np.cumsum([layout.nbytes for layout in layouts]).tolist()
        if ends[-1] > len(self._host):
            self._host = self._device.host_bytes(2 * ends[-1])
            self.inputs = torch.empty(2 * ends[-1], dtype=torch.uint8, device=self._device.torch_device)
        starts = [0, *ends[:-1]]
        array = self._host.numpy()
        for one, layout, start, end in zip(batch, layouts, starts, ends, strict=True):
            pack(one, layout, array[start:end])
        self._device.upload(self.inputs[: ends[-1]], self._host[: ends[-1]])
        return starts

    def fetch(self, outputs: Sequence[Tensor]) -> list[Tensor]:
        """Begin to copy the probabilities of a batch back, all at once; return where they will be."""
        flat = torch.cat([one.reshape(-1) for one in outputs])
        if flat.nbytes > len(self._host_scores):
            self._host_scores = self._device.host_bytes(2 * flat.nbytes)
        here = self._host_scores[: flat.nbytes].view(torch.float32)
        here.copy_(flat, non_blocking=True)
        parts = here.split([one.numel() for one in outputs])
        return [part.view(one.shape) for part, one in zip(parts, outputs, strict=True)]


class Run:
    """Both graphs for requests of one shape, from the second time on a recorded run."""

    def __init__(self, scores: DeviceScores, layout: Layout) -> None:
        self._scores = scores
        self._inputs = torch.empty(layout.nbytes, dtype=torch.uint8, device=scores.device.torch_device)
        self._arrays = {
            field.name: self._inputs[field.start : field.end].view(_dtype(field.dtype)).view(field.shape)
            for field in layout.fields
        }
        self._moved: dict[str, Tensor] = {}
        self._times = 0
        self._recorded: tuple[Callable[[], object], Tensor] | None = None

    def __call__(self, packed: Tensor) -> Tensor:
        """Return the probabilities ``(rows, heads)``, valid until the next call."""
        self._inputs.copy_(packed)
        self._times += 1
        if self._times == 1:
            return self._compute()
        if self._recorded is None:
            self._recorded = self._scores.device.recorded(self._compute)
        repeat, output = self._recorded
        repeat()
        return output.clone()  # a later request of the batch may have the same shape

    def _compute(self) -> Tensor:
        user, candidates = self._scores.user, self._scores.candidates
        arrays = {name: self._arrays[name] for name in USER_INPUTS if name in user.inputs}
        shared = user.run(arrays, self._moved)
        columns = {name: self._arrays[name] for name in CANDIDATE_INPUTS if name in candidates.inputs}
        passed_on = {name: shared[name] for name in user.outputs if name in candidates.inputs}
        probabilities: Tensor = candidates.run(passed_on | columns, self._moved)[PROBABILITIES]
        return probabilities


def _dtype(name: str) -> torch.dtype:
    return torch.from_numpy(np.empty(0, name)).dtype
