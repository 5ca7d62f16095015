"""`rankstream gateway`: HTTP beside Kafka."""

import asyncio
import logging

import click

from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.gateway import GATEWAY_FIELDS, BothSettings, read_both
from rankstream.cli.options.settings import options_of
from rankstream.features.actions import VocabularyRefusedError
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.stores.base import StoreRefusedError
from rankstream.gateway.app import Gateway
from rankstream.gateway.kafka_road import KafkaRoad
from rankstream.gateway.road import Road
from rankstream.gateway.server import serve_until_signal
from rankstream.gateway.worker_road import WorkerRoad, open_states
from rankstream.ranking.bundle import BundleRefusedError
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.log_lines import set_up
from rankstream.streams.settings import Settings
from rankstream.streams.tracing import NO_TRACES, Traces, TracesRefusedError, open_traces
from rankstream.streams.worker.interpreter import settle
from rankstream.streams.worker.open_serving import open_serving

FOLDER = "gateway"  # of state_dir: no worker has a group of that name with a database right in it
QUIET = ("aiokafka", "kafka")  # both repeat for each attempt what the gateway says once


@click.command()
@click.option("--worker", is_flag=True, help="Rank in this process: no Kafka, no log, one process only.")
@options_of(GATEWAY_FIELDS, read_both)
@refusing(
    ClientError, BundleRefusedError, BrokenTableError, StoreRefusedError, VocabularyRefusedError, TracesRefusedError
)
def command(worker: bool, settings: BothSettings) -> None:
    """Serve actions, rankings and feeds by HTTP, until Ctrl-C or SIGTERM.

    Start as many as you like, behind a load balancer: they share nothing but Kafka, and each reads the feeds of its own
    requests. Without a token only this machine may ask, at 127.0.0.1. docs/integrate.md shows every call in curl,
    Python, Node, Java and Go; GET /openapi.json describes them to machines.

    \b
    Reads:  ranked-feeds, from now on
    Writes: user-actions, ranking-requests, impressions
    With --worker no topic at all, but the bundle and state_dir: for trying, and
    for what one process can do. States survive a kill; there is no log, so that
    nothing can be replayed, verified or trained on.

    \b
    Examples:
      rankstream gateway --bootstrap-servers kafka:9092 --port 8080
      RANKSTREAM_GATEWAY_TOKEN=$(openssl rand -hex 32) rankstream gateway \\
        --host 0.0.0.0 --tls-certfile cert.pem --tls-keyfile key.pem
      rankstream gateway --worker --bundle run/bundle
    """
    set_up(settings.stream.log_level, settings.stream.log_format)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    traces = open_traces(settings.stream.traces, "rankstream-gateway")
    road = worker_road(settings.stream, traces) if worker else kafka_road(settings)
    gateway = Gateway(road, settings.gateway, traces=traces)
    settle()
    asyncio.run(serve_until_signal(gateway, lambda address: click.echo(f"serving on {address}")))


def kafka_road(settings: BothSettings) -> Road:
    """Return the road over Kafka; it is opened by the server."""
    return KafkaRoad(settings.stream, settings.gateway.ack_timeout_ms / 1000)


def worker_road(settings: Settings, traces: Traces = NO_TRACES) -> Road:
    """Return the road in this process. Raises what a bundle or a state folder is refused with."""
    if not settings.bundle.is_dir():
        raise Refusal(
            f"there is no bundle folder {settings.bundle}; make one with `rankstream train` and `rankstream export`, "
            "or name another with --bundle"
        )
    serving = open_serving(settings)
    store = open_states(settings.state_dir / FOLDER, serving)
    limits = settings.history_limit, settings.scoring_threads, settings.forget_after_ms
    return WorkerRoad(serving, store, *limits, traces=traces)
