"""ONNX graphs as ONNX Runtime runs them, within bounds: in serving, and when an exporter verifies them.

A graph is checked before ONNX Runtime sees it (``graph_check.py``). What its tensors become of each other only shows
when it runs, so that is bounded there: the memory of all graphs of a process together, of what is computed while one is
opened, and the time that proving one may take.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime

from rankstream.bundles.graph_check import HarmfulGraphError, check_graph

CPU = ("CPUExecutionProvider",)
MAX_ARENA_BYTES = 2 << 30  # of tensors while graphs run, weights apart
MAX_FOLDED_BYTES = 64 << 20  # of a tensor that is computed once, at the opening
PROOF_S = 60.0  # that the golden cases of a bundle may take; exported ones take less than one

_running = threading.local()


class Graph(onnxruntime.InferenceSession):  # type: ignore[misc]
    """A session that stops between two operators when the time of ``time_limit`` is up."""

    def run(self, names: Sequence[str] | None, feeds: Mapping[str, Any], options: Any = None) -> Any:
        """Return the outputs of these names."""
        return super().run(names, feeds, options or getattr(_running, "options", None))


@contextmanager
def time_limit(seconds: float = PROOF_S) -> Iterator[None]:
    """Have graphs that this thread runs fail once so much time has passed."""
    options = onnxruntime.RunOptions()
    timer = threading.Timer(seconds, setattr, (options, "terminate", True))
    timer.daemon = True
    _running.options = options
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        _running.options = None


def checked_graph(path: Path) -> bytes:
    """Return the bytes of a graph for whatever runs it. Raises ``HarmfulGraphError``."""
    data = path.read_bytes()  # once: what is checked is what runs
    try:
        check_graph(data)
    except HarmfulGraphError as exc:
        raise HarmfulGraphError(f"{path.name} {exc}") from exc
    return data


def open_graph(path: Path, providers: Sequence[str] = CPU) -> Graph:
    """Open a graph to be run by one thread. Raises ``HarmfulGraphError`` for one that is not as they are exported."""
    data = checked_graph(path)
    _bound_memory()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # fatal: what fails is raised too, and told in one sentence
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    options.add_session_config_entry("optimization.constant_folding_max_output_size_in_bytes", str(MAX_FOLDED_BYTES))
    return Graph(data, options, providers=list(providers), disabled_optimizers=["SkipLayerNormFusion"])


@cache
def _bound_memory() -> None:
    """Have all graphs of this process share one arena, which has an end."""
    where = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    arena = onnxruntime.OrtArenaCfg({"max_mem": MAX_ARENA_BYTES})
    onnxruntime.create_and_register_allocator(where, arena)
