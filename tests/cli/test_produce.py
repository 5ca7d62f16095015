"""`rankstream produce`: rows of files become records with the right keys; others are counted by reason."""

import asyncio
import gzip
import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rankstream.events.arrivals import arrivals_of, concatenated, events_of
from rankstream.events.open import LogOptions, open_log
from rankstream.events.readers.times import time_ms
from rankstream.events.registry import read_log
from rankstream.events.skipped import Skipped
from rankstream.features.actions import Vocabulary
from rankstream.streams.clients.readers import TopicReader
from rankstream.streams.records import recorded_actions
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, IMPRESSIONS, REQUESTS, prepare_topics
from tests.builders.cli import connected, fresh_topics, rankstream, refusal
from tests.builders.patience import PATIENCE_S

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


def test_the_list_that_an_action_answers_and_its_collection_are_sent_where_the_log_has_them(settings, tmp_path):
    path = tmp_path / "actions.csv"
    rows = (f"7,1,click,{NOON_MS},r1,c9", f"8,2,click,{NOON_MS},,")
    path.write_text("\n".join(("user_id,item_id,action,timestamp_ms,list_id,collection_id", *rows, "")))
    assert "sent 2 records" in rankstream("produce", path, *connected(settings)).output
    first, second = (event for _, event in sent(settings))
    assert (first["list_id"], first["collection_id"]) == ("r1", "c9")
    assert not {"list_id", "collection_id"} & second.keys()


STRANGE = {
    "parts.csv": "# of a till\nyear;month;day;Time;customer;sku\n2023;11;14;22:13:20;u1;007\n",
    "zones.csv": "user,item,at\n u1 , 007 ,2023-11-14 23:13:20 CET\n u2 , , \n",
    "days.csv": "user,item,at\nu1,007,20231114221320\n",
    "row names.csv": "user,item,ts\n1,u1,007,1700000000.0\n",
    "deeper.jsonl": '{"at": {"$date": "2023-11-14T22:13:20Z"}, "who": {"id": "u1"}, "what": {"id": "007"}}\n',
}


@pytest.mark.parametrize("name", STRANGE)
def test_logs_that_lie_strangely_are_sent_as_they_are_read(name, settings, tmp_path):
    (tmp_path / name).write_text(STRANGE[name])
    paths = {"user_id": "who.id", "item_id": "what.id", "timestamp_ms": "at.$date"} if name == "deeper.jsonl" else {}
    paths |= {"timestamp_ms": "at"} if "user,item,at" in STRANGE[name] else {}
    maps = [flag for field, path in paths.items() for flag in ("--map", f"{field}={path}")]
    result = rankstream("produce", tmp_path / name, *maps, "--set", "action=buy", *connected(settings))
    assert "sent 1 records" in result.output
    assert sent(settings) == [(b"u1", {"user_id": "u1", "item_id": "007", "action": "buy", "timestamp_ms": NOON_MS})]


@pytest.mark.parametrize("deep", [128, 129])
def test_lines_of_standard_input_are_lifted_and_no_deeper_than_workers_read(deep, settings):
    inner = "[" * (deep - 1) + "]" * (deep - 1)
    line = f'{{"data": {{"user_id": "u1", "sku": 7}}, "action": "buy", "ts": {NOON_MS}, "more": {inner}}}\n'
    maps = ("--map", "user_id=data.user_id", "--map", "item_id=data.sku", "--map", "timestamp_ms=ts")
    result = rankstream("produce", "-", *maps, *connected(settings), text=line)
    assert len(sent(settings)) == (deep == 128)
    assert ("nested deeper than 128" in result.stderr) == (deep == 129)


def test_what_was_shown_is_sent_as_a_record_a_list_and_read_again_from_a_dump(settings, tmp_path):
    log, shown = tmp_path / "clicks.csv", tmp_path / "shown.csv"
    log.write_text(f"user_id,item_id,action,timestamp_ms,request_id\n7,b,click,{NOON_MS + 9},r1\n")
    rows = [f"7,a,{NOON_MS},r1,2,home", f"7,b,{NOON_MS},r1,1,home", f"8,c,{NOON_MS},,1,"]
    shown.write_text("\n".join(["user_id,item_id,timestamp_ms,request_id,position,surface", *rows, "7,,1,r1,3,"]))
    result = rankstream("produce", log, "--impressions", shown, *connected(settings))
    assert "sent 3 records (2 of them lists that were shown)" in result.output
    assert "skipped 1: schema: no item_id" in result.stderr
    (of_7, first), (of_8, second) = sent(settings, IMPRESSIONS)
    assert (of_7, of_8) == (b"7", b"8")
    assert first == {
        "list_id": "r1", "user_id": "7", "item_ids": ["b", "a"], "timestamp_ms": NOON_MS, "surface": "home",
    }  # fmt: skip
    assert (second["item_ids"], len(second["list_id"])) == (["c"], 24)
    assert [event["list_id"] for _, event in sent(settings)] == ["r1"]

    dumped = rankstream("topics", "dump", tmp_path, "--topic", "impressions", *connected(settings))
    assert "impressions.jsonl: 2 records" in dumped.output
    lists = read_log(open_log(log, LogOptions(impressions=tmp_path / "impressions.jsonl"))).impressions
    assert [lists.item_ids[one].tolist() for one in (slice(0, 2), slice(2, 3))] == [["b", "a"], ["c"]]


