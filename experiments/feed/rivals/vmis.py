"""VMIS-kNN with the sizes that rank the last part before the cut best; it goes on learning during the test."""

from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

from rankstream.evaluation.baselines.vmis_knn import VMISKNN, VMISSizes
from rankstream.experiments.feed.ranked import read_ranked
from rankstream.experiments.feed.replayed import replay_to
from rankstream.experiments.feed.rivals.base import Entry
from rankstream.experiments.feed.task import Task
from rankstream.metrics.ranking import ndcg

VALIDATED_SHARE = 0.1  # of the actions before the cut, the last
VALIDATED = 1_000  # queries
GRID = tuple(
    VMISSizes(sampled, neighbours, items)
    for sampled, neighbours, items in product((100, 500, 2500), (20, 100, 500), (1, 3, 10))
    if neighbours <= sampled
)


def rank(entry: Entry) -> str:
    """Choose the sizes, then rank."""
    sizes, found = tuned(entry.task, entry.seed, entry.folder / "validation.parquet")
    entry.replay(further=[partial(VMISKNN, sizes=sizes, name=entry.row)])
    return (
        f"m = {sizes.sampled}, k = {sizes.neighbours}, last {sizes.items} items, best of {len(GRID)} by NDCG@10 "
        f"({found:.3f}) before the cut"
    )


def tuned(task: Task, seed: int, path: Path) -> tuple[VMISSizes, float]:
    """Return the sizes with the best NDCG@10 on queries before the cut, and that; of equal ones the first."""
    names = {str(sizes): sizes for sizes in GRID}
    if not path.exists():
        plan = task.plan(VALIDATED, seed, from_ms=task.past.time_at(1 - VALIDATED_SHARE), until_ms=task.cut_ms)
        further = tuple(partial(VMISKNN, sizes=sizes, name=name) for name, sizes in names.items())
        replay_to(path, task, replace(plan, further=further, max_queries=VALIDATED))
    ranks = read_ranked(path).with_choice().ranks
    found = {name: float(np.mean([ndcg(one, 10) for one in ranks[name]] or [0.0])) for name in names}
    best = max(found, key=lambda name: found[name])
    return names[best], found[best]
