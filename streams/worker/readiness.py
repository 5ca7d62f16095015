"""Whether a worker can do its work, and what it still waits for: the page ``/ready``, and ``rankstream status``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rankstream.ranking.served_versions import ServedVersion
from rankstream.streams.worker.changelog import RestoreJob


@dataclass(frozen=True)
class Restoring:
    """How far the restore of one partition is, in records of its changelog."""

    partition: int
    read: int
    remaining: int


@dataclass(frozen=True)
class Readiness:
    """The document of the page."""

    ready: bool
    reasons: Sequence[str]  # why not, a sentence each; none where it is ready
    group: str
    instance: str | None  # group_instance_id, None without one
    partitions: Sequence[int]  # that are open
    opening: Sequence[int]  # that were assigned and are not open yet
    restoring: Sequence[Restoring]
    versions: Mapping[str, ServedVersion]  # of the model and the tables beside it: all of them verified
    broker_age_s: float  # since a broker answered


def restoring_of(jobs: Sequence[RestoreJob]) -> list[Restoring]:
    """Return the progress of each restore."""
    return [
        Restoring(one.tp.partition, one.read_to - one.bounds.begin, max(0, one.bounds.end - one.read_to))
        for one in jobs
    ]


def why_not_ready(
    has_joined: bool,
    leaving: bool,
    opening: Sequence[int],
    restoring: Sequence[Restoring],
    abandoned: bool,
    broker_age_s: float,
    session_timeout_s: float,
    down: str | None,
    registry_away: str = "",
) -> list[str]:
    """Return what keeps a worker from its work, in sentences; none where it is ready.

    A worker without partitions is ready: there are more workers than partitions, and it takes over from another.
    """
    if leaving:
        return ["it was asked to end"]
    reasons = []
    if abandoned:
        reasons.append("its partitions may belong to another worker, so it ends")
    if broker_age_s > session_timeout_s:
        reasons.append(f"{down or 'no broker answers'}, for {broker_age_s:.0f} s, so others may have its partitions")
    if not has_joined and not opening:
        reasons.append("it has not joined its group yet")
    if registry_away:
        reasons.append(f"records wait for a schema: {registry_away}")
    if restoring:
        reasons.append(f"it restores {_progress(restoring)}")
    elif opening:
        reasons.append(f"it opens the partitions {', '.join(map(str, opening))}")
    return reasons


def _progress(restoring: Sequence[Restoring]) -> str:
    read, remaining = sum(one.read for one in restoring), sum(one.remaining for one in restoring)
    numbers = ", ".join(str(one.partition) for one in restoring)
    percent = 100 * read / max(1, read + remaining)
    return f"the partitions {numbers}: {read:,} of {read + remaining:,} records, {percent:.0f} %"