def test_rows_of_one_log_that_say_what_was_shown_are_sent_as_lists(settings, tmp_path):
    log = tmp_path / "both.csv"
    rows = [f"7,a,impression,{NOON_MS}", f"7,b,impression,{NOON_MS}", f"7,b,click,{NOON_MS + 9}"]
    log.write_text("\n".join(["user_id,item_id,action,timestamp_ms", *rows]))
    result = rankstream("produce", log, "--shown", "impression", *connected(settings))
    assert "sent 2 records" in result.output
    assert "note: 1 of 1 lists have no positions: their order means nothing" in result.stderr
    assert [event["action"] for _, event in sent(settings)] == ["click"]
    assert [sorted(event["item_ids"]) for _, event in sent(settings, IMPRESSIONS)] == [["a", "b"]]


def test_lists_without_a_topic_are_refused_before_anything_is_sent(bootstrap_servers, tmp_path):
    settings = Settings(bootstrap_servers=bootstrap_servers, topic_prefix=f"no-lists-{uuid4().hex[:8]}.")
    asyncio.run(prepare_topics(settings))
    log = tmp_path / "both.csv"
    log.write_text(f"user_id,item_id,action,timestamp_ms\n7,a,impression,{NOON_MS}\n7,a,click,{NOON_MS}\n")
    words = refusal(rankstream("produce", log, "--shown", "impression", *connected(settings)))
    assert f"{settings.topic_prefix}impressions" in words
    assert "rankstream topics create" in words
    assert sent(settings) == []


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


def read_back(settings):
    """What a worker decodes of the topic, each user's in order."""
    vocabulary = Vocabulary(("buy", "click", "save", "view"), ("home", "search"))
    with TopicReader(settings, ACTIONS, from_beginning=True) as reader:
        return arrivals_of(sorted(reader.read_all(), key=lambda one: (one.key, one.offset)), vocabulary, Skipped())


