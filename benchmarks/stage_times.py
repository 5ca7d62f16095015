"""Where requests were between two looks at a worker's ``/metrics``: means, which add up, and 99th percentiles.

A percentile comes from a histogram's buckets, between whose bounds values are taken to lie evenly, as Prometheus does.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

WAY, RANKING = "rankstream_request_way_seconds", "rankstream_request_seconds"
ACTIONS = "rankstream_actions"
STAGES = (
    ("its record until the worker has it", WAY, "fetch"),
    ("to the event loop", WAY, "hand_over"),
    ("until its turn", WAY, "turn"),
    ("retrieve", RANKING, "retrieve"),
    ("join", RANKING, "join"),
    ("score", RANKING, "score"),
    ("blend", RANKING, "blend"),
    ("until brokers have its feed", WAY, "send"),
)  # what is shown, and where it is found
Numbers = dict[tuple[str, str, str], float]  # by sample, stage and bound, "" where it has none


@dataclass(frozen=True)
class StageTime:
    """What a stage has taken."""

    name: str
    mean_ms: float
    p99_ms: float


def read(page: str) -> Numbers:
    """Return the numbers of both histograms."""
    families = [one for one in text_string_to_metric_families(page) if one.name in (WAY, RANKING)]
    samples = [sample for family in families for sample in family.samples]
    return {(one.name, one.labels["stage"], one.labels.get("le", "")): one.value for one in samples}


def actions_of(page: str) -> float:
    """Return how many actions a worker has read."""
    families = [one for one in text_string_to_metric_families(page) if one.name == ACTIONS]
    return sum(sample.value for family in families for sample in family.samples if sample.name == f"{ACTIONS}_total")


def stage_times(before: str, after: str) -> list[StageTime]:
    """Return what each stage has taken between two pages, in the order of a request's way."""
    begun = read(before)
    numbers = {key: value - begun.get(key, 0.0) for key, value in read(after).items()}
    return [_stage_time(numbers, *each) for each in STAGES]


def _stage_time(numbers: Numbers, shown: str, metric: str, stage: str) -> StageTime:
    count, total = (numbers.get((f"{metric}_{part}", stage, ""), 0.0) for part in ("count", "sum"))
    bucket = f"{metric}_bucket"
    buckets = {float(le): value for (name, of, le), value in numbers.items() if (name, of) == (bucket, stage)}
    return StageTime(shown, 1e3 * total / max(1.0, count), 1e3 * quantile(buckets, 0.99))


def quantile(buckets: Mapping[float, float], share: float) -> float:
    """Return a quantile of cumulative counts by upper bound, 0 of none; the last finite bound where it lies above."""
    wanted = share * max(buckets.values(), default=0.0)
    if not wanted:
        return 0.0
    below, counted = 0.0, 0.0
    for bound, count in sorted(buckets.items()):
        if count >= wanted and count > counted and bound != float("inf"):
            return below + (bound - below) * (wanted - counted) / (count - counted)
        if bound != float("inf"):
            below, counted = bound, count
    return below
