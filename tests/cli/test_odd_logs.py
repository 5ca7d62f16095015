"""`rankstream train` on logs that hold little: it learns from what there is, or says what is missing."""

import json

import numpy as np
import pytest

from tests.builders.cli import rankstream, refusal

BEGIN_MS = 1_622_246_400_000  # midnight, 29 May 2021
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
SMALL = ("--user-steps", 2, "--session-steps", 2, "--ranker-steps", 2, "--evaluate-every", 2, "--item-dim", 8,
         "--user-dim", 8, "--no-export")  # fmt: skip


def an_action(user, item, action="click", at_ms=BEGIN_MS):
    return {"user_id": f"u{user}", "item_id": f"i{item}", "action": action, "timestamp_ms": at_ms}


def rows(users=12, items=8, actions=("view", "click"), each=6, step_ms=HOUR_MS, apart_ms=1):
    rng = np.random.default_rng(0)
    return [
        an_action(
            user,
            rng.integers(items),
            str(rng.choice(actions)),
            BEGIN_MS + n * step_ms + user * apart_ms,
        )
        for user in range(users)
        for n in range(each)
    ]


def train(tmp_path, log, *flags):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in log))
    return rankstream("train", path, "--out", tmp_path / "run", "--positive", "click", *SMALL, *flags)


LEARNABLE = {
    "two users": rows(users=2, each=20),
    "one item": rows(items=1),
    "one action": rows(actions=["click"]),
    "two actions of each user": rows(users=30, actions=["click"], each=2),
    "ten rows": rows(users=5, actions=["click"], each=2),
    "every item once": [row | {"item_id": n} for n, row in enumerate(rows())],
    "ids of 256 bytes": [row | {"item_id": row["item_id"].ljust(256, "x")} for row in rows()],
    "huge values": [row | {"value": 1e300} for row in rows()],
    "one user with positives": [*rows(users=40, actions=["view"]),
                                *(an_action(99, n, at_ms=BEGIN_MS + n * HOUR_MS) for n in range(6))],
}  # fmt: skip


@pytest.mark.parametrize("name", LEARNABLE)
def test_little_is_learned_from(name, tmp_path):
    done = train(tmp_path, LEARNABLE[name])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "vectors of" in done.output


def test_negatives_alone_leave_little_to_predict(tmp_path):
    """Most batches have nothing to learn from, and are no reason to end."""
    log = [*rows(actions=["hide"], each=12), *(an_action(user, 1, at_ms=BEGIN_MS + DAY_MS) for user in range(12))]
    done = train(tmp_path, log, "--negative", "hide")
    assert done.exit_code == 0, (done.output, done.exception)
    assert "the ranker sees no matches" in " ".join(done.output.split())


FEW = "fewer than two users acted twice"
NOTHING_AHEAD = "has a positive action (click) at a later time than another action and within 28 days of it"
REFUSED = {
    "one user": (rows(users=1, each=60), FEW),
    "one action of each user": (rows(users=60, each=1), FEW),
    "no positive": ([*rows(actions=["view"]), an_action(1, 1)], "1 actions before the training's end are click"),
    "one time": (rows(step_ms=0, apart_ms=0), NOTHING_AHEAD),
    "one time of each user": (rows(step_ms=0, apart_ms=DAY_MS), NOTHING_AHEAD),
    "positives far apart": (rows(step_ms=40 * DAY_MS), NOTHING_AHEAD),
    "positives first": (
        [an_action(user, n, "view" if n else "click", BEGIN_MS + n * HOUR_MS) for user in range(9) for n in range(5)],
        NOTHING_AHEAD,
    ),
    "ids that are too long": ([row | {"user_id": "x" * 300} for row in rows()], "schema: user_id is wrong"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_log_with_nothing_to_learn_from_is_refused(name, tmp_path):
    log, words = REFUSED[name]
    assert words in refusal(train(tmp_path, log))
    assert not (tmp_path / "run" / "work" / "run.json").exists()  # another try may have other settings


def test_an_end_before_everything_is_refused(tmp_path):
    done = train(tmp_path, rows(), "--until", "1999-01-01")
    assert "note: before --until 1999-01-01 00:00:00 UTC lie 0 of 72 actions (0.0%)" in done.stderr
    assert "0 actions of 0 users lie before the training's end" in refusal(done)


def test_an_end_after_everything_is_the_last_action(tmp_path):
    """Else a bundle would claim to know a time that is still to come, and every replay would be a leak."""
    done = train(tmp_path, rows(), "--until", "2100-01-01")
    assert "note: --until 2100-01-01 00:00:00 UTC holds out nothing: all 72 actions are of 2021-05-29" in done.stderr
    assert "trained on 72 actions before 2021-05-29 05:00:00 UTC" in done.output
