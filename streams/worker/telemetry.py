"""What a worker shows to Prometheus: the table of its metrics, and the look at the worker that they are read from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic

from faust.types import TP

from rankstream import __version__
from rankstream.ranking.served_versions import ServedVersion
from rankstream.streams.counters import Counters
from rankstream.streams.exposition import Kind, Watched
from rankstream.streams.histogram import Histogram
from rankstream.streams.pipeline_metrics import PIPELINE_METRICS
from rankstream.streams.worker.changelog import RestoreJob
from rankstream.streams.worker.checkpoint import Partition
from rankstream.streams.worker.figures import Figures

COUNTER, GAUGE, HISTOGRAM = Kind


@dataclass(frozen=True)
class WorkerLook:
    """A worker as of one scrape."""

    counters: Counters  # since the start, also of partitions that have left
    partitions: Sequence[Partition]  # that are open
    figures: Figures  # memory and its parts
    lag: Mapping[TP, int]  # records behind what the broker has, where that is known
    pending: int  # requests
    pending_bytes: int
    opening: int  # partitions that are not open yet
    restoring: Sequence[RestoreJob]
    versions: Mapping[str, ServedVersion]
    loop_delay_s: Histogram
    ready: bool
    broker_age_s: float  # since a broker answered
    outages: int
    refused_swaps: int  # bundles that did not come to serve
    throttled_s: float = 0.0
    at_s: float = field(default_factory=monotonic)

    def of_partitions(self, read: Callable[[Partition], float]) -> dict[str, float]:
        """Return one number of each partition, by its own number."""
        return {str(one.number): read(one) for one in self.partitions}


def _restored(look: WorkerLook) -> dict[str, float]:
    return {str(one.tp.partition): float(one.read_to - one.bounds.begin) for one in look.restoring}


def _to_restore(look: WorkerLook) -> dict[str, float]:
    return {str(one.tp.partition): float(max(0, one.bounds.end - one.read_to)) for one in look.restoring}


def _of_counters(one: Watched[Counters]) -> Watched[WorkerLook]:
    return Watched(one.name, one.kind, one.help, lambda look: one.read(look.counters), one.labels)


WORKER_METRICS: tuple[Watched[WorkerLook], ...] = (
    *(_of_counters(one) for one in PIPELINE_METRICS),
    Watched(
        "rankstream_request_way_seconds",
        HISTOGRAM,
        "What a ranked request takes beside its ranking, by stage: fetch (from its record's time until this worker has "
        "it, by the clocks of who wrote the record and of the worker), hand_over (to the event loop), turn (until all "
        "before it is done) and send (until brokers have the feed).",
        lambda look: look.counters.way_s,
        ("stage",),
    ),
    Watched(
        "rankstream_chunk_seconds",
        HISTOGRAM,
        "Time to apply a chunk of actions and hand its dead letters on.",
        lambda look: look.counters.chunk_s,
    ),
    Watched(
        "rankstream_checkpoint_seconds",
        HISTOGRAM,
        "Time of a partition's checkpoint that had something to make durable.",
        lambda look: look.counters.checkpoint_s,
    ),
    Watched(
        "rankstream_checkpoint_age_seconds",
        GAUGE,
        "Time since a partition's last checkpoint, or since it was opened.",
        lambda look: look.of_partitions(lambda one: look.at_s - one.checkpointed_at),
        ("partition",),
    ),
    Watched(
        "rankstream_lag_records",
        GAUGE,
        "Records of a topic's partition that are not processed yet; absent until the broker has told its end.",
        lambda look: {(tp.topic, str(tp.partition)): lag for tp, lag in look.lag.items()},
        ("topic", "partition"),
    ),
    Watched(
        "rankstream_bundles_refused_total",
        COUNTER,
        "Bundles that were refused while another one served, and goes on; the log says why.",
        lambda look: look.refused_swaps,
    ),
    Watched("rankstream_requests_pending", GAUGE, "Requests that wait or are being ranked.", lambda look: look.pending),
    Watched("rankstream_requests_pending_bytes", GAUGE, "Bytes of these.", lambda look: look.pending_bytes),
    Watched("rankstream_partitions", GAUGE, "Partitions that are open.", lambda look: len(look.partitions)),
    Watched(
        "rankstream_partitions_opening",
        GAUGE,
        "Partitions that were assigned and are not open yet.",
        lambda look: look.opening,
    ),
    Watched(
        "rankstream_restored_records",
        GAUGE,
        "Records of the changelog read by the restore under way; absent where there is none.",
        _restored,
        ("partition",),
    ),
    Watched(
        "rankstream_restore_remaining_records",
        GAUGE,
        "Records of the changelog that the restore under way has still to read; absent where there is none.",
        _to_restore,
        ("partition",),
    ),
    Watched("rankstream_users_cached", GAUGE, "Users' states in memory.", lambda look: look.figures.cached_users),
    Watched(
        "rankstream_users_changed",
        GAUGE,
        "Of these, not checkpointed yet.",
        lambda look: look.figures.changed_users,
    ),
    Watched(
        "rankstream_state_bytes",
        GAUGE,
        "Users' states on disk, as RocksDB estimates them.",
        lambda look: look.of_partitions(lambda one: one.pipeline.users.store.size_bytes()),
        ("partition",),
    ),
    Watched(
        "rankstream_rocksdb_block_cache_bytes",
        GAUGE,
        "Memory of RocksDB's block cache, shared by all partitions.",
        lambda look: look.figures.block_cache_bytes,
    ),
    Watched(
        "rankstream_rocksdb_memtable_bytes",
        GAUGE,
        "Memory of what RocksDB has not written to files yet.",
        lambda look: look.figures.memtable_bytes,
    ),
    Watched(
        "rankstream_version_info",
        GAUGE,
        "Always 1; the labels name what serves: kind is model, user_vectors, item_vectors, item_counts, interests, "
        "graph or catalogue.",
        lambda look: {(kind, str(one.version)): 1 for kind, one in look.versions.items()},
        ("kind", "version"),
    ),
    Watched(
        "rankstream_version_as_of_timestamp_seconds",
        GAUGE,
        "Time, since 1970, until which what users did is in what serves; its age is time() less this.",
        lambda look: {kind: one.as_of_ms / 1000 for kind, one in look.versions.items() if one.as_of_ms is not None},
        ("kind",),
    ),
    Watched(
        "rankstream_event_loop_delay_seconds",
        HISTOGRAM,
        "How late the event loop comes to what is due, looked at four times a second.",
        lambda look: look.loop_delay_s,
    ),
    Watched("rankstream_ready", GAUGE, "1 where /ready answers 200, else 0.", lambda look: look.ready),
    Watched(
        "rankstream_broker_answer_age_seconds",
        GAUGE,
        "Time since a broker has answered this worker.",
        lambda look: look.broker_age_s,
    ),
    Watched(
        "rankstream_broker_outages_total",
        COUNTER,
        "Times that brokers stopped to answer this worker.",
        lambda look: look.outages,
    ),
    Watched(
        "rankstream_broker_throttle_seconds_total",
        COUNTER,
        "Time for which brokers said that they would read nothing from a connection of this worker, as it is beyond a "
        "quota; added up over connections.",
        lambda look: look.throttled_s,
    ),
    Watched(
        "rankstream_build_info",
        GAUGE,
        "Always 1; the label is the version.",
        lambda look: {__version__: 1},
        ("version",),
    ),
)
