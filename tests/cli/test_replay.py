import json
from importlib.util import find_spec
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from rankstream.bundles.manifest import read_manifest, write_manifest
from rankstream.features.embeddings.table import publish
from tests.builders.bundle import AS_OF_MS, USER_SPACE, a_bundle, a_user_table, vectors_of
from tests.builders.cli import connected, fresh_topics, rankstream, refusal
from tests.builders.item_counts import a_following_bundle, publish_some

MINUTE, HOUR = 60_000, 3_600_000
ACTIONS = ("view", "view", "click", "save")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay")
    a_bundle(folder / "bundle")
    a_bundle(folder / "other", model_version="tiny-2", seed=5)
    a_user_table(folder / "users", ["u1", "u2"])
    rng = np.random.default_rng(0)
    rows = [
        {
            "user_id": f"u{user}",
            "item_id": int(rng.integers(1, 190)),
            "action": ACTIONS[int(rng.integers(4))],
            "timestamp_ms": AS_OF_MS + HOUR * (number // 5) + MINUTE * (number % 5) + user,
        }
        for number in range(40)
        for user in range(5)
    ]
    (folder / "log.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return folder


def replay(folder, *args):
    return rankstream("replay", "--events", folder / "log.jsonl", *args)


@pytest.mark.parametrize("protocol", ["logged", "slate", "catalogue", "sampled", "funnel"])
def test_each_protocol_ends_in_a_report(folder, protocol, tmp_path):
    done = replay(
        folder, "--bundle", folder / "bundle", "--user-vectors", folder / "users", "--protocol", protocol,
        "--out", tmp_path / "report",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["requests"] > 10
    assert report["log"]["events"] == 200
    assert set(report["metrics"]) == {"bundle", *(one["name"] for one in report["baselines"])}
    assert {"popularity", "item-kNN", "VMIS-kNN", "random order"} < set(report["metrics"])
    assert ("probabilities" in report and bool(report["probabilities"])) == (protocol == "logged")
    assert bool(report["funnel"]) == (protocol == "funnel") == ("finds alone" in done.output)


def test_two_bundles_and_three_delays_are_compared_in_one_pass(folder):
    done = replay(
        folder, "--bundle", folder / "bundle", "--bundle", folder / "other", "--staleness", "0s,2h,never",
        "--interleave", "--json",
    )  # fmt: skip
    report = document_of(done)
    delays = ("realtime", "2h behind", "no realtime actions")
    names = [f"{bundle}, {delay}" for bundle in ("bundle", "other") for delay in delays]
    assert [variant["name"] for variant in report["variants"]] == names
    assert [one["delay_ms"] for one in report["staleness"]["other"]] == [0, 2 * HOUR, None]
    mixed = report["interleaving"]
    assert mixed["wins"] + mixed["losses"] + mixed["ties"] == report["requests"]
    assert any("other, realtime" in verdict for verdict in report["verdicts"])


def test_one_bundle_is_compared_by_two_scorers_paired_by_request(folder):
    if find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    flags = "--requests", "20", "--scorer", "onnxruntime", "--scorer", "openvino-int8", "--json"
    report = document_of(replay(folder, "--bundle", folder / "bundle", *flags))
    assert {"bundle", "bundle, openvino-int8"} < set(report["metrics"])
    pairs = {(one["variant"], one["baseline"]) for one in report["differences"]}
    assert ("bundle", "bundle, openvino-int8") in pairs


def test_the_same_replay_returns_the_same_metrics(folder):
    reports = []
    for _ in range(2):
        report = document_of(replay(folder, "--bundle", folder / "bundle", "--json"))
        reports.append({key: value for key, value in report.items() if key not in ("time", "command", "made")})
    assert reports[0] == reports[1]


def test_where_nobody_comes_back_to_an_item_what_the_user_has_seen_is_no_candidate(folder, tmp_path):
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    once = {(row["user_id"], row["item_id"]): row for row in reversed(rows)}
    (tmp_path / "once.jsonl").write_text("\n".join(map(json.dumps, reversed(once.values()))))
    given = ("--events", tmp_path / "once.jsonl", "--bundle", folder / "bundle", "--protocol", "catalogue", "--json")
    found, asked = rankstream("replay", *given), rankstream("replay", *given, "--no-exclude-seen")
    assert "only items that the user has not seen are ranked" in found.stderr
    assert "not seen" not in asked.stderr
    ranked = [json.loads(done.stdout)["protocol"]["about"] for done in (found, asked, replay(folder, *given[2:]))]
    assert ["that the user has not seen" in about for about in ranked] == [True, False, False]


def test_a_log_that_lies_by_user_is_replayed_by_time_and_that_is_said(folder, tmp_path):
    rows = (folder / "log.jsonl").read_text().splitlines()
    (tmp_path / "by-user.jsonl").write_text("\n".join(sorted(rows)))
    given = ("--bundle", folder / "bundle", "--protocol", "catalogue", "--json")
    found = rankstream("replay", "--events", tmp_path / "by-user.jsonl", *given)
    assert "are in no order of time, and are taken by time; --no-sort says otherwise" in found.stderr
    assert json.loads(found.stdout)["metrics"] == json.loads(replay(folder, *given).stdout)["metrics"]
    as_it_lies = rankstream("replay", "--events", tmp_path / "by-user.jsonl", *given, "--no-sort")
    assert "add --sort" in as_it_lies.stdout
    assert json.loads(as_it_lies.stdout)["metrics"] != json.loads(found.stdout)["metrics"]


def test_a_model_that_has_seen_the_replayed_part_is_refused(folder):
    words = refusal(replay(folder, "--bundle", folder / "bundle", "--from", "2023-11-14T22:00"))
    assert "2023-11-14 22:00:00" in words
    assert "2023-11-14 22:13:20" in words


def test_an_allowed_leak_marks_every_output(folder, tmp_path):
    done = replay(
        folder, "--bundle", folder / "bundle", "--from", "2023-11-14T22:00", "--allow-leak", "--out", tmp_path
    )
    assert done.exit_code == 0, done.output
    assert "seen" in done.output or "leak" in done.output
    assert json.loads((tmp_path / "report.json").read_text())["marks"]


def test_vectors_of_the_future_are_refused(folder, tmp_path):
    publish(tmp_path / "late", ["u1"], vectors_of(1, 8, 3), space=USER_SPACE, as_of_ms=AS_OF_MS + 10 * HOUR)
    words = refusal(replay(folder, "--bundle", folder / "bundle", "--user-vectors", tmp_path / "late"))
    assert "2023-11-15 08:13:20" in words


@pytest.fixture(scope="module")
def following(tmp_path_factory):
    """A bundle that ranks by what follows, and a log in which that changes; the midnight after lies between."""
    folder = tmp_path_factory.mktemp("following")
    trained = [row for user in range(10) for row in after_item_1(2, AS_OF_MS - HOUR + user * MINUTE, user)]
    later = [row for day in (0, 1) for user in range(16)
             for row in after_item_1(40, AS_OF_MS + day * 3 * HOUR + user * MINUTE, f"{day}{user}")]  # fmt: skip
    a_following_bundle(folder / "bundle", trained)
    a_log(folder, "log.csv", [*trained, *later])
    return folder


def after_item_1(item, at_ms, user):
    return [(f"u{user}", 1, "view", at_ms), (f"u{user}", item, "save", at_ms + 30_000)]


def replay_following(folder, out, *flags):
    flags = ("--bundle", folder / "bundle", "--protocol", "catalogue", "--k", "1", "--out", out, *flags)
    return rankstream("replay", "--events", folder / "log.csv", *flags)


def test_by_default_item_counts_are_made_anew_at_midnight_and_that_is_said(following, tmp_path):
    reports = {}
    for refresh in ((), ("--refresh", "never"), ("--refresh", "1")):
        done = replay_following(following, tmp_path, *refresh)
        report = report_of(done, tmp_path)
        (about,) = report["item_counts"].values()
        assert f"item counts of {following / 'bundle'}: {about}" in " ".join(done.output.split())
        reports[refresh] = (report["metrics"]["bundle"]["any positive"]["hit@1"]["value"], about)
    assert reports[()] == (0.5, "counted anew every 1d from what the log held before, 1 time")
    assert reports["--refresh", "never"] == (0, "the bundle's own, as of 2023-11-14 22:13:20 UTC")
    assert reports["--refresh", "1"] == (0.5, "counted anew every 1h from what the log held before, 1 time")
    assert "item counts" in (tmp_path / "report.html").read_text()


def test_published_item_counts_are_those_of_the_time_and_of_the_future_are_refused(folder, tmp_path):
    publish_some(tmp_path / "counts", seed=3)
    publish_some(tmp_path / "counts", seed=4, as_of_ms=AS_OF_MS + 9 * HOUR)
    flags = ("--bundle", folder / "bundle", "--item-counts", tmp_path / "counts", "--protocol", "catalogue")
    report = document_of(replay(folder, *flags, "--json"))
    assert report["item_counts"] == {str(folder / "bundle"): f"the 2 published versions in {tmp_path / 'counts'}"}
    publish_some(tmp_path / "late", seed=4, as_of_ms=AS_OF_MS + 9 * HOUR)
    late = (*flags[:3], tmp_path / "late", *flags[4:])
    assert "the counts of the items in" in refusal(replay(folder, *late))
    publish_some(tmp_path / "other", seed=4, space="another")
    other = (*flags[:3], tmp_path / "other", *flags[4:])
    assert "'another'" in refusal(replay(folder, *other))


def test_without_a_bundle_the_states_alone_are_kept(folder):
    done = replay(folder)
    assert done.exit_code == 0, done.output
    assert "200 events" in done.output


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--positive", "buy"], "no action of the bundle"),
        (["--staleness", "soon"], "is no delay"),
        (["--k", "0"], "no list of ranks"),
        (["--from", "yesterday"], "is no time"),
        (["--refresh", "soon"], "is no delay"),
        (["--refresh", "24h"], "does not say how its item counts were made"),
        (["--item-counts", "a", "--refresh", "24h"], "give one of them"),
        (["--user-vectors", "a", "--user-vectors", "b", "--user-vectors", "c"], "3 --user-vectors"),
        (["--from", "2030-01-01"], "nothing to rank"),
    ],
)
def test_what_cant_be_replayed_is_refused_in_one_sentence(folder, flags, words):
    assert words in refusal(replay(folder, "--bundle", folder / "bundle", *flags))


def test_outcomes_hold_what_every_ranker_made_of_every_request(folder, tmp_path):
    outcomes = tmp_path / "outcomes.parquet"
    flags = ("--bundle", folder / "bundle", "--protocol", "catalogue", "--json")
    report = document_of(replay(folder, *flags, "--outcomes", outcomes))
    rows = pq.read_table(outcomes).to_pylist()
    assert {row["variant"] for row in rows} == set(report["metrics"])
    assert len(rows) == report["requests"] * len(report["metrics"])
    assert {row["kind"] for row in rows if row["variant"] == "item-kNN"} == {"baseline"}
    for name, found in report["metrics"].items():
        mine = [row for row in rows if row["variant"] == name]
        hits = [row["hit@10"] for row in mine]
        assert np.mean(hits) == pytest.approx(found["any positive"]["hit@10"]["value"])
        if name != "random order":
            assert hits == [min([rank or 99 for rank in row["ranks"]], default=99) <= 10 for row in mine]
    assert rows[0]["as_of"].tzname() == "UTC"
    assert all(len(row["targets"]) == row["relevant"] >= 1 for row in rows)


def test_the_documented_example_reads_the_outcomes(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ("--bundle", folder / "bundle", "--protocol", "catalogue", "--requests", 30)
    assert replay(folder, *flags, "--outcomes", "outcomes.parquet").exit_code == 0
    docs = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
    example = next(part.split("```")[0] for part in docs.split("```python\n")[1:] if "outcomes.parquet" in part)
    exec(example, {})
    ahead, _, p = capsys.readouterr().out.removeprefix("ahead by").split()
    assert -1 <= float(ahead) <= 1
    assert 0 < float(p) <= 1


def test_own_scores_are_joined_with_the_outcomes_of_a_first_replay(folder, tmp_path):
    flags = ("--bundle", folder / "bundle", "--protocol", "catalogue", "--requests", 30)
    assert replay(folder, *flags, "--outcomes", tmp_path / "first.parquet").exit_code == 0
    asked = {row["query"]: row for row in pq.read_table(tmp_path / "first.parquet").to_pylist()}
    rows = [f"{query},{row['targets'][0]},1.0" for query, row in asked.items()]
    (tmp_path / "oracle.csv").write_text("\n".join(["query,item_id,score", *rows]))
    done = replay(
        folder, *flags, "--scores", tmp_path / "oracle.csv", "--outcomes", tmp_path / "both.parquet",
        "--out", tmp_path,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    both = pq.read_table(tmp_path / "both.parquet").to_pylist()
    found = [row for row in both if row["target_known"] and row["variant"] == "oracle.csv"]
    assert {row["kind"] for row in found} == {"scores"}
    assert {tuple(row["ranks"]) for row in found} == {(1,)}
    assert {row["query"] for row in both} == set(asked)
    report = json.loads((tmp_path / "report.json").read_text())
    assert any("oracle.csv beats" in sentence for sentence in done.output.replace("\n", " ").split(". "))
    assert any("whether it has seen the future is not checked" in mark for mark in report["marks"])
    assert any("rank last" in mark for mark in report["marks"])


def test_a_function_of_ones_own_ranks_beside_the_bundle(folder, tmp_path, monkeypatch):
    (tmp_path / "newest_first.py").write_text(
        "def scores(user, candidates):\n"
        "    newest = {str(one.item_id): one.occurred_at_ms for one in reversed(user.actions)}\n"
        "    return [newest.get(str(candidate)) for candidate in candidates]\n"
    )
    monkeypatch.chdir(tmp_path)
    done = replay(
        folder, "--bundle", folder / "bundle", "--protocol", "catalogue", "--scores", "newest_first:scores",
        "--json",
    )  # fmt: skip
    report = document_of(done)
    assert report["metrics"]["newest_first:scores"]["any positive"]["hit@10"]["requests"] == report["requests"]


def test_two_rankers_of_one_name_are_refused(folder, tmp_path):
    (tmp_path / "a.csv").write_text("query,item_id,score\nx,1,1\n")
    flags = ("--bundle", folder / "bundle", "--scores", tmp_path / "a.csv", "--scores", tmp_path / "a.csv")
    assert "two rankers are named a.csv" in refusal(replay(folder, *flags))


@pytest.mark.broker
def test_a_topic_is_replayed_like_the_file_that_was_sent_to_it(folder, bootstrap_servers):
    settings = fresh_topics(bootstrap_servers, partitions=3)
    assert rankstream("produce", folder / "log.jsonl", *connected(settings)).exit_code == 0
    flags = ("--bundle", folder / "bundle", "--protocol", "catalogue", "--json")
    reports = [document_of(replay(folder, *flags)), document_of(rankstream("replay", *connected(settings), *flags))]
    assert reports[1]["log"]["events"] == 200
    assert reports[1]["requests"] == reports[0]["requests"]
    of_ranker = [report["metrics"]["bundle"]["any positive"]["mrr"]["value"] for report in reports]
    assert of_ranker[1] == pytest.approx(of_ranker[0])


def a_log(folder, name, rows):
    """Write rows of (user, item, action, time) as CSV and return the path."""
    lines = ["user_id,item_id,action,timestamp_ms", *(",".join(map(str, row)) for row in rows)]
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def report_of(done, out):
    assert done.exit_code == 0, done.output
    return json.loads((out / "report.json").read_text())


def document_of(done):
    """What ``report.json`` would hold, of a replay with ``--json``: it draws no plots, which take most of the time."""
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_items_that_the_bundle_does_not_know_are_found_by_nobody(folder, tmp_path):
    """As a shop's new articles are: the same few are wanted again and again, and popularity would know them."""
    rows = [
        (f"u{number % 7}", f"new-{number % 20}", ("view", "click", "save")[number % 3], AS_OF_MS + number * MINUTE)
        for number in range(240)
    ]
    flags = ("--bundle", folder / "bundle", "--protocol", "catalogue", "--out", tmp_path)
    done = rankstream("replay", "--events", a_log(tmp_path, "cold.csv", rows), *flags)
    report = report_of(done, tmp_path)
    assert report["targets_unknown"] == report["requests"] == 160
    for name in ("bundle", "popularity", "random order"):
        assert report["metrics"][name]["any positive"]["hit@10"]["value"] == 0
    assert all(0 <= one["coverage"] <= 1 for one in report["variety"].values())
    assert "not in the catalogue" in " ".join(done.output.split())


def test_a_log_of_acts_is_ranked_against_the_catalogue_and_that_is_said(folder, tmp_path):
    rows = [(f"u{number % 7}", 1 + number % 50, "save", AS_OF_MS + number * MINUTE) for number in range(200)]
    log = a_log(tmp_path, "acts.csv", rows)
    done = rankstream("replay", "--events", log, "--bundle", folder / "bundle", "--json")
    protocol = document_of(done)["protocol"]
    assert protocol["name"] == "catalogue"
    assert protocol["chosen_because"] in done.stderr
    assert "were acted on positively, so it holds no impressions" in done.stderr
    by_hand = ("--events", log, "--bundle", folder / "bundle", "--protocol", "logged")
    report = document_of(rankstream("replay", *by_hand, "--json"))
    assert report["protocol"]["chosen_because"] is None
    assert any("which is no ranking of what was shown" in mark for mark in report["marks"])


def test_a_log_of_impressions_is_ranked_as_shown_and_that_is_said(folder):
    done = replay(folder, "--bundle", folder / "bundle", "--json")
    report = document_of(done)
    assert report["protocol"]["name"] == "logged"
    assert "protocol logged: it holds impressions, by the name of view" in done.stderr
    assert not report["marks"] or not any("no ranking of what was shown" in mark for mark in report["marks"])


def test_it_is_said_how_much_of_the_log_is_ranked_and_why_no_more(folder):
    flags = ("--bundle", folder / "bundle", "--protocol", "catalogue", "--json")
    report = document_of(replay(folder, *flags, "--requests", "5000"))
    assert any("5,000 requests were asked for, but the replayed part holds no more" in mark for mark in report["marks"])
    assert report["protocol"]["requests_found"] == report["requests"]
    done = replay(folder, *flags, "--requests", "20", "--from", "2023-11-15T01:13:20")
    report = document_of(done)
    assert report["requests"] == report["protocol"]["requests_asked_for"] == 20 < report["protocol"]["requests_found"]
    assert report["log"]["events_in_period"] < report["log"]["events"] == 200
    assert "2023-11-15 01:13:20 UTC on, 125 of 200 rows (62.5 %)" in done.stderr
    assert not report["marks"]


def test_a_sample_says_that_it_compares_rankers_on_itself_only(folder):
    sampled = ("--protocol", "sampled", "--sample", "20")
    report = document_of(replay(folder, "--bundle", folder / "bundle", *sampled, "--json"))
    assert any("compare rankers on this sample and nothing else" in mark for mark in report["marks"])
    assert report["candidates_median"] == 21


@pytest.mark.parametrize("protocol", ["logged", "slate", "catalogue", "sampled"])
def test_a_row_of_another_century_changes_nothing(folder, protocol, tmp_path):
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    rows = [(row["user_id"], row["item_id"], row["action"], row["timestamp_ms"]) for row in rows]
    wrong = ("u1", 7, "save", 4_102_444_800_000)
    reports = []
    for name, written in (("right.csv", rows), ("wrong.csv", [*rows[:50], wrong, *rows[50:]])):
        log = a_log(tmp_path, name, written)
        flags = ("--bundle", folder / "bundle", "--protocol", protocol, "--json")
        report = document_of(rankstream("replay", "--events", log, *flags))
        reports.append({key: report[key] for key in ("metrics", "requests", "variety", "over_time")})
    assert reports[0] == reports[1]


@pytest.mark.parametrize(("until_ms", "words"), [(AS_OF_MS // 1000, "1970-01-20"), (4_102_444_800_000, "2100-01-01")])
def test_a_bundle_that_was_trained_on_wrong_times_is_refused(folder, until_ms, words, tmp_path):
    bundle = a_bundle(tmp_path / "bundle")
    write_manifest(bundle, msgspec.structs.replace(read_manifest(bundle), trained_until_ms=until_ms))
    refused = refusal(replay(folder, "--bundle", bundle, "--protocol", "catalogue"))
    assert words in refused
    assert "it is not known what it has seen; train again" in refused


def test_a_log_that_the_bundle_was_trained_to_the_end_of_leaves_nothing_to_rank(folder, tmp_path):
    rows = [("u1", 1 + number, "save", AS_OF_MS - 100_000 + number) for number in range(50)]
    refused = refusal(
        rankstream("replay", "--events", a_log(tmp_path, "trained.csv", rows), "--bundle", folder / "bundle")
    )
    assert "0 of 50 rows" in refused
    assert "train --until` an earlier time" in refused
