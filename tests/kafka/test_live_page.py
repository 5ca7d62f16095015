"""The live page through Kafka: the worker's feed is what the page ranks beside it, to the bit."""

from dataclasses import replace

import pytest

from rankstream.gateway.kafka_road import KafkaRoad
from rankstream.gateway.settings import GatewaySettings
from rankstream.streams.worker.open_serving import open_serving
from rankstream.web.page import LivePage, PageOptions
from tests.builders.bundle import a_bundle
from tests.builders.gateway import RunningGateway
from tests.builders.live_page import APageVisitor
from tests.kafka.harness import Bench, wait_until

pytestmark = pytest.mark.broker


def test_the_workers_feed_is_the_one_that_the_page_ranks_and_without_a_worker_it_says_so(broker, tmp_path):
    bench = Bench(broker.bootstrap_servers, tmp_path, broker.session_timeout_s)
    bench.settings = replace(bench.settings, bundle=a_bundle(tmp_path / "bundle"))
    bench.create_topics()
    worker = bench.worker(SERVE="1")
    worker.wait_ready()
    serving, settings = open_serving(bench.settings), GatewaySettings(port=0, answer_timeout_ms=20_000)
    page = LivePage(KafkaRoad(bench.settings, 5.0), serving, settings, PageOptions("kafka"))
    with RunningGateway(gateway=page) as running:
        visitor = APageVisitor(running, "v")
        for item in (1, 2, 3):
            visitor.act(item)
        wait_until(lambda: visitor.feed()["actions_used"] == 3, "the worker knows what the visitor did")
        asked = {"timestamp_ms": visitor.actions[-1]["timestamp_ms"] + 500, "request_id": "both"}
        live, compared = visitor.feed(**asked), visitor.compare(0, **asked)
        assert live["items"] == compared["stale"]["items"]
        assert live["items"] != compared["frozen"]["items"]
        worker.terminate()
        page.settings = replace(settings, answer_timeout_ms=300)
        answer = running.call("POST", "/rank", visitor.question())
        assert (answer.status, answer.reason) == (504, "no-answer")
        visitor.act(4)  # the brokers have it
    bench.close()
