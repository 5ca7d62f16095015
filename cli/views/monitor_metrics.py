"""A monitor's report as metrics of Prometheus: what is left of it when the command has ended."""

from collections.abc import Callable, Iterable
from math import isnan

from rankstream.evaluation.monitoring.windows import MonitorReport, Window
from rankstream.metrics.ratios import Ratio
from rankstream.streams.exposition import Kind, Number, Watched

Gauge = Watched[MonitorReport]


def _gauge(name: str, told: str, read: Callable[[MonitorReport], Number | None]) -> Gauge:
    return Watched(f"rankstream_monitor_{name}", Kind.GAUGE, told, read)


def _newest(name: str, told: str, of: Callable[[Window], Ratio]) -> Gauge:
    return _gauge(name, f"In the newest window: {told}.", lambda report: _known(of(report.windows[-1])))


def _known(ratio: Ratio) -> float | None:
    return ratio.value if ratio.whole else None


def _hits(windows: Iterable[Window]) -> dict[str, float]:
    return {one.name: one.hit.value for one in windows if _known(one.hit) is not None}


MONITOR_METRICS: tuple[Gauge, ...] = (
    _gauge(
        "window_timestamp_seconds", "When the newest window began.", lambda report: report.windows[-1].from_ms / 1000
    ),
    _gauge("feeds", "Feeds of the newest window.", lambda report: report.windows[-1].feeds),
    _newest("hit_ratio", "share of the feeds of which something was taken", lambda window: window.hit),
    _newest("taken_positions_ratio", "share of the shown positions that were taken", lambda window: window.rate),
    _newest("errors_ratio", "share of the answers that are errors", lambda window: window.errors),
    _newest("fallbacks_ratio", "share of the feeds that are fallbacks", lambda window: window.fallbacks),
    _newest("without_actions_ratio", "share of the feeds of users without actions", lambda window: window.strangers),
    _newest("unknown_items_per_feed", "candidates that the model does not know, a feed", lambda window: window.unknown),
    _gauge(
        "newest_action_age_seconds",
        "In the newest window: median age of the newest action that a feed knew.",
        lambda report: None if isnan(age_ms := report.windows[-1].median_age_ms) else age_ms / 1000,
    ),
    Watched(
        "rankstream_monitor_calibration_ratio",
        Kind.GAUGE,
        "In the newest window: observed actions to predicted ones, by head.",
        lambda report: {
            head: ratio.value for head, ratio in report.windows[-1].calibration.items() if _known(ratio) is not None
        },
        ("head",),
    ),
    Watched(
        "rankstream_monitor_model_hit_ratio",
        Kind.GAUGE,
        "Of all feeds that were looked at: share of those of which something was taken, by model.",
        lambda report: _hits(report.by_model),
        ("model",),
    ),
    Watched(
        "rankstream_monitor_source_taken_positions_ratio",
        Kind.GAUGE,
        "Of all feeds that were looked at: share of the shown positions that were taken, by what proposed the item.",
        lambda report: {one.source: one.rate.value for one in report.by_source if _known(one.rate) is not None},
        ("source",),
    ),
    Watched(
        "rankstream_monitor_variant_hit_ratio",
        Kind.GAUGE,
        "In an experiment, of all feeds that were looked at: share of those of which something was taken, by variant.",
        lambda report: _hits(report.by_variant),
        ("variant",),
    ),
    Watched(
        "rankstream_monitor_sample_ratio_p_value",
        Kind.GAUGE,
        "In an experiment: how probable numbers of users as unlikely as the variants' are, by the treatment's share; "
        "below 0.001 something loses users of one variant or moves them.",
        lambda report: {f"{one.share:g}": one.p_value for one in report.sample_ratios},
        ("share",),
    ),
    Watched(
        "rankstream_monitor_alerts",
        Kind.GAUGE,
        "1 for each measure that there is an alert of.",
        lambda report: {alert.what: 1 for alert in report.alerts},
        ("what",),
    ),
)
