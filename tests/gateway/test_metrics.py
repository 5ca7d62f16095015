"""What a gateway shows to Prometheus, by HTTP."""

from prometheus_client.parser import text_string_to_metric_families

from tests.builders.gateway import RunningGateway, a_click

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
