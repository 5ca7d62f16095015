"""Metrics for Prometheus: each is a line of a table that says what it is called, what it means and how it is read.

Nothing is counted here. What is watched counts for itself, in plain numbers, and is read when Prometheus asks; so what
does the work knows nothing of Prometheus, and the tables are complete: whatever is shown has its line in the docs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from rankstream.streams.histogram import Histogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Number = float | int
Reading = Number | Histogram | Mapping[Any, Number] | Mapping[Any, Histogram] | None  # keys: a label, or several

T = TypeVar("T")


class Kind(Enum):
    """What the numbers of a metric do, by Prometheus's words."""

    COUNTER = "counter"  # only rises, from 0 at each start of the process
    GAUGE = "gauge"  # as of now
    HISTOGRAM = "histogram"  # counts by bucket: `_bucket`, `_sum`, `_count`


@dataclass(frozen=True)
class Watched(Generic[T]):
    """One metric of a ``T``."""

    name: str  # with its unit; counters end with _total
    kind: Kind
    help: str
    read: Callable[[T], Reading]  # a number, or one by label; None or nothing by label: not known now
    labels: tuple[str, ...] = ()

    def family(self, read_from: T) -> Metric:
        """Return what it is now, as Prometheus's client writes it."""
        reading = self.read(read_from)
        name, labels = self.name, list(self.labels)
        if self.kind is Kind.COUNTER:
            counter = CounterMetricFamily(name.removesuffix("_total"), self.help, labels=labels)
            for values, number in _by_label(reading):
                counter.add_metric(values, _number(number))
            return counter
        if self.kind is Kind.GAUGE:
            gauge = GaugeMetricFamily(name, self.help, labels=labels)
            for values, number in _by_label(reading):
                gauge.add_metric(values, _number(number))
            return gauge
        histogram = HistogramMetricFamily(name, self.help, labels=labels)
        for values, counted in _by_label(reading):
            if isinstance(counted, Histogram):
                histogram.add_metric(values, [(_le(at), n) for at, n in counted.cumulative()], counted.sum)
        return histogram


def _by_label(reading: Reading) -> Iterator[tuple[Sequence[str], Number | Histogram]]:
    if isinstance(reading, Mapping):
        for label, one in dict(reading).items():
            yield (label,) if isinstance(label, str) else label, one
    elif reading is not None:
        yield (), reading


def _number(reading: Number | Histogram) -> float:
    if isinstance(reading, Histogram):
        raise TypeError("a histogram came where a number was wanted: the table names the wrong kind")
    return float(reading)


def _le(bound: float) -> str:
    return "+Inf" if bound == float("inf") else str(bound)


class _AsOf(Collector, Generic[T]):
    """The metrics of a table at one time."""

    def __init__(self, table: Iterable[Watched[T]], read_from: T) -> None:
        self._families = [watched.family(read_from) for watched in table]

    def collect(self) -> Iterator[Metric]:
        """Yield them."""
        yield from self._families


def text_of(table: Iterable[Watched[T]], read_from: T) -> bytes:
    """Return the text of a table's metrics as they are now, for a file that something else shows to Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_AsOf(table, read_from))
    text: bytes = generate_latest(registry)
    return text


class Exposition(Collector, Generic[T]):
    """Reads all metrics of a table, and those of the process, when it is asked."""

    def __init__(self, table: Iterable[Watched[T]], look: Callable[[], T]) -> None:
        self._table = tuple(table)
        self._look = look  # makes what the metrics of one answer are read from
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        now = self._look()
        for watched in self._table:
            yield watched.family(now)

    def text(self) -> bytes:
        """Return the answer to Prometheus, of ``CONTENT_TYPE``."""
        answer: bytes = generate_latest(self._registry)
        return answer
