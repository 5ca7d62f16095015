"""Every route and every refusal by HTTP, with the pipeline in the process: nothing but JSON leaves."""

import asyncio
import gzip
import json
import logging
import shutil
import socket
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from aiohttp import ClientConnectionResetError, web

from rankstream.features.stores.base import StoreRefusedError
from rankstream.features.stores.memory import MemoryStore
from rankstream.gateway.async_client import AsyncGatewayClient
from rankstream.gateway.descriptors import SPARE, Descriptors
from rankstream.gateway.openapi import openapi
from rankstream.gateway.server import JsonHandler
from rankstream.gateway.worker_road import WorkerRoad
from rankstream.ranking.request import RankingRequest
from rankstream.streams.topics import REQUESTS
from tests.builders.actions import SomeLiveRanker
from tests.builders.gateway import RunningGateway, a_click
from tests.builders.patience import PATIENCE_S

TOKEN = "0123456789abcdef"


def wait_until(true, within_s=PATIENCE_S):
    """Wait until it is so."""
    until = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


def is_closed(connection):
    """Wait for what comes of a connection; return whether that is its end."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def is_answered(gateway):
    """Return whether a request is answered; one that comes before others are gone is hung up on."""
    try:
        return gateway.call("POST", "/rank", {"user_id": "u1", "limit": 1}).status == 200
    except ConnectionError:
        return False


class SlowRoad(WorkerRoad):
    """Requests wait until the test lets them go."""

    def __init__(self):
        super().__init__(SomeLiveRanker(), MemoryStore(), scoring_threads=4)
        self.go = threading.Event()
        rank = self.pipeline.serving.current.rank
        self.pipeline.serving.current.rank = lambda *args: self.go.wait(PATIENCE_S) and rank(*args)


@pytest.fixture(scope="module")
def gateway():
    with RunningGateway() as running:
        yield running


def test_an_action_is_seen_by_the_next_request(gateway):
    assert gateway.call("POST", "/actions", a_click("seen")).document == {"accepted": 1, "rejected": []}
    feed = gateway.call("POST", "/rank", {"request_id": 5, "user_id": "seen", "limit": 3})
    assert (feed.status, feed.document["request_id"], feed.document["actions_used"]) == (200, 5, 1)


def test_an_unknown_user_has_a_feed_too(gateway):
    feed = gateway.call("POST", "/rank", {"user_id": "nobody", "limit": 3})
    assert (feed.status, feed.document["actions_used"]) == (200, 0)


def test_of_many_actions_those_that_were_not_taken_are_named(gateway):
    answer = gateway.call("POST", "/actions", [{}, a_click(), a_click(action="dance"), a_click()])
    assert (answer.status, answer.document["accepted"]) == (207, 2)
    rejected = [(one["index"], one["reason"]) for one in answer.document["rejected"]]
    assert rejected == [
        (0, "schema"),
        (2, "unknown-action"),
    ]
    assert gateway.call("POST", "/actions", [{}]).status == 400
    assert gateway.call("POST", "/actions", []).document == {"accepted": 0, "rejected": []}


@pytest.mark.parametrize("path", ["/actions", "/rank"])
@pytest.mark.parametrize("body", ["{", "", b"\xff\x00", '{"a":' * 50_000], ids=["cut", "empty", "bytes", "deep"])
def test_what_is_no_json_is_said_to_be_none(gateway, path, body):
    answer = gateway.call("POST", path, body)
    assert (answer.status, answer.reason) == (400, "not-json")


def test_a_body_over_the_limit_is_refused_whether_its_length_is_said_or_not(gateway):
    large = b" " * (gateway.gateway.settings.body_limit_bytes + 1)
    assert gateway.call("POST", "/actions", large).status == 413
    connection = gateway.connection()
    connection.request("POST", "/actions", iter([large]), {"Content-Type": "application/json"}, encode_chunked=True)
    answer = connection.getresponse()
    assert (answer.status, json.load(answer)["error"]["reason"]) == (413, "too-large")


@pytest.mark.parametrize("body", [b"[]", gzip.compress(b" " * 50_000)[:-20] + b"?" * 20], ids=["none", "damaged"])
def test_a_body_that_is_not_packed_as_it_says_is_refused_and_no_bug(gateway, body, caplog):
    answer = gateway.call("POST", "/actions", body, Content_Encoding="gzip")
    assert (answer.status, answer.reason) == (400, "content-encoding")
    assert not [record for record in caplog.records if record.exc_info]
    assert gateway.call("POST", "/actions", gzip.compress(b"[]"), Content_Encoding="gzip").status == 200


def test_paths_methods_and_types_that_are_not_there_are_named(gateway):
    assert gateway.call("GET", "/nowhere").reason == "path"
    assert gateway.call("PUT", "/rank").document["error"]["message"] == "PUT came; /rank takes POST"
    assert gateway.call("POST", "/rank", "{}", Content_Type="text/plain").status == 415
    assert gateway.call("GET", "/feeds/" + "x" * 300).status == 400
    error = gateway.call("POST", "/impressions", {}).document["error"]
    assert error["reason"] == "no-topic"
    assert error["message"].endswith("one beside Kafka, without --worker, sends them on")


def test_what_can_be_mended_in_the_caller_is_said(gateway):
    def message(path, body):
        document = gateway.call("POST", path, body).document
        return (document["rejected"][0] if "rejected" in document else document["error"])["message"]

    action = {"user_id": "u1", "item_id": 7, "action": "save"}
    for at in (1700000000000.5, "2023-11-14T22:13:20Z"):
        assert message("/actions", action | {"timestamp_ms": at}).endswith(
            "; write whole ms since 1970, as 1700000000000"
        )
    assert message("/rank", "") == "not JSON: it is empty; send a JSON object"


def test_a_gateway_that_asks_for_no_token_lets_nobody_erase(gateway):
    answer = gateway.call("POST", "/forget", {"user_id": "u1"})
    assert (answer.status, answer.reason) == (403, "no-token")
    assert gateway.gateway.road.counters().erasures == 0


LONG = b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n"
NO_HTTP = [b"\x16\x03\x01 TLS\r\n\r\n", b"GET / HTTP/9\r\n\r\n", LONG]


@pytest.mark.parametrize("sent", NO_HTTP, ids=["tls", "version", "long"])
def test_what_is_no_http_is_answered_in_json_and_not_logged(gateway, caplog, sent):
    with caplog.at_level(logging.INFO):
        head, _, body = gateway.raw(sent).partition(b"\r\n\r\n")
    assert b"application/json" in head
    assert json.loads(body)["error"]["reason"] == "http"
    assert caplog.records == []


JSON = "Content-Type: application/json\r\n"
ODD = {
    "expect": ("POST /rank HTTP/1.1", JSON + "Expect: miracles\r\nContent-Length: 2\r\n", b"{}", 417, "http"),
    "brotli": ("POST /rank HTTP/1.1", JSON + "Content-Encoding: br\r\n", b"0\r\n\r\n", 415, "content-encoding"),
    "old": ("GET /live HTTP/0.9", "", b"", 400, "http"),
    "two lengths": ("POST /rank HTTP/1.1", JSON + "Content-Length: 2\r\nContent-Length: 3\r\n", b"{}", 400, "http"),
    "both": ("POST /rank HTTP/1.1", JSON + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", b"0", 400, "http"),
    "chunk": ("POST /rank HTTP/1.1", JSON + "Transfer-Encoding: chunked\r\n", b"f" * 40 + b"\r\n", 400, "http"),
    "head": ("HEAD /rank HTTP/1.1", "", b"", 405, None),
    "any": ("OPTIONS * HTTP/1.1", "", b"", 404, "path"),
    "no text": ("GET /feeds/%FF HTTP/1.1", "", b"", 400, "schema"),
    "surrogate": ("GET /feeds/%ED%A0%80 HTTP/1.1", "", b"", 400, "schema"),
    "overlong": ("GET /feeds/%C0%AF HTTP/1.1", "", b"", 400, "schema"),
}


@pytest.mark.parametrize(("line", "headers", "body", "status", "reason"), ODD.values(), ids=ODD)
def test_odd_http_is_a_4xx_in_json_and_not_logged(gateway, caplog, line, headers, body, status, reason):
    with caplog.at_level(logging.INFO):
        sent = f"{line}\r\nHost: x\r\nConnection: close\r\n{headers}\r\n".encode() + body
        head, _, answered = gateway.raw(sent).partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert b"application/json" in head
    assert reason is None or json.loads(answered)["error"]["reason"] == reason
    assert caplog.records == []


NUMBERS = ["NaN", "Infinity", "1e400", "9" * 400, "9" * 5_000, '"\\ud800"', "1" * 400 + ".5"]


@pytest.mark.parametrize("value", NUMBERS, ids=range(len(NUMBERS)))
def test_numbers_that_json_or_a_field_has_not_are_a_400(gateway, value):
    for path, fields in (("/rank", '"user_id":1,"limit":'), ("/actions", '"user_id":1,"value":')):
        answer = gateway.call("POST", path, "{" + fields + value + "}")
        assert answer.status == 400, answer


def test_a_body_of_nothing_but_wrong_actions_is_not_looked_at_to_its_end(gateway):
    """700,000 of them fit into one, and the event loop would stand still for seconds."""
    answer = gateway.call("POST", "/actions", b"[" + b",".join([b"{}"] * 500_000) + b"]")
    assert (answer.status, answer.reason) == (400, "schema")
    assert "more than 1,000 of the actions are wrong, and none was sent; the first: " in str(answer.document)


def test_a_client_that_is_gone_before_its_stream_begins_is_not_logged(monkeypatch, caplog):
    async def gone(stream, request):
        raise ClientConnectionResetError

    with RunningGateway() as gateway, caplog.at_level(logging.INFO):
        monkeypatch.setattr(web.StreamResponse, "prepare", gone)
        gateway.raw(b"GET /feeds/u1 HTTP/1.1\r\n\r\n")
    assert caplog.records == []


SILENT = {"silent": b"", "slow": b"GET /live HTTP/1.1\r\nHost: x\r\n", "later": b"GET /live HTTP/1.1\r\n\r\nGET"}


@pytest.mark.parametrize("sent", SILENT.values(), ids=SILENT)
def test_who_sends_no_whole_head_in_time_is_not_waited_for(monkeypatch, sent):
    """Each would hold a descriptor, and others could not connect any more."""
    monkeypatch.setattr("rankstream.gateway.server.HEAD_S", 0.2)
    monkeypatch.setattr("rankstream.gateway.server.IDLE_S", 0.2)
    with (
        RunningGateway() as gateway,
        socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE_S) as connection,
    ):
        connection.sendall(sent)
        while connection.recv(4096):
            pass


def test_it_lives_is_ready_and_describes_itself(gateway):
    live = gateway.call("GET", "/live")
    assert (live.status, live.document) == (200, {"live": True, "beat_age_s": live.document["beat_age_s"]})
    assert gateway.call("GET", "/ready").document == {"ready": True, "in_flight": 0, "error": None}
    assert gateway.call("GET", "/openapi.json").document == json.loads(json.dumps(openapi()))


def test_a_bug_is_a_sentence_and_leaves_no_trace_outside(gateway, monkeypatch):
    monkeypatch.setattr(gateway.gateway, "clock", lambda: 1 // 0)
    answer = gateway.call("POST", "/actions", a_click())
    assert (answer.status, answer.reason) == (500, "internal")
    assert "ZeroDivision" not in str(answer.document)


def test_a_bug_is_logged_with_the_request_that_met_it(gateway, monkeypatch, caplog):
    async def fail(topic, records, trace):
        raise ZeroDivisionError

    monkeypatch.setattr(gateway.gateway.road, "send", fail)
    assert gateway.call("POST", "/rank", {"request_id": "r9", "user_id": "u", "limit": 1}).status == 500
    assert [record.request_id for record in caplog.records if "met a bug" in record.message] == ["r9"]


def test_a_loop_that_stands_still_is_not_live(gateway, monkeypatch):
    monkeypatch.setattr(gateway.gateway.heartbeat, "_clock", lambda: time.monotonic() + 60)
    assert gateway.call("GET", "/live").status == 503


def test_feeds_of_a_user_are_followed_as_they_come(gateway):
    connection = gateway.connection()
    connection.request("GET", "/feeds/a%2Fb")
    stream = connection.getresponse()
    assert stream.headers["Content-Type"] == "text/event-stream"
    assert stream.readline() == b": from now on\n"
    for number, user in enumerate(("other", "a/b")):
        gateway.call("POST", "/rank", {"request_id": number, "user_id": user, "limit": 3})
    assert stream.readline() == b"\n"
    assert stream.readline() == b"event: feed\n"
    assert json.loads(stream.readline().removeprefix(b"data: "))["request_id"] == 1
    connection.close()


def test_who_follows_is_let_go_when_the_gateway_ends():
    with RunningGateway() as running:
        connection = running.connection()
        connection.request("GET", "/feeds/u1")
        stream = connection.getresponse()
    assert stream.read() == b": from now on\n\n"


def test_without_its_token_nobody_is_let_in():
    with RunningGateway(token=TOKEN) as running:
        answer = running.call("POST", "/actions", a_click())
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert running.call("GET", "/feeds/u1", Authorization="Bearer wrong").status == 401
        assert running.call("POST", "/actions", a_click(), Authorization=f"Bearer {TOKEN}").status == 200
        assert running.call("GET", "/ready").status == 200


def test_pages_of_one_origin_may_call_where_it_is_set_and_of_none_where_not(gateway):
    assert gateway.call("OPTIONS", "/rank", Origin="https://shop.example").status == 405
    with RunningGateway(cors_origin="https://shop.example", token=TOKEN) as running:
        allowed = running.call("OPTIONS", "/rank", Origin="https://shop.example")
        assert (allowed.status, allowed.headers["Access-Control-Allow-Origin"]) == (204, "https://shop.example")
        assert "traceparent, tracestate" in allowed.headers["Access-Control-Allow-Headers"]
        other = running.call("OPTIONS", "/rank", Origin="https://evil.example")
        assert (other.status, other.headers["Access-Control-Allow-Origin"]) == (401, None)


def test_who_comes_too_often_is_told_when_to_come_again():
    with RunningGateway(rate_limit=0.01) as running:  # one each 100 s: a machine may be slow
        answers = [running.call("POST", "/actions", a_click()) for _ in range(2)]
        assert [one.status for one in answers] == [200, 429]
        assert 30 < int(answers[1].headers["Retry-After"]) <= 100
        assert running.call("GET", "/live").status == 200


def test_a_flood_is_answered_429_and_what_is_in_flight_is_ranked():
    road = SlowRoad()
    with RunningGateway(road, max_in_flight=2, answer_timeout_ms=20_000) as running, ThreadPoolExecutor(2) as pool:
        ask = lambda number: running.call("POST", "/rank", {"request_id": number, "user_id": "u", "limit": 1})  # noqa: E731
        held = [pool.submit(ask, number) for number in range(2)]
        while running.gateway.in_flight < 2:
            time.sleep(0.01)
        flood = [ask(number) for number in range(10, 20)]
        road.go.set()
        assert {(one.status, one.reason, one.headers["Retry-After"]) for one in flood} == {(429, "too-many", "1")}
        assert [one.result().status for one in held] == [200, 200]
        assert running.gateway.in_flight == 0


def test_a_thousand_requests_are_in_flight_at_once_and_each_gets_its_feed():
    road = SlowRoad()

    async def main(running):
        async with AsyncGatewayClient(running.address, timeout_s=PATIENCE_S) as client:
            asked = [client.rank(RankingRequest(number, f"u{number % 7}", limit=1)) for number in range(1000)]
            answers = asyncio.gather(*asked)
            while running.gateway.in_flight < 1000:
                await asyncio.sleep(0.01)
            road.go.set()
            return [feed.request_id for feed in await answers]

    with RunningGateway(road, answer_timeout_ms=60_000) as running:
        assert asyncio.run(main(running)) == list(range(1000))


def test_an_answer_that_is_late_is_504_by_the_gateway_or_by_the_request():
    road = SlowRoad()
    with RunningGateway(road, answer_timeout_ms=100) as running:
        answer = running.call("POST", "/rank", {"user_id": "u", "limit": 1})
        assert (answer.status, answer.reason) == (504, "no-answer")
        past = running.call("POST", "/rank", {"user_id": "u", "limit": 1, "deadline_ms": 1_700_000_000_000})
        assert (past.status, past.reason) == (504, "deadline-passed")
        road.go.set()


def test_a_request_that_no_broker_takes_in_time_is_503(gateway):
    async def hang(topic, records, trace):
        await asyncio.sleep(20)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gateway.gateway.road, "send", hang)
        soon = {"user_id": "u", "limit": 1, "deadline_ms": int(time.time() * 1000) + 200}
        answer = gateway.call("POST", "/rank", soon)
    assert (answer.status, answer.reason, answer.headers["Retry-After"]) == (503, "no-broker", "1")


def test_what_a_worker_refuses_is_no_success(gateway):
    road = gateway.gateway.road
    refused = {"request_id": "r", "user_id": "u", "ranked_at_ms": 1, "error": {"reason": "bad-groups", "message": "no"}}

    async def refuse(topic, records, trace):
        assert topic is REQUESTS
        gateway.gateway.board.arrived(json.dumps(refused).encode())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(road, "send", refuse)
        answer = gateway.call("POST", "/rank", {"request_id": "r", "user_id": "u", "limit": 1})
    assert (answer.status, answer.document) == (400, refused)


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes a certificate with openssl")
def test_with_a_certificate_it_speaks_https_and_nothing_else(tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    name = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    kind = ("-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    subprocess.run(["openssl", "req", *kind, *name, "-keyout", key, "-out", cert], check=True, capture_output=True)
    trusting = ssl.create_default_context(cafile=cert)
    with RunningGateway(tls=trusting, tls_certfile=cert, tls_keyfile=key) as running:
        assert running.address.startswith("https://")
        assert running.call("POST", "/actions", a_click()).status == 200
        assert running.raw(b"GET /live HTTP/1.1\r\n\r\n") == b""


def test_states_that_can_not_be_written_any_more_are_a_503_with_the_sentence_and_feeds_go_on():
    """Taken and not on disk it would be lost; and sent again it would change nothing in memory, and be taken."""

    class ReadOnlyStore(MemoryStore):
        def write(self, *given):
            raise StoreRefusedError("the state folder can't be written to (Read-only file system): set that right")

    with RunningGateway(WorkerRoad(SomeLiveRanker(), ReadOnlyStore())) as gateway:
        click = a_click("u1")
        for _ in range(2):
            answer = gateway.call("POST", "/actions", click)
            assert (answer.status, answer.reason) == (503, "no-store")
            assert "Read-only file system" in answer.document["error"]["message"]
        ready = gateway.call("GET", "/ready")
        assert (ready.status, "Read-only" in ready.document["error"]["message"]) == (503, True)
        assert gateway.call("GET", "/live").status == 200
        assert gateway.call("POST", "/rank", {"user_id": "u1", "candidates": ["a"]}).status == 200


def test_fields_that_nothing_reads_are_named_in_a_header_and_misspelt_ones_refused(gateway):
    asked = {"user_id": "u1", "candidates": ["a"], "page": 1, "größe\r\n": 2}
    answer = gateway.call("POST", "/rank", asked)
    assert (answer.status, answer.headers["Rankstream-Unread-Fields"]) == (200, "gr%C3%B6%C3%9Fe%0D%0A, page")
    assert "Rankstream-Unread-Fields" not in gateway.call("POST", "/rank", {"user_id": "u1", "limit": 1}).headers
    refused = gateway.call("POST", "/rank", {"user_id": "u1", "limit": 5, "topk": 1})
    assert (refused.status, refused.reason) == (400, "unknown-field")
    assert gateway.call("POST", "/actions", a_click(url="/")).headers["Rankstream-Unread-Fields"] == "url"


def test_who_never_reads_does_not_keep_a_stream(monkeypatch):
    """What is sent fills the client's window, then the gateway's own buffer; then nothing moves any more."""
    monkeypatch.setattr("rankstream.gateway.server.STALLED_S", 0.2)
    with RunningGateway() as gateway, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", gateway.port))
        connection.sendall(b"GET /feeds/u1 HTTP/1.1\r\nHost: x\r\n\r\n")
        board = gateway.gateway.board
        wait_until(lambda: board.num_followers == 1)
        large = json.dumps({"request_id": 1, "user_id": "u1", "padding": "x" * 1_000_000}).encode()

        def one_more() -> bool:
            gateway._loop.call_soon_threadsafe(board.arrived, large)
            return board.num_followers == 0

        wait_until(one_more)


def test_who_reads_slowly_is_waited_for_and_let_go_when_nothing_moves(monkeypatch):
    async def main(left: list[int]) -> int:
        hung_up = asyncio.Event()
        monkeypatch.setattr(JsonHandler, "_unsent_bytes", lambda self: left.pop(0))
        monkeypatch.setattr(JsonHandler, "_hang_up", lambda self: hung_up.set())
        handler = object.__new__(JsonHandler)
        handler._loop = asyncio.get_running_loop()
        handler._wait_for_reader()
        await asyncio.wait_for(hung_up.wait(), 20)
        return len(left)

    monkeypatch.setattr("rankstream.gateway.server.STALLED_S", 0.01)
    assert asyncio.run(main([300, 200, 200, 100, 100, 100, 7])) == 1


def test_one_connection_too_many_is_told_why_and_closed_and_probes_are_answered(monkeypatch):
    few = Descriptors(4 + SPARE)  # enough for three
    monkeypatch.setattr("rankstream.gateway.server.raised_limit", lambda: few)
    with RunningGateway() as gateway:
        idle = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(few.most)]
        wait_until(lambda: gateway.gateway.why_crowded() is None)
        answer = gateway.call("POST", "/rank", {"user_id": "u1", "limit": 1})
        assert (answer.status, answer.reason, answer.headers["Connection"]) == (503, "no-descriptors", "close")
        assert "raise them (`ulimit -n`, LimitNOFILE= of systemd)" in answer.document["error"]["message"]
        assert gateway.call("GET", "/live").status == 200
        idle += [socket.create_connection(("127.0.0.1", gateway.port), timeout=10) for _ in range(SPARE + 1)]
        assert is_closed(idle[-1])
        for one in idle:
            one.close()
        wait_until(lambda: is_answered(gateway))
