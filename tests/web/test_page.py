"""What the live page asks for, by HTTP: a real bundle, the pipeline in the process, no browser."""

import time

import pytest

from rankstream.web.page import ROW
from tests.builders.gateway import RunningGateway
from tests.builders.live_page import HOSTILE, APageVisitor, a_live_page, order

TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with a_live_page(tmp_path_factory.mktemp("catalogue"), {3: HOSTILE}) as page:
        yield page


@pytest.fixture
def visitor(running, request):
    return APageVisitor(running, request.node.name)


def test_the_row_changes_with_a_click_and_the_frozen_one_does_not(visitor):
    at_ms = int(time.time() * 1000) + 1000
    before, frozen = visitor.feed(timestamp_ms=at_ms), visitor.compare(timestamp_ms=at_ms)["frozen"]
    assert order(before) == order(frozen)
    for item in (1, 5, 9):
        visitor.act(item)
    after = visitor.feed(timestamp_ms=at_ms)
    assert (after["actions_used"], 1 in order(after)) == (3, False)
    assert order(after) != order(before)
    assert visitor.compare(timestamp_ms=at_ms)["frozen"]["items"] == frozen["items"]


def test_a_feed_knows_how_old_the_newest_action_is(visitor):
    visitor.act(1, ago_ms=5000)
    asked_ms = visitor.actions[-1]["timestamp_ms"] + 5040
    feed = visitor.feed(timestamp_ms=asked_ms)
    assert feed["newest_action_age_ms"] == 5040
    assert set(feed["timings_ms"]) == {"retrieve", "join", "score", "blend", "total"}
    assert {item["source"] for item in feed["items"]} <= {"recent-likes", "popular", "new"}


def test_the_stale_feed_is_that_of_the_actions_old_enough(visitor):
    visitor.act(1, ago_ms=60_000)
    visitor.act(2, ago_ms=1000)
    older = APageVisitor(visitor.running, visitor.user_id + "-older", visitor.actions[:1])
    at_ms = visitor.actions[-1]["timestamp_ms"] + 1000
    compared = visitor.compare(30_000, timestamp_ms=at_ms)
    assert compared["stale_actions"] == 1
    assert order(compared["stale"]) == order(older.feed(timestamp_ms=at_ms))


def test_with_nothing_too_new_the_stale_feed_is_the_live_one(visitor):
    for item in (1, 2, 4):
        visitor.act(item, ago_ms=50)
    asked = {"timestamp_ms": visitor.actions[-1]["timestamp_ms"] + 10, "request_id": "same"}
    live, stale = visitor.feed(**asked), visitor.compare(0, **asked)["stale"]
    assert stale["items"] == live["items"]
    assert stale["newest_action_age_ms"] == live["newest_action_age_ms"] == 10


def test_an_action_that_is_undone_has_never_been(visitor):
    visitor.act(1)
    asked = {"timestamp_ms": visitor.actions[-1]["timestamp_ms"] + 10}
    before = visitor.feed(**asked)
    visitor.act(2, action="hide")
    assert order(visitor.feed(**asked)) != order(before)
    undone = visitor.undone(visitor.user_id + "-undone")
    assert undone.feed(**asked)["items"] == before["items"]


def test_a_click_that_is_sent_again_counts_once(visitor):
    visitor.act(1)
    visitor._send(visitor.actions)
    assert visitor.feed()["actions_used"] == 1


def test_why_names_the_clicks_and_what_they_did(visitor):
    visitor.act(1)
    visitor.act(2, action="hide")
    feed = visitor.feed()
    reasons = visitor.why(order(feed)[2])
    assert (reasons["rank"], reasons["source"]) == (3, feed["items"][2]["source"])
    actions = {(one["item_id"], one["action"]) for one in reasons["causes"] if one["of"] == "action"}
    assert actions == {(1, "save"), (2, "hide")}
    assert reasons["causes"][0]["of"] == "all actions"
    assert any(one["score"] for one in reasons["causes"])
    parts = [term["probability"] * term["weight"] for term in reasons["terms"]]
    assert sum(parts) == pytest.approx(reasons["score"], abs=1e-5)


def test_the_page_is_told_the_bundles_own_actions(running):
    start = running.call("GET", "/page/start").document
    effects = {one["name"]: one["effect"] for one in start["actions"]}
    assert effects == {"view": "", "click": "positive", "save": "positive", "hide": "negative"}
    assert abs(start["now_ms"] - time.time() * 1000) < 60_000
    assert (start["through"], start["row"]) == ("process", 20)


