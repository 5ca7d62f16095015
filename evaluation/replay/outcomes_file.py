"""``--outcomes``: what each variant and baseline made of each query, as Parquet, so that people test what they want.

One row a query and variant; rows of one ``query`` are paired. Its columns are documented in docs/evaluation.md.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rankstream.evaluation.replay.outcomes import ALL, Outcomes, RankedQuery, VariantOutcomes
from rankstream.evaluation.replay.variants import ReplayError
from rankstream.features.files import whole_file
from rankstream.features.ids import Id

VARIANT, BASELINE, SCORES = "variant", "baseline", "scores"  # of the column ``kind``


def write_outcomes(outcomes: Outcomes, path: Path, own: Sequence[str] = ()) -> None:
    """Write a file, or none at all; ``own`` are the variants that ``--scores`` brought. Raises ``ReplayError``."""
    table = pa.concat_tables(_tables(outcomes, own))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as beside:
            pq.write_table(table, beside)
    except OSError as exc:
        raise ReplayError(f"the outcomes can't be written to {path} ({exc.strerror}); name another file") from exc


def _tables(outcomes: Outcomes, own: Sequence[str]) -> Iterator[pa.Table]:
    shared = _shared(outcomes.queries)
    metrics = list(dict.fromkeys(key for one in outcomes.variants.values() for key in one.metrics if _is_kept(key)))
    for name, variant in outcomes.variants.items():
        kind = BASELINE if name in outcomes.baselines else SCORES if name in own else VARIANT
        count = len(outcomes.queries)
        columns: dict[str, Any] = shared | {
            "variant": pa.array([name] * count, pa.string()),
            "kind": pa.array([kind] * count, pa.string()),
            "ranks": _ranks(variant, outcomes.queries),
        }
        for head, metric in metrics:
            values = variant.column(head, metric)
            values = values if len(values) == count else np.full(count, np.nan)
            columns[_column(head, metric)] = pa.array(values, pa.float64(), from_pandas=True)  # NaN becomes null
        yield pa.table(columns)


def _is_kept(key: tuple[str, str]) -> bool:
    return key[1].partition("@")[0] in ("hit", "recall", "capped_recall", "ndcg", "mrr")


def _column(head: str, metric: str) -> str:
    return metric if head == ALL else f"{metric} of {head}"


def _shared(queries: Sequence[RankedQuery]) -> dict[str, Any]:
    return {
        "query": pa.array([one.query for one in queries], pa.string()),
        "user_id": _ids([one.user_id for one in queries]),
        "as_of": pa.array([one.at_ms for one in queries], pa.timestamp("ms", "UTC")),
        "targets": _lists([one.targets for one in queries]),
        "target_known": pa.array([one.target_known for one in queries], pa.bool_()),
        "relevant": pa.array([len(one.targets) for one in queries], pa.int64()),
        "candidates": pa.array([one.num_candidates for one in queries], pa.int64()),
        "actions_known": pa.array([one.num_actions for one in queries], pa.int64()),
        "new_user": pa.array([one.is_new for one in queries], pa.bool_()),
    }


def _ids(ids: Sequence[Id]) -> Any:
    """Return ids as integers if all are, else as texts."""
    if all(isinstance(one, int) for one in ids):
        return pa.array(ids, pa.int64())
    return pa.array([str(one) for one in ids], pa.string())


def _lists(lists: Sequence[Sequence[Id]]) -> Any:
    lengths = np.cumsum([0, *(len(one) for one in lists)])
    return pa.ListArray.from_arrays(pa.array(lengths, pa.int32()), _ids([one for each in lists for one in each]))


def _ranks(variant: VariantOutcomes, queries: Sequence[RankedQuery]) -> Any:
    """Return the ranks of the targets; null where a target was not ranked, or where the order is expected only."""
    if not variant.ranks:
        return pa.array([None] * len(queries), pa.list_(pa.int64()))
    padded: list[list[int | None]] = []
    for ranks, query in zip(variant.ranks, queries, strict=True):
        known = [int(rank) if np.isfinite(rank) else None for rank in ranks.tolist()]
        padded.append(known + [None] * (len(query.targets) - len(known)))
    return pa.array(padded, pa.list_(pa.int64()))
