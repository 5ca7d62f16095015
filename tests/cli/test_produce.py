"""`rankstream produce`: rows of files become records with the right keys; others are counted by reason."""

import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rankstream.streams.clients.readers import TopicReader
from rankstream.streams.topics import ACTIONS, REQUESTS
from tests.builders.cli import connected, fresh_topics, rankstream, refusal

pytestmark = pytest.mark.broker
NOON_MS = 1_700_000_000_000
NOON = datetime.fromtimestamp(NOON_MS / 1000, UTC)


@pytest.fixture
def settings(bootstrap_servers):
    return fresh_topics(bootstrap_servers)


def sent(settings, topic=ACTIONS):
    """What lies in the topic, by key."""
    with TopicReader(settings, topic, from_beginning=True) as reader:
        records = sorted(reader.read_all(), key=lambda record: (record.key, record.offset))
    return [(record.key, json.loads(record.value)) for record in records]


def test_csv_with_other_names_and_seconds(settings, tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_text(f"uid,item,when,note\n7,i9,{NOON_MS // 1000},x\n8,42,{NOON_MS // 1000}.5,\n")
    maps = ["--map", "user_id=uid", "--map", "item_id=item", "--map", "timestamp_ms=when"]
    result = rankstream("produce", path, *maps, "--set", "action=save", "--time-unit", "s", *connected(settings))
    assert "sent 2 records" in result.output
    assert sent(settings) == [
        (b"7", {"user_id": "7", "item_id": "i9", "action": "save", "timestamp_ms": NOON_MS}),
        (b"8", {"user_id": "8", "item_id": "42", "action": "save", "timestamp_ms": NOON_MS + 500}),
    ]


def test_parquet_with_times_and_missing_values(settings, tmp_path):
    path = tmp_path / "actions.parquet"
    columns = {"user_id": [7, 8], "item_id": ["a", "b"], "action": ["click"] * 2, "timestamp_ms": [NOON] * 2}
    pq.write_table(pa.table(columns | {"surface": ["home", None], "value": [2.5, float("nan")]}), path)
    assert "sent 2 records" in rankstream("produce", path, *connected(settings)).output
    assert [event for _, event in sent(settings)] == [
        {"user_id": 7, "item_id": "a", "action": "click", "timestamp_ms": NOON_MS, "surface": "home", "value": 2.5},
        {"user_id": 8, "item_id": "b", "action": "click", "timestamp_ms": NOON_MS},
    ]


def test_rows_that_workers_would_reject_are_skipped_and_counted(settings):
    good = {"user_id": 7, "item_id": 1, "action": "click", "timestamp_ms": NOON_MS}
    bad = [
        {"item_id": ""},
        {"timestamp_ms": 1_700_000_000},
        {"timestamp_ms": 4 * 10**12},
        {"action": ""},
        {"value": -1},
    ]
    lines = [json.dumps(good | wrong) for wrong in bad] + ["{", "[]", json.dumps(good)]
    result = rankstream("produce", "-", *connected(settings), text="\n".join(lines))
    assert "sent 1 records" in result.output
    assert "skipped 7" in result.output
    kinds = (
        "no item_id",
        "before 1973",
        "more than a day after now",
        "no action",
        "value is wrong",
        "not-json",
        "no JSON",
    )
    for kind in kinds:
        assert any("skipped 1: " in line and kind in line for line in result.stderr.splitlines()), kind
    assert "(standard input, row 5: value is -1: Expected `float` >= 0.0)" in result.stderr
    assert [event for _, event in sent(settings)] == [good]


def test_nothing_to_send_is_an_error(settings):
    result = rankstream("produce", "-", *connected(settings), text="")
    assert refusal(result) == "nothing of - was sent: it holds no rows"


def test_requests_from_json_lines(settings):
    request = {"request_id": "r1", "user_id": 7, "candidates": [1, "b"], "top_k": 1}
    lines = json.dumps(request) + "\n" + json.dumps({"request_id": "r2", "user_id": 7})
    result = rankstream("produce", "-", "--requests", *connected(settings), text=lines)
    assert "row 2: a request has either candidates or limit" in result.stderr
    assert sent(settings, REQUESTS) == [(b"7", request)]


def test_limit_and_rate_hold(settings, tmp_path):
    path = tmp_path / "actions.tsv"
    rows = [f"{user}\t1\tclick\t{NOON_MS}" for user in range(50)]
    path.write_text("\n".join(["user_id\titem_id\taction\ttimestamp_ms", *rows]))
    begun = datetime.now(UTC)
    rankstream("produce", path, "--limit", 10, "--rate", 20, *connected(settings))
    assert (datetime.now(UTC) - begun).total_seconds() >= 0.5
    assert len(sent(settings)) == 10


def test_topics_that_are_not_there_are_named(bootstrap_servers):
    result = rankstream("produce", "-", "--bootstrap-servers", bootstrap_servers, "--topic-prefix", "none.", text="{}")
    assert "has no topic none.user-actions, none.ranking-requests; create it" in refusal(result)
