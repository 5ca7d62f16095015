"""What the CUDA scorer asks of a device: memory, copies and runs in order; on the CPU the same steps one by one.

A CUDA device has two streams: one copies the inputs of the next batch while the other computes this one.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor

WARM_RUNS = 2  # before a run is recorded: libraries choose their kernels and take their memory at the first


class Device(Protocol):
    """Where a batch is computed."""

    torch_device: torch.device

    def host_bytes(self, count: int) -> Tensor:
        """Return memory of this machine that is copied from and to the device without a stop."""
        ...

    def upload(self, target: Tensor, source: Tensor) -> None:
        """Begin to copy; what is computed from then on waits for it."""
        ...

    def computing(self) -> AbstractContextManager[object]:
        """Return the context in which runs are started."""
        ...

    def mark(self) -> Callable[[], None]:
        """Return what waits until all that was started before is done."""
        ...

    def recorded(self, run: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        """Return what repeats a run into the same output, and that output."""
        ...


class CpuDevice:
    """The CPU: each step is done when its call returns."""

    torch_device = torch.device("cpu")

    def host_bytes(self, count: int) -> Tensor:
        """Return ordinary memory."""
        return torch.empty(count, dtype=torch.uint8)

    def upload(self, target: Tensor, source: Tensor) -> None:
        """Copy."""
        target.copy_(source)

    def computing(self) -> AbstractContextManager[object]:
        """Return a context without effect."""
        return nullcontext()

    def mark(self) -> Callable[[], None]:
        """Return what waits for nothing."""
        return lambda: None

    def recorded(self, run: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        """Return the run itself, and an output that it is copied to."""
        output = run()
        return lambda: output.copy_(run()), output


class CudaDevice:
    """One CUDA card: pinned memory, two streams, runs recorded as CUDA graphs that share their memory."""

    def __init__(self, name: str = "cuda") -> None:
        self.torch_device = torch.device(name)
        self._copying = torch.cuda.Stream(self.torch_device)
        self._computing = torch.cuda.Stream(self.torch_device)
        # Graphs may share memory, as they run one after the other in one stream and their outputs are kept.
        self._pool = torch.cuda.graph_pool_handle()

    def host_bytes(self, count: int) -> Tensor:
        """Return pinned memory."""
        return torch.empty(count, dtype=torch.uint8, pin_memory=True)

    def upload(self, target: Tensor, source: Tensor) -> None:
        """Begin to copy in the stream of copies."""
        with torch.cuda.stream(self._copying):
            target.copy_(source, non_blocking=True)
        self._computing.wait_event(self._copying.record_event())

    def computing(self) -> AbstractContextManager[object]:
        """Return the context of the computing stream."""
        return torch.cuda.stream(self._computing)

    def mark(self) -> Callable[[], None]:
        """Return what waits for the computing stream, up to here."""
        wait: Callable[[], None] = self._computing.record_event(torch.cuda.Event(blocking=True)).synchronize
        return wait

    def recorded(self, run: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        """Record a run as a CUDA graph; other threads may use the device meanwhile."""
        for _ in range(WARM_RUNS):
            run()
        self._computing.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._computing, capture_error_mode="thread_local"):
            output = run()
        return graph.replay, output