def test_cards_hold_titles_as_they_are_and_ids_where_there_is_none(running):
    odd, unknown = running.call("POST", "/page/cards", {"ids": [3, "nothing"]}).document
    assert odd == {"item_id": 3, "title": HOSTILE, "category": ["Odd"], "picture": None}
    assert unknown == {"item_id": "nothing", "title": None, "category": [], "picture": None}


WRONG = {
    "no user": ({"user_id": ""}, "schema"),
    "seconds": ({"timestamp_ms": 1_700_000_000}, "timestamp"),
    "the future": ({"timestamp_ms": 4_000_000_000_000}, "timestamp"),
    "no such action": ({"actions": [{"item_id": 1, "action": "dance", "timestamp_ms": 1_700_000_000_000}]},
                       "unknown-action"),
    "too many": ({"actions": 1001 * [{"item_id": 1, "action": "save", "timestamp_ms": 1_700_000_000_000}]},
                 "schema"),
    "negative": ({"older_than_ms": -1}, "schema"),
    "no row": ({"top_k": 0}, "schema"),
}  # fmt: skip


@pytest.mark.parametrize(("changed", "reason"), WRONG.values(), ids=WRONG)
def test_what_can_not_be_compared_is_400_with_one_sentence(visitor, changed, reason):
    answer = visitor.running.call("POST", "/page/compare", visitor.question(older_than_ms=0) | changed)
    assert (answer.status, answer.reason) == (400, reason)
    assert "\n" not in answer.document["error"]["message"]


def test_why_of_an_item_that_is_not_there_says_so(visitor):
    answer = visitor.running.call("POST", "/page/why", visitor.question(item_id="<b>"))
    assert (answer.status, answer.reason) == (400, "not-in-feed")
    assert visitor.running.call("POST", "/page/why", "[]").status == 400
    assert visitor.running.call("POST", "/page/cards", {"ids": 201 * ["a"]}).status == 400


def test_the_pages_files_are_all_that_is_served_and_run_nothing_of_others(running):
    connection = running.connection()
    for path, kind in (("/", "text/html"), ("/page/page.js", "text/javascript"), ("/page/page.css", "text/css")):
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        assert (answer.status, answer.headers.get_content_type()) == (200, kind)
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
        assert "unsafe" not in policy
    connection.close()
    assert "://" not in text.replace("http://www.w3.org/2000/svg", "")
    for path in ("/page/../page.py", "/page/%2e%2e%2fpage.py", "/page/page.py"):
        assert running.call("GET", path).reason == "path"


def test_the_page_has_a_place_for_each_item_before_any_is_there(running):
    index = running.raw(b"GET / HTTP/1.0\r\n\r\n").decode()
    assert (index.count('class="card empty"'), index.count("<li>&nbsp;</li>")) == (ROW, 2 * ROW)


def test_without_the_token_there_is_a_page_and_nothing_in_it(tmp_path):
    with a_live_page(tmp_path, token=TOKEN) as running:
        assert b"<h1>" in running.raw(b"GET / HTTP/1.0\r\n\r\n")
        assert running.call("GET", "/page/start").status == 401
        assert running.call("POST", "/page/compare", {}).status == 401
        assert running.call("GET", "/page/start", Authorization=f"Bearer {TOKEN}").status == 200


def test_a_flood_of_clicks_is_refused_in_part_and_nothing_of_it_is_lost_or_doubled(tmp_path):
    with a_live_page(tmp_path, rate_limit=20) as running:
        connection = running.connection()
        taken = [number for number in range(1000) if post(connection, number) == 200]
        assert 20 <= len(taken) < 1000
        time.sleep(0.2)  # in which four more may come
        feed = running.call("POST", "/rank", {"user_id": "flood", "limit": 24}).document
        assert feed["actions_used"] == 20  # all that this encoder reads
        state = running.gateway.road.pipeline.users.get(b"flood")
        assert state.total == len(taken)


def post(connection, number):
    at_ms = 1_700_000_000_000 + number
    body = f'{{"user_id": "flood", "item_id": {1 + number % 24}, "action": "view", "timestamp_ms": {at_ms}}}'
    connection.request("POST", "/actions", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def test_where_too_many_ask_why_others_are_refused_and_feeds_go_on(visitor, monkeypatch):
    monkeypatch.setattr(visitor.running.gateway._explaining, "max_waiting", 0)
    answer = visitor.running.call("POST", "/page/why", visitor.question(item_id=1))
    assert (answer.status, answer.reason, answer.headers["Retry-After"]) == (429, "too-many", "1")
    assert visitor.feed()["actions_used"] == 0


def test_a_gateway_has_no_page(tmp_path):
    with RunningGateway() as running:
        assert running.call("GET", "/").status == 404
