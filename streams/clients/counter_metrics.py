"""What `rankstream count` shows to Prometheus."""

from collections.abc import Callable
from dataclasses import dataclass

from rankstream import __version__
from rankstream.streams.clients.item_counter import CounterFigures, Pace
from rankstream.streams.exposition import Kind, Watched

COUNTER, GAUGE, HISTOGRAM = Kind


@dataclass(frozen=True)
class CounterLook:
    """A counter of items as of one scrape."""

    figures: CounterFigures
    pace: Pace
    now_ms: int


def _since(of: Callable[[CounterFigures], int | None]) -> Callable[[CounterLook], float | None]:
    def age_s(look: CounterLook) -> float | None:
        at_ms = of(look.figures)
        return None if at_ms is None else max(0, look.now_ms - at_ms) / 1000

    return age_s


COUNTER_METRICS: tuple[Watched[CounterLook], ...] = (
    Watched(
        "rankstream_count_behind_seconds",
        GAUGE,
        "How long ago the time was until which all that happened is in a published version, also where nothing "
        "happened; at most about one interval where all is well. None before the first boundary is done.",
        _since(lambda figures: figures.complete_ms),
    ),
    Watched(
        "rankstream_count_interval_seconds",
        GAUGE,
        "Between two boundaries, --every.",
        lambda look: look.pace.every_ms / 1000,
    ),
    Watched(
        "rankstream_count_version_age_seconds",
        GAUGE,
        "Age of the newest version published here, by its as-of time: it grows while nobody does anything.",
        _since(lambda figures: figures.as_of_ms),
    ),
    Watched("rankstream_count_actions", GAUGE, "Actions read that can be counted.", lambda look: look.figures.actions),
    Watched("rankstream_count_lists", GAUGE, "Lists of impressions read.", lambda look: look.figures.lists),
    Watched(
        "rankstream_count_passed_over_total",
        COUNTER,
        "Records that no worker would apply either, by reason; they are no dead letters a second time.",
        lambda look: dict(look.figures.passed_over),
        ("reason",),
    ),
    Watched("rankstream_count_versions_total", COUNTER, "Versions published.", lambda look: look.figures.versions),
    Watched(
        "rankstream_count_publish_seconds",
        HISTOGRAM,
        "What counting and writing a version took.",
        lambda look: look.figures.publish_s,
    ),
    Watched(
        "rankstream_count_refused_bundles_total",
        COUNTER,
        "Bundles that could not be counted for, so that it went on for the one before.",
        lambda look: look.figures.refused_bundles,
    ),
    Watched(
        "rankstream_count_build_info",
        GAUGE,
        "Always 1; the label is the version.",
        lambda look: {__version__: 1},
        ("version",),
    ),
)
