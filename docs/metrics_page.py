"""The page of metrics, made from the tables that say how each is read."""

from collections.abc import Sequence
from typing import Any

from rankstream.cli.views.monitor_metrics import MONITOR_METRICS
from rankstream.gateway.telemetry import GATEWAY_METRICS
from rankstream.streams.clients.counter_metrics import COUNTER_METRICS
from rankstream.streams.exposition import Watched
from rankstream.streams.pipeline_metrics import PIPELINE_METRICS
from rankstream.streams.worker.telemetry import WORKER_METRICS

HEAD = """\
# Metrics

*This page is written by `make docs` from `streams/pipeline_metrics.py`, `streams/worker/telemetry.py`,
`gateway/telemetry.py`, `streams/clients/counter_metrics.py` and `cli/views/monitor_metrics.py`; change the tables
there.*

What `/metrics` of a worker, of a gateway and of `rankstream count` shows to Prometheus. Counters begin at 0 with each
process and never fall while it lives, also where partitions leave it. A histogram has `_bucket`, `_sum` and `_count`.
Beside these there are `process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_open_fds` and the others
that [prometheus-client](https://prometheus.github.io/client_python/) reads of a process. How to scrape, the dashboard
and the alerts are in [operations](operations.md#to-watch-it-by).
"""


def metrics() -> str:
    """Return the text of docs/metrics.md."""
    shared = {one.name for one in PIPELINE_METRICS}
    tables: dict[str, Sequence[Watched[Any]]] = {
        "Of workers, and of gateways with `--worker`": PIPELINE_METRICS,
        "Of workers": [one for one in WORKER_METRICS if one.name not in shared],
        "Of gateways": GATEWAY_METRICS,
        "Of `rankstream count`": COUNTER_METRICS,
        "In the file of `rankstream monitor --metrics`": MONITOR_METRICS,
    }
    return HEAD + "".join(_section(title, table) for title, table in tables.items())


def _section(title: str, table: Sequence[Watched[Any]]) -> str:
    lines = [f"\n## {title}\n", "| metric | kind | labels | what it tells |", "|---|---|---|---|"]
    for one in table:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        lines.append(f"| `{one.name}` | {one.kind.value} | {labels} | {one.help} |")
    return "\n".join(lines) + "\n"
