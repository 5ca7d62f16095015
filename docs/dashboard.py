"""The dashboard of workers and gateways: rows of panels, each a question with its queries, made into Grafana's JSON.

``python -m docs.generate`` writes ``deploy/grafana/rankstream.json``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 24, 8  # Grafana's columns, and the height of a panel in its rows
ACROSS = 4  # panels of a line, at most
SOURCE = {"type": "prometheus", "uid": "prometheus"}


@dataclass(frozen=True)
class Panel:
    """One plot: series by the text of their legend."""

    title: str
    unit: str  # Grafana's name of it
    queries: Mapping[str, str]
    kind: str = "timeseries"


def _quantiles(metric: str, by: str = "") -> dict[str, str]:
    labels = f"le, {by}" if by else "le"
    legend = f" {{{{{by}}}}}" if by else ""
    return {
        f"p{100 * q:g}{legend}": f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket[$__rate_interval])))"
        for q in (0.5, 0.99)
    }


def _rate(metric: str, by: str) -> dict[str, str]:
    return {f"{{{{{by}}}}}": f"sum by ({by}) (rate({metric}[$__rate_interval]))"}


ROWS: Mapping[str, Sequence[Panel]] = {
    "Do feeds follow the users?": (
        Panel("Answers, from the request's record", "s", _quantiles("rankstream_answer_seconds")),
        Panel("Age of the newest action that rankings saw", "s", _quantiles("rankstream_newest_action_age_seconds")),
        Panel("Records not processed yet", "short", {"{{topic}}": "sum by (topic) (rankstream_lag_records)"}),
    ),
    "What comes, and what becomes of it": (
        Panel("Actions", "ops", _rate("rankstream_actions_total", "result")),
        Panel("Requests", "reqps", _rate("rankstream_requests_total", "result")),
        Panel("Dead letters", "ops", {  # the reasons that come, of the many that there are
            "{{reason}}": "sum by (reason) (rate(rankstream_dead_letters_total[$__rate_interval])) > 0"
        }),
    ),
    "Ranking": (
        Panel("What requests wait for, 99 of 100", "s", {
            "{{stage}}": "histogram_quantile(0.99, "
            "sum by (le, stage) (rate(rankstream_request_way_seconds_bucket[$__rate_interval])))"
        }),
        Panel("Stages, 99 of 100", "s", {
            "{{stage}}": "histogram_quantile(0.99, "
            "sum by (le, stage) (rate(rankstream_request_seconds_bucket[$__rate_interval])))"
        }),
        Panel("Requests that wait", "short", {"{{instance}}": "rankstream_requests_pending"}),
        Panel("What rankings did not know", "percentunit", {
            "requests without history": "sum(rate(rankstream_requests_without_history_total[$__rate_interval]))"
            ' / sum(rate(rankstream_requests_total{result="ranked"}[$__rate_interval]))',
            "candidates without vector": "sum(rate(rankstream_unknown_items_total[$__rate_interval]))"
            " / sum(rate(rankstream_candidates_total[$__rate_interval]))",
        }),
    ),
    "State": (
        Panel("Checkpoints", "s", _quantiles("rankstream_checkpoint_seconds")),
        Panel("Oldest checkpoint", "s", {"{{instance}}": "max by (instance) (rankstream_checkpoint_age_seconds)"}),
        Panel("Still to restore", "short", {
            "{{instance}}": "sum by (instance) (rankstream_restore_remaining_records)"
        }),
    ),
    "Workers": (
        Panel("Ready", "short", {"{{instance}}": "rankstream_ready"}),
        Panel("Partitions", "short", {"{{instance}}": "rankstream_partitions"}),
        Panel("Brokers have not answered for", "s", {"{{instance}}": "rankstream_broker_answer_age_seconds"}),
        Panel("Held back by quotas, of the time", "percentunit", {
            "{{instance}}": "rate(rankstream_broker_throttle_seconds_total[$__rate_interval])"
        }),
        Panel("Memory", "bytes", {
            "{{instance}} resident": 'process_resident_memory_bytes{job="rankstream-worker"}',
            "{{instance}} users on disk": "sum by (instance) (rankstream_state_bytes)",
        }),
        Panel("CPU", "percentunit", {
            "{{instance}}": 'rate(process_cpu_seconds_total{job="rankstream-worker"}[$__rate_interval])'
        }),
        Panel("Delay of the event loop", "s", _quantiles("rankstream_event_loop_delay_seconds", "instance")),
    ),
    "HTTP": (
        Panel("Calls", "reqps", {
            "{{route}} {{status}}": "sum by (route, status) (rate(rankstream_gateway_answers_total[$__rate_interval]))"
        }),
        Panel("From a call to its answer", "s", _quantiles("rankstream_gateway_answer_seconds", "route")),
        Panel("Calls that wait, and streams", "short", {
            "{{instance}} waiting": "rankstream_gateway_in_flight",
            "{{instance}} streams": "rankstream_gateway_streams",
        }),
    ),
    "What serves": (
        Panel("Versions", "short", {"{{kind}} {{version}}": "count by (kind, version) (rankstream_version_info)"}),
        Panel("Age of what serves", "s", {
            "{{kind}}": "time() - min by (kind) (rankstream_version_as_of_timestamp_seconds)"
        }),
    ),
}  # fmt: skip


def dashboard() -> str:
    """Return Grafana's JSON."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS.items():
        panels.append({"type": "row", "title": title, "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1}, "panels": []})
        top += 1
        for first in range(0, len(row), ACROSS):
            line = row[first : first + ACROSS]
            width = WIDTH // len(line)
            for at, panel in enumerate(line):
                panels.append(_panel(panel, {"x": at * width, "y": top, "w": width, "h": HEIGHT}))
            top += HEIGHT
    for number, one in enumerate(panels, start=1):
        one["id"] = number
    document = {
        "title": "rankstream",
        "uid": "rankstream",
        "schemaVersion": 39,
        "timezone": "browser",
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "tags": ["rankstream"],
        "panels": panels,
    }
    return json.dumps(document, indent=1) + "\n"


def _panel(panel: Panel, place: Mapping[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + at), "expr": query, "legendFormat": legend, "datasource": SOURCE}
        for at, (legend, query) in enumerate(panel.queries.items())
    ]
    return {
        "type": panel.kind,
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": dict(place),
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": targets,
    }
