"""ONNX Runtime on the CPU, the default: float32, and the reference that other scorers are held to.

Measured (2 cores of Zen 4): SkipLayerNormFusion is slower than the nodes that it fuses (``bundles/graphs.py``).
"""

from collections.abc import Sequence
from pathlib import Path

from rankstream.bundles.graphs import CPU, open_graph
from rankstream.ranking.backends.two_graphs import Feeds, TwoGraphs


class OnnxGraph:
    """One graph as ONNX Runtime runs it; safe to call from many threads."""

    def __init__(self, path: Path, providers: Sequence[str] = CPU) -> None:
        self.name = path.name
        self._session = open_graph(path, providers)
        self.inputs = tuple(spec.name for spec in self._session.get_inputs())
        self.outputs = tuple(spec.name for spec in self._session.get_outputs())

    def run(self, feeds: Feeds) -> Feeds:
        """Return all outputs by name."""
        return dict(zip(self.outputs, self._session.run(self.outputs, dict(feeds)), strict=True))


class OnnxBackend(TwoGraphs):
    """Scores with ``user.onnx`` and ``candidate.onnx``; safe to call from many threads."""

    def __init__(self, user_graph: Path, candidate_graph: Path, providers: Sequence[str] = CPU) -> None:
        super().__init__(OnnxGraph(user_graph, providers), OnnxGraph(candidate_graph, providers))
