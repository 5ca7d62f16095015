"""The part that refreshes user vectors: the user encoder as a graph, for a batch job beside the workers.

Workers don't run it, they look up the vectors that the job published: hence it is optional and has no golden cases,
which a worker would have to run. Its exporter verifies it against torch.
"""

from collections.abc import Mapping

from rankstream.bundles.parts import Part

USER_VECTORS = "user_vectors"


def user_vectors_part(graph: str, model: str = "", sizes: Mapping[str, int] | None = None) -> Part:
    """Return what the manifest lists of a user encoder."""
    return Part(kind=USER_VECTORS, model=model, files=(graph,), sizes=dict(sizes or {}), optional=True)
