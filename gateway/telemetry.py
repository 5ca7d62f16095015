"""What a gateway shows to Prometheus: the table of its metrics, and the look that they are read from."""

from dataclasses import dataclass

from rankstream import __version__
from rankstream.gateway.counts import GatewayCounts
from rankstream.streams.counters import Counters
from rankstream.streams.exposition import Kind, Watched
from rankstream.streams.histogram import Histogram
from rankstream.streams.pipeline_metrics import PIPELINE_METRICS

COUNTER, GAUGE, HISTOGRAM = Kind


@dataclass(frozen=True)
class GatewayLook:
    """A gateway as of one scrape."""

    counts: GatewayCounts
    in_flight: int
    streams: int
    ready: bool
    loop_delay_s: Histogram
    ranked_here: Counters | None  # of the pipeline in this process; None where workers rank


def _of_pipeline(one: Watched[Counters]) -> Watched[GatewayLook]:
    return Watched(
        one.name,
        one.kind,
        one.help,
        lambda look: None if look.ranked_here is None else one.read(look.ranked_here),
        one.labels,
    )


GATEWAY_METRICS: tuple[Watched[GatewayLook], ...] = (
    Watched(
        "rankstream_gateway_answers_total",
        COUNTER,
        "Calls answered, by route and HTTP status; route is `other` for paths that are not there.",
        lambda look: look.counts.answers,
        ("route", "status"),
    ),
    Watched(
        "rankstream_gateway_answer_seconds",
        HISTOGRAM,
        "Time from a call to its answer, by route; streams are not counted.",
        lambda look: look.counts.answer_s,
        ("route",),
    ),
    Watched(
        "rankstream_gateway_actions_total",
        COUNTER,
        "Actions that came, by whether they were accepted or rejected.",
        lambda look: {"accepted": look.counts.actions, "rejected": look.counts.rejected},
        ("result",),
    ),
    Watched(
        "rankstream_gateway_in_flight", GAUGE, "Calls that wait for brokers or workers.", lambda look: look.in_flight
    ),
    Watched("rankstream_gateway_streams", GAUGE, "Clients that follow feeds.", lambda look: look.streams),
    Watched("rankstream_gateway_ready", GAUGE, "1 where /ready answers 200, else 0.", lambda look: look.ready),
    Watched(
        "rankstream_gateway_event_loop_delay_seconds",
        HISTOGRAM,
        "How late the event loop comes to what is due, looked at four times a second.",
        lambda look: look.loop_delay_s,
    ),
    Watched(
        "rankstream_gateway_build_info",
        GAUGE,
        "Always 1; the label is the version.",
        lambda look: {__version__: 1},
        ("version",),
    ),
)

SHOWN_BY_GATEWAYS: tuple[Watched[GatewayLook], ...] = (
    *GATEWAY_METRICS,
    *(_of_pipeline(one) for one in PIPELINE_METRICS),
)
