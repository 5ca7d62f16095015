"""`train`, `evaluate` and `replay` of a log that says what was shown."""

import json

import numpy as np
import pytest

from rankstream.features.ids import id_key
from rankstream.models.recipes.run_folder import load_models
from tests.builders.cli import rankstream, refusal

BEGIN_MS = 1_700_006_400_000  # midnight, 15 November 2023
DAY_MS, MINUTE_MS = 86_400_000, 60_000
SMALL = ("--user-steps", 2, "--session-steps", 2, "--ranker-steps", 2, "--evaluate-every", 2, "--item-dim", 8,
         "--user-dim", 8)  # fmt: skip
NEVER_TAKEN = "i99"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Lists of four, one of them clicked, three a day of 12 users; one item is in every list and never clicked."""
    folder, rng = tmp_path_factory.mktemp("shown"), np.random.default_rng(0)
    seen, done = [], []
    for day in range(5):
        for user in range(12):
            for hour in range(3):
                at_ms = BEGIN_MS + day * DAY_MS + hour * 60 * MINUTE_MS + user
                items = [f"i{item}" for item in rng.choice(20, 3, replace=False)] + [NEVER_TAKEN]
                seen += [f"u{user},{item},impression,{at_ms},r{len(done)},{at}" for at, item in enumerate(items)]
                done.append(f"u{user},{items[rng.integers(3)]},click,{at_ms + MINUTE_MS},,")
    seen += [f"stranger,{item},impression,{BEGIN_MS + 4 * DAY_MS + 5},s,{at}" for at, item in enumerate(("i1", "i2"))]
    heading = "user_id,item_id,action,timestamp_ms,request_id,position"
    rows = sorted(seen + done, key=lambda row: int(row.split(",")[3]))
    (folder / "both.csv").write_text("\n".join([heading, *rows]) + "\n")
    (folder / "done.csv").write_text("\n".join([heading, *done]) + "\n")
    trained = rankstream("train", folder / "both.csv", "--shown", "impression", "--out", folder / "run",
                         "--positive", "click", "--until", "2023-11-19", *SMALL)  # fmt: skip
    assert trained.exit_code == 0, trained.output
    (folder / "said").write_text(trained.stderr)
    return folder


def test_training_says_what_was_shown_and_learns_vectors_of_what_was_done_alone(folder):
    assert (
        "note: 181 lists of 4 items (median), 181 of them of several, were shown; 180 were acted on, 180 of 722 "
        "impressions"
    ) in (folder / "said").read_text()
    models = load_models(folder / "run" / "work")
    assert models.about.vocabulary.actions == ("click",)
    assert models.about.impressions
    assert models.about.actions == 4 * 12 * 3
    assert id_key(NEVER_TAKEN) not in {id_key(item) for item in models.item_table.ids.tolist()}


def test_evaluation_ranks_the_lists_and_says_so_where_none_are_given(folder):
    done = rankstream("evaluate", folder / "both.csv", "--shown", "impression", "--from", folder / "run", "--json")
    assert done.exit_code == 0, done.output
    of_ranker = [one for one in json.loads(done.stdout)["metrics"] if one["model"] == "ranker"]
    assert {one["queries"] for one in of_ranker} == {36}
    words = refusal(rankstream("evaluate", folder / "done.csv", "--from", folder / "run"))
    assert "was trained on what was shown, and" in words
    assert "give it with --shown ACTION or --impressions FILE" in words


def test_replay_ranks_each_list_of_the_held_out_days(folder):
    flags = ("--bundle", folder / "run" / "bundle", "--json")
    done = rankstream("replay", "--events", folder / "both.csv", "--shown", "impression", *flags)
    assert done.exit_code == 0, done.output
    assert "protocol logged: the log says what was shown, in 181 lists" in done.stderr
    report = json.loads(done.stdout)
    assert (report["requests"], report["log"]["events"]) == (37, 180)
    assert report["metrics"]["random order"]["any positive"]["hit@3"]["value"] == pytest.approx(0.75)


def test_replay_of_lists_as_sessions_is_refused(folder):
    words = refusal(rankstream("replay", "--events", folder / "both.csv", "--shown", "impression", "--protocol",
                               "slate", "--bundle", folder / "run" / "bundle"))  # fmt: skip
    assert "--protocol slate is of logs in which what was shown and what was done come as one row" in words


def test_lists_of_other_ids_than_the_log_has_are_refused(folder, tmp_path):
    other = tmp_path / "shown.csv"
    other.write_text(f"user_id,item_id,timestamp_ms\nu1,product-1,{BEGIN_MS}\nu1,product-2,{BEGIN_MS}\n")
    words = refusal(rankstream("train", folder / "done.csv", "--impressions", other, "--out", tmp_path / "run",
                               "--positive", "click"))  # fmt: skip
    assert "no action is on an item that one of 1 lists showed to its user in the 30 minutes before" in words
    assert "the lists user u1 and item product-1; are these the same ids and the same clock?" in words


def test_rows_that_seem_to_say_what_was_shown_are_named_where_they_are_read_as_actions(folder, tmp_path):
    done = rankstream(
        "train", folder / "both.csv", "--out", tmp_path / "run", "--positive", "click", *SMALL, "--no-export"
    )
    assert "note: impression is read as an action; if its rows say what was shown, --shown impression" in done.stderr
    assert "is read as an action" not in (folder / "said").read_text()


def test_rows_of_standard_input_are_sent_as_they_are():
    words = refusal(rankstream("produce", "-", "--shown", "impression", text=""))
    assert "--shown and --impressions are about a log in files" in words
