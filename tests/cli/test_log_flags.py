"""A log is read by the same flags and the same rules in every command."""

from datetime import UTC, datetime

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rankstream.cli.main import main
from rankstream.features.embeddings.table import EmbeddingTable
from tests.builders.cli import NO_BROKER, rankstream, refusal

COMMANDS = ("train", "evaluate", "embed", "replay", "produce", "off-policy")
FLAGS = (
    "--map",
    "--set",
    "--time-unit",
    "--delimiter",
    "--columns",
    "--format",
    "--allow-skips",
    "--shown",
    "--impressions",
)
BEGIN_MS = 1_700_006_400_000  # midnight, 15 November 2023
DAY_MS = 86_400_000
FUTURE = "u1,i1,click,4102444800000"  # 2100
SMALL = ("--user-steps", 2, "--session-steps", 2, "--ranker-steps", 2, "--evaluate-every", 2, "--item-dim", 8,
         "--user-dim", 8, "--no-export")  # fmt: skip


def rows_of(days, users=range(12), unit_ms=1):
    """Lines of a CSV: a few actions of each user on each day."""
    rng = np.random.default_rng(0)
    return [
        f"u{user},i{rng.integers(8)},{rng.choice(['view', 'click'])},{at_ms // unit_ms}"
        for day in days
        for user in users
        for at_ms in range(BEGIN_MS + day * DAY_MS, BEGIN_MS + day * DAY_MS + 3_600_000, 600_000)
    ]


def write(path, lines):
    path.write_text("\n".join(["user_id,item_id,action,timestamp_ms", *lines]) + "\n")
    return path


def train(log, run, *flags):
    return rankstream("train", log, "--out", run, "--positive", "click", *SMALL, *flags)


def options_of(name):
    command = main.get_command(None, name)
    options = [option for option in command.params if isinstance(option, click.Option)]
    return {flag: option.help for option in options for flag in option.opts}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_reads_a_log_offers_the_same_flags_with_the_same_help(name):
    offered, of_train = options_of(name), options_of("train")
    assert {flag: offered[flag] for flag in FLAGS} == {flag: of_train[flag] for flag in FLAGS}
    assert "--strict" not in rankstream(name, "--help").output  # the old flag works and is not shown


def starting(name, log, tmp_path):
    """A command as far as it reads a log, without a model or a broker."""
    return {
        "train": lambda *flags: train(log, tmp_path / "run", *flags),
        "replay": lambda *flags: rankstream("replay", "--events", log, *flags),
        "produce": lambda *flags: rankstream("produce", log, "--bootstrap-servers", NO_BROKER, *flags),
    }[name]


@pytest.mark.parametrize("name", ["train", "replay", "produce"])
def test_seconds_in_a_column_of_milliseconds_are_refused_with_both_readings(name, tmp_path):
    log = write(tmp_path / "seconds.csv", rows_of([0, 1], unit_ms=1000))
    words = refusal(starting(name, log, tmp_path)())
    assert "column timestamp_ms of" in words
    assert (
        "holds 1700006400: as ms, which its name claims, that is 1970-01-20, as s 2023-11-15; say which with" in words
    )


def test_seconds_that_are_said_to_be_seconds_are_trained_on_as_such(tmp_path):
    done = train(write(tmp_path / "seconds.csv", rows_of([0, 1], unit_ms=1000)), tmp_path / "run", "--time-unit", "s")
    assert done.exit_code == 0, done.output
    assert "trained on 144 actions before 2023-11-16 00:50:00 UTC" in done.output


