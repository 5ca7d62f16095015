"""What a gateway shows to Prometheus, by HTTP."""

from time import monotonic, sleep

from prometheus_client.parser import text_string_to_metric_families

from rankstream.gateway.counts import GatewayCounts
from rankstream.gateway.figures import FiguresLine
from rankstream.gateway.telemetry import GatewayLook
from rankstream.streams.histogram import MOMENTS_S, Histogram
from tests.builders.gateway import RunningGateway, a_click
from tests.builders.patience import PATIENCE_S

TOKEN = "0123456789abcdef"


def scraped(running: RunningGateway, **headers: str) -> tuple[int, dict[str, float]]:
    connection = running.connection()
    connection.request("GET", "/metrics", headers=headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    samples = (
        [one for family in text_string_to_metric_families(text) for one in family.samples]
        if answer.status == 200
        else []
    )
    return answer.status, {" ".join([one.name, *one.labels.values()]): one.value for one in samples}


def test_calls_are_counted_by_route_and_status_and_actions_by_whether_they_were_taken():
    with RunningGateway() as running:
        running.call("POST", "/actions", [a_click(), a_click(action="dance")])
        running.call("POST", "/rank", {"user_id": "u1", "limit": 3})
        running.call("GET", "/nowhere/at/all")
        _, found = scraped(running)
    assert found["rankstream_gateway_answers_total /actions 207"] == 1
    assert found["rankstream_gateway_answers_total /rank 200"] == 1
    assert found["rankstream_gateway_answers_total other 404"] == 1
    assert found["rankstream_gateway_answer_seconds_count /rank"] == 1
    assert found["rankstream_gateway_actions_total accepted"] == 1
    assert found["rankstream_gateway_actions_total rejected"] == 1
    assert found["rankstream_gateway_ready"] == 1


def test_a_gateway_that_ranks_shows_what_its_pipeline_counted():
    with RunningGateway() as running:
        running.call("POST", "/actions", a_click())
        running.call("POST", "/rank", {"user_id": "u1", "limit": 3})
        _, found = scraped(running)
    assert found["rankstream_actions_total applied"] == 1
    assert found["rankstream_requests_total ranked"] == 1
    assert found["rankstream_answer_seconds_count"] == 1


def test_metrics_are_for_those_who_have_the_token():
    with RunningGateway(token=TOKEN) as running:
        assert scraped(running)[0] == 401
        assert scraped(running, Authorization=f"Bearer {TOKEN}")[0] == 200


def test_the_line_of_figures_has_rates_since_the_last_one_and_leaves_out_probes():
    counts, now_s = GatewayCounts(actions=3), 100.0
    look = GatewayLook(counts, in_flight=2, streams=1, ready=True, loop_delay_s=Histogram(MOMENTS_S), ranked_here=None)
    line = FiguresLine(lambda: look, clock=lambda: now_s)
    for route, status in (("/rank", 200), ("/rank", 504), ("/actions", 200), ("/ready", 503)):
        counts.answered(route, status, 0.1)
    now_s += 60
    told, numbers = line.next()
    assert told == "calls 3, calls_per_s 0.1, failed 1, actions 3, in_flight 2, streams 1"
    assert numbers["failed"] == 1
    assert line.next()[1]["calls_per_s"] == 0


def test_figures_are_told_while_it_serves(monkeypatch, caplog):
    monkeypatch.setattr("rankstream.gateway.app.TELL_FIGURES_S", 0.01)
    with caplog.at_level("INFO", "rankstream.gateway.app"), RunningGateway() as running:
        running.call("GET", "/nowhere")
        until_s = monotonic() + PATIENCE_S
        while "calls 1, " not in caplog.text and monotonic() < until_s:
            sleep(0.01)
    assert "calls 1, " in caplog.text
    assert [one.figures["calls"] for one in caplog.records if hasattr(one, "figures")][-1] == 1
