"""What watches workers can be parsed and asks for nothing that is not there: dashboard, alerts, what is scraped."""

import html
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector

from docs.dashboard import ROWS
from docs.dashboard_picture import Span, amount, draw
from rankstream.cli.views.monitor_metrics import MONITOR_METRICS
from rankstream.gateway.telemetry import SHOWN_BY_GATEWAYS
from rankstream.metrics.drawing import svg_of
from rankstream.streams.clients.counter_metrics import COUNTER_METRICS
from rankstream.streams.exposition import Kind
from rankstream.streams.worker.telemetry import WORKER_METRICS

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
ALERTS = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((DEPLOY / "grafana" / "rankstream.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [
    *(pytest.param(rule["expr"], id=rule["alert"]) for rule in ALERTS),
    *(pytest.param(one["expr"], id=panel["title"]) for panel in PANELS for one in panel["targets"]),
]
OF_PROMETHEUS = {"up": {"job", "instance"}}
TARGET = {"job", "instance"}  # labels that Prometheus adds


def known() -> dict[str, set[str]]:
    """Every series that can be asked for, with its labels."""
    found = dict(OF_PROMETHEUS)
    for one in (*WORKER_METRICS, *SHOWN_BY_GATEWAYS, *COUNTER_METRICS, *MONITOR_METRICS):
        parts = ("_bucket", "_sum", "_count") if one.kind is Kind.HISTOGRAM else ("",)
        for part in parts:
            found[one.name + part] = {*one.labels, *TARGET} | ({"le"} if part == "_bucket" else set())
    process = ProcessCollector(registry=CollectorRegistry())
    for family in process.collect():
        found |= {sample.name: TARGET for sample in family.samples}
    return found


def selectors(node: Any) -> Iterator[tuple[str, set[str]]]:
    """Every series that a query names, with the labels that it is narrowed by."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node.name, {matcher.name for matcher in node.matchers.matchers}
    for part in ("expr", "lhs", "rhs", "vector_selector", "param"):
        below = getattr(node, part, None)
        if below is not None and not isinstance(below, str):
            yield from selectors(below)
    for argument in getattr(node, "args", ()):
        yield from selectors(argument)


def grouped(node: Any) -> Iterator[tuple[set[str], set[str]]]:
    """Every aggregation by labels: the labels, and the series below it."""
    if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
        yield set(node.modifier.labels), {name for name, _ in selectors(node.expr)}
    for part in ("expr", "lhs", "rhs"):
        below = getattr(node, part, None)
        if below is not None and not isinstance(below, str):
            yield from grouped(below)
    for argument in getattr(node, "args", ()):
        yield from grouped(argument)


def parsed(query: str) -> Any:
    return promql_parser.parse(query.replace("$__rate_interval", "1m"))


@pytest.mark.parametrize("query", QUERIES)
def test_queries_name_metrics_and_labels_that_exist(query):
    series = known()
    named = list(selectors(parsed(query)))
    assert named
    for name, labels in named:
        assert name in series, name
        assert labels <= series[name]
    for labels, names in grouped(parsed(query)):
        assert all(labels <= series[name] for name in names), labels


def test_a_metric_that_is_not_there_would_be_found():
    assert list(selectors(parsed('rate(a_total{x="1"}[5m]) / on (y) max by (z) (b) > 3'))) == [
        ("a_total", {"x"}),
        ("b", set()),
    ]
    assert list(grouped(parsed("max by (z) (b)"))) == [({"z"}, {"b"})]


def test_alerts_have_a_name_a_severity_and_a_sentence_and_labels_that_their_query_leaves():
    names = [rule["alert"] for rule in ALERTS]
    assert len(set(names)) == len(names)
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook"] == "docs/operations.md#what-to-do-at-an-alert"


def test_each_alert_has_a_row_that_says_what_to_look_at_and_what_to_do():
    _, _, section = (ROOT / "docs" / "operations.md").read_text().partition("### What to do at an alert\n")
    rows = [line.split(" | ") for line in section.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    assert [len(row) for row in rows] == [3] * len(rows)
    assert [row[0].strip("| `") for row in rows] == [rule["alert"] for rule in ALERTS]


def test_each_alert_is_seen_to_fire():
    cases = yaml.safe_load((DEPLOY / "prometheus" / "alerts.test.yml").read_text())["tests"]
    tried = [one for case in cases for one in case["alert_rule_test"]]
    fired = {one["alertname"] for one in tried if one["exp_alerts"]}
    assert fired == {rule["alert"] for rule in ALERTS}


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool, of Prometheus, is not installed")
def test_alerts_fire_when_they_should():
    command = ["promtool", "test", "rules", "alerts.test.yml"]
    done = subprocess.run(command, cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_query_of_the_dashboard_stands_in_its_table_and_panels_do_not_overlap():
    assert [panel["title"] for panel in PANELS] == [panel.title for row in ROWS.values() for panel in row]
    cells = [
        (x, y)
        for one in DASHBOARD["panels"]
        for x in range(one["gridPos"]["x"], one["gridPos"]["x"] + one["gridPos"]["w"])
        for y in range(one["gridPos"]["y"], one["gridPos"]["y"] + one["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)


def test_its_picture_has_each_panel_with_what_its_queries_are_answered():
    asked = []

    def ask(query):
        asked.append(promql_parser.parse(query))  # as Prometheus would: no variable of Grafana's is left
        if "restore" in query:
            return []
        labels = {"reason": "unknown-action", "instance": "worker-1", "route": "/rank", "status": "200"}
        return [{"metric": labels, "values": [[900, "1"], [915, "NaN"], [930, "2"]]}]

    picture = svg_of(draw(DASHBOARD, ask, Span(840, 960)), "a picture")
    shown = [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", picture)]
    assert len(asked) == sum(len(panel["targets"]) for panel in PANELS)
    assert {panel["title"] for panel in PANELS} | set(ROWS) <= set(shown)
    assert shown.count("no data") == 1
    assert {"unknown-action", "/rank 200", "worker-1 waiting"} <= set(shown)


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [("s", 0.25, "250 ms"), ("s", 90, "90 s"), ("s", 864_000, "10 d"), ("percentunit", 0.5, "50 %"),
     ("bytes", 1 << 28, "256 MiB"), ("ops", 3, "3/s"), ("short", 3, "3")],
)  # fmt: skip
def test_amounts_have_their_unit(unit, value, text):
    assert amount(unit, value) == text


def test_prometheus_scrapes_the_workers_and_the_gateway_of_the_compose_file_where_they_listen():
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    assert set(targets) == {"rankstream-worker", "rankstream-gateway"}  # which queries name
    (gateway,) = targets["rankstream-gateway"]
    assert f"127.0.0.1:{gateway.split(':')[1]}:8080" in COMPOSE[gateway.split(":")[0]]["ports"]
    for target in targets["rankstream-worker"]:
        service, port = target.split(":")
        assert COMPOSE[service]["environment"]["RANKSTREAM_WEB_PORT"] == port
        assert COMPOSE[service]["environment"]["RANKSTREAM_WEB_HOST"] == "0.0.0.0"


def test_files_that_are_mounted_exist():
    for service in ("prometheus", "grafana"):
        mounted = [volume.split(":")[0] for volume in COMPOSE[service]["volumes"] if volume.startswith("./")]
        assert [path for path in mounted if not (ROOT / path).is_file()] == []
        assert COMPOSE[service]["profiles"] == ["watch"]