def test_a_row_of_the_future_is_left_out_and_ends_no_daily_job(tmp_path):
    days = [write(tmp_path / "day1.csv", rows_of([0])), write(tmp_path / "day2.csv", [*rows_of([0]), FUTURE]),
            write(tmp_path / "day3.csv", rows_of([0, 2], users=range(9)))]  # fmt: skip
    assert "before 2023-11-15 00:50:00 UTC" in train(days[1], tmp_path / "with").output
    assert train(days[0], tmp_path / "run").exit_code == 0
    table = tmp_path / "run" / "vectors" / "users"
    second = rankstream("embed", days[1], "--from", tmp_path / "run")
    assert "skipped 1: timestamp: more than a day after now" in second.stderr
    assert "row 73: timestamp_ms is '4102444800000', read as 2100-01-01" in second.stderr
    assert EmbeddingTable.open(table).as_of_ms == BEGIN_MS + 3_000_000
    third = rankstream("embed", days[2], "--from", tmp_path / "run")
    assert "9 users who acted since the last table encoded, 3 kept" in third.output
    assert EmbeddingTable.open(table).as_of_ms == BEGIN_MS + 2 * DAY_MS + 3_000_000
    late = rankstream("embed", days[2], "--from", tmp_path / "run", "--as-of", "2100-01-01")
    assert "--as-of 2100-01-01 00:00:00 UTC is still to come" in refusal(late)


MOSTLY_BAD = [*rows_of([0]), *["u,i,click,noon"] * 50, *["u,i,click"] * 40]
MOST_FIRST = (
    "of 50 the reason is schema: a time that can't be read ({log}, row 73: timestamp_ms is 'noon'; wanted a date as "
    "2023-11-14 or 2023-11-14T22:13:20Z, or a number of s, ms, us or ns since 1970), of 40 the reason is schema: ragged"
)


@pytest.mark.parametrize("name", ["train", "replay"])
def test_a_log_of_which_over_half_is_skipped_is_refused_unless_that_is_allowed(name, tmp_path):
    log = write(tmp_path / "log.csv", MOSTLY_BAD)
    start = starting(name, log, tmp_path)
    words = refusal(start())
    assert f"90 of the 162 rows of {log} can't be read" in words
    assert MOST_FIRST.format(log=log) in words
    allowed = start("--allow-skips")
    assert allowed.exit_code == 0, allowed.output
    skips = [line for line in allowed.stderr.splitlines() if line.startswith("skipped")]
    assert [line.partition(" (")[0] for line in skips] == [
        "skipped 50: schema: a time that can't be read",
        "skipped 40: schema: ragged row",
    ]


def test_a_log_of_which_less_is_skipped_is_read_and_counted_unless_it_is_strict(tmp_path):
    log = write(tmp_path / "log.csv", [*rows_of([0]), *["u,i,click,noon"] * 50])
    done = rankstream("replay", "--events", log)
    assert done.exit_code == 0, done.output
    assert "skipped 50: schema: a time that can't be read" in done.stderr
    assert "50 of the 122 rows" in refusal(rankstream("replay", "--events", log, "--strict"))


def test_dates_are_times_and_their_zone_is_said_once(tmp_path):
    lines = [
        line.rpartition(",")[0] + f",{datetime.fromtimestamp(int(line.rpartition(',')[2]) / 1000, UTC):%Y-%m-%d %H:%M}"
        for line in rows_of([0, 1])
    ]
    done = train(write(tmp_path / "dates.csv", lines), tmp_path / "run")
    assert done.exit_code == 0, done.output
    notes = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
    assert notes == ["note: times of column timestamp_ms without a zone are read as UTC, as 2023-11-15 00:00"]
    assert "trained on 144 actions before 2023-11-16 00:50:00 UTC" in done.output


def test_nanoseconds_of_parquet_are_trained_on(tmp_path):
    users, items, actions, times = zip(*(line.split(",") for line in rows_of([0, 1])), strict=True)
    ns = pa.array([int(at_ms) * 1_000_000 + 1 for at_ms in times], pa.timestamp("ns"))
    table = {"user_id": list(users), "item_id": list(items), "action": list(actions), "ts": ns}
    path = tmp_path / "ns.parquet"
    pq.write_table(pa.table(table), path)
    done = train(path, tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "trained on 144 actions before 2023-11-16 00:50:00 UTC" in done.output