def csv_rows(count=40, at="{0:%Y-%m-%d %H:%M:%S}.{1:03d}"):
    """Rows of a shop's log: dates without a zone, prices, pages; of some the time is nonsense."""
    rows = []
    for n in range(count):
        at_ms = NOON_MS + n * 61_001
        when = at.format(datetime.fromtimestamp(at_ms // 1000, UTC), at_ms % 1000)
        rows.append(
            [f"c{n % 7}", f"0{n % 5}", ("view", "buy")[n % 2], when if n % 9 else "noon", ("home", "")[n % 2], n / 4]
        )
    return rows


def as_csv(path, heading, rows, delimiter=","):
    path.write_text("\n".join(delimiter.join(map(str, row)) for row in [heading, *rows]) + "\n")
    return path


HEADING = ["customer", "sku", "event", "date", "surface", "value"]


@pytest.mark.parametrize("kind", ["csv", "semicolons", "packed", "json", "folder", "nanoseconds"])
def test_what_is_sent_of_a_file_is_what_replay_and_training_read_of_it(kind, settings, tmp_path):
    rows = csv_rows()
    path = as_csv(tmp_path / "log.csv", HEADING, rows, ";" if kind == "semicolons" else ",")
    if kind == "packed":
        path = tmp_path / "packed.csv.gz"
        path.write_bytes(gzip.compress((tmp_path / "log.csv").read_bytes()))
    if kind == "json":
        path = tmp_path / "log.jsonl"
        path.write_text("".join(json.dumps(dict(zip(HEADING, row, strict=True))) + "\n" for row in rows))
    if kind == "folder":
        path = tmp_path / "days"
        for day in range(2):
            (path / f"dt=2023-11-1{day}").mkdir(parents=True)
            as_csv(path / f"dt=2023-11-1{day}" / "part.csv", HEADING, rows[day * 20 : day * 20 + 20])
    if kind == "nanoseconds":
        path = tmp_path / "log.parquet"
        good = [row for row in rows if row[3] != "noon"]
        columns = {name: [row[at] or None for row in good] for at, name in enumerate(HEADING)}
        columns["date"] = pa.array([int(parsed_ms(row[3])) * 1_000_000 + 7 for row in good], pa.timestamp("ns"))
        pq.write_table(pa.table(columns), path)
    log = open_log(path)
    wanted = concatenated(list(log.batches(log.vocabulary)))
    result = rankstream("produce", path, *connected(settings))
    assert f"sent {len(wanted)} records" in result.output, result.output
    assert len(wanted) == 35
    found = read_back(settings)
    assert sorted(
        zip(found.user_keys, found.packed, found.user_ids, found.item_ids, found.values, strict=True)
    ) == sorted(
        zip(
            wanted.user_keys,
            repacked(wanted, log.vocabulary),
            wanted.user_ids,
            wanted.item_ids,
            wanted.values,
            strict=True,
        )
    )


def parsed_ms(text):
    return time_ms(text, "ms")


def repacked(arrivals, vocabulary):
    """Actions by the codes of the vocabulary that ``read_back`` uses."""
    events = list(events_of(arrivals, vocabulary))
    return arrivals_of(
        recorded_actions(events), Vocabulary(("buy", "click", "save", "view"), ("home", "search")), Skipped()
    ).packed


def test_nothing_is_sent_of_a_file_that_is_mostly_nonsense(settings, tmp_path):
    """Most rows of its first batch are nonsense: it is refused before anything is sent."""
    path = as_csv(tmp_path / "log.csv", HEADING, [[*row[:3], "noon", *row[4:]] for row in csv_rows()] + csv_rows(9))
    assert "of the 49 rows" in refusal(rankstream("produce", path, *connected(settings)))
    assert sent(settings) == []
    assert "sent 8 records" in rankstream("produce", path, "--allow-skips", *connected(settings)).output


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "dup.csv",
            b"user_id,item_id,action,user_id,timestamp_ms\nu,i,view,v,1700000000000\n",
            "several columns of the name",
        ),
        ("latin1.csv", b"user_id,item_id,action,timestamp_ms\nJos\xe9,i,view,1700000000000\n", "is no UTF-8"),
        ("seconds.csv", b"user_id,item_id,action,timestamp_ms\nu,i,view,1700000000\n", "as ms, which its name claims"),
    ],
)
def test_files_that_are_refused_are_not_sent(name, content, words, settings, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert words in refusal(rankstream("produce", tmp_path / name, *connected(settings)))
    assert sent(settings) == []


def test_a_byte_order_mark_is_no_part_of_the_first_column(settings, tmp_path):
    (tmp_path / "bom.csv").write_bytes(b"\xef\xbb\xbfuser_id,item_id,action,timestamp_ms\nu,i,view,1700000000000\n")
    assert "sent 1 records" in rankstream("produce", tmp_path / "bom.csv", *connected(settings)).output


def test_a_stream_in_seconds_is_refused_at_its_first_line(settings):
    line = json.dumps({"user_id": 7, "item_id": 1, "action": "click", "timestamp_ms": NOON_MS // 1000})
    words = refusal(rankstream("produce", "-", *connected(settings), text=line + "\n"))
    assert "column timestamp_ms of standard input holds 1700000000: as ms" in words
    assert "sent 1 records" in rankstream("produce", "-", "--time-unit", "s", *connected(settings), text=line).output
    assert sent(settings)[0][1]["timestamp_ms"] == NOON_MS


def test_each_line_of_a_stream_is_sent_before_the_next_one_comes(settings):
    """As behind `tail -f`."""
    command = [sys.executable, "-m", "rankstream.cli.main", "produce", "-", *connected(settings)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as producer:
        assert producer.stdin is not None
        for n in range(2):
            line = {"user_id": 7, "item_id": n, "action": "click", "timestamp_ms": NOON_MS + n}
            producer.stdin.write(json.dumps(line).encode() + b"\n")
            producer.stdin.flush()
            deadline = time.monotonic() + PATIENCE_S
            while len(sent(settings)) <= n and time.monotonic() < deadline:
                time.sleep(0.1)
            assert len(sent(settings)) == n + 1
        producer.send_signal(signal.SIGINT)
        output, errors = producer.communicate(timeout=PATIENCE_S)
    assert b"sent 2 records" in output, errors
    assert producer.returncode == 130


def test_requests_have_times_by_the_same_rules(settings, tmp_path):
    path = tmp_path / "requests.csv"
    path.write_text(
        "request_id,user_id,limit,when\nr1,7,3,2023-11-14T22:13:20Z\nr2,7,3,noon\nr3,7,3,2100-01-01\nr4,8,2,\n"
    )
    result = rankstream("produce", path, "--requests", "--map", "timestamp_ms=when", *connected(settings))
    assert "sent 2 records" in result.output
    for words in ("row 2: when is 'noon'; wanted a date", "more than a day after now", "row 3: when is '2100-01-01'"):
        assert words in result.stderr
    assert [request.get("timestamp_ms") for _, request in sent(settings, REQUESTS)] == [NOON_MS, None]
