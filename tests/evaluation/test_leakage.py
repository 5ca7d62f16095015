"""What was trained or computed on the future is refused, with both times named; tables are read as they were."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from rankstream.bundles.manifest import Manifest, read_manifest
from rankstream.evaluation.leakage import LeakError, UserTables, check_bundle, check_table
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.embeddings.table import EmbeddingTable, publish, publish_merged
from rankstream.features.ids import id_keys
from tests.builders.bundle import a_bundle

NOON_MS = 1_650_024_000_000  # 2022-04-15 12:00 UTC
DAY_MS = 86_400_000


def a_model(folder: Path, trained_until_ms: int) -> Manifest:
    return msgspec.structs.replace(read_manifest(a_bundle(folder)), trained_until_ms=trained_until_ms)


def daily_vectors(root: Path, days: int, keep: int = 100) -> UserTables:
    """One user's vectors of each midnight; the first number is the day."""
    for day in range(days):
        publish(root, ["u1"], np.full((1, 2), day), space="users", as_of_ms=NOON_MS + day * DAY_MS, keep=keep)
    return UserTables(root)


def test_a_model_is_tested_on_what_came_after_its_training(tmp_path: Path):
    assert check_bundle(a_model(tmp_path, NOON_MS), from_ms=NOON_MS) == []


def test_a_model_that_has_seen_a_replayed_event_is_refused_and_both_times_are_named(tmp_path: Path):
    with pytest.raises(LeakError) as refused:
        check_bundle(a_model(tmp_path, NOON_MS + 1), from_ms=NOON_MS - DAY_MS)
    message = str(refused.value)
    assert "until 2022-04-15 12:00:00 UTC, but the replay ranks from 2022-04-14 12:00:00 UTC on" in message
    assert "--from 2022-04-15T12:00:01Z" in message
    assert "--allow-leak" in message


def test_an_allowed_leak_is_a_mark_on_what_comes_out(tmp_path: Path):
    (mark,) = check_bundle(a_model(tmp_path, NOON_MS + 1), from_ms=NOON_MS, allow=True)
    assert mark.startswith("LEAK: the model")


@pytest.mark.parametrize(
    ("until_ms", "words"),
    [
        (NOON_MS // 1000, "1970-01-20 02:20:24 UTC (its times may be seconds that were read as milliseconds)"),
        (0, "1970-01-01"),
        (4_102_444_800_000, "2100-01-01 00:00:00 UTC, after it was made itself"),
        (NOON_MS * 1000, "1,650,024,000,000,000 ms after 1970"),
        (NOON_MS * 1_000_000, "ms after 1970"),
    ],
)
def test_a_model_whose_end_of_training_cant_be_true_is_refused(until_ms: int, words: str, tmp_path: Path):
    model = a_model(tmp_path, until_ms)
    with pytest.raises(LeakError) as refused:
        check_bundle(model, from_ms=max(until_ms, NOON_MS))
    assert words in str(refused.value)
    assert "it is not known what it has seen; train again on a log whose times are right" in str(refused.value)
    (mark,) = check_bundle(model, from_ms=NOON_MS, allow=True)
    assert mark.startswith("LEAK: ")


def test_vectors_as_of_a_time_that_cant_be_true_are_refused(tmp_path: Path):
    publish(tmp_path, ["u1"], np.ones((1, 2)), space="users", as_of_ms=NOON_MS // 1000)
    with pytest.raises(LeakError, match=r"hold events until 1970-01-20 .* seconds that were read as milliseconds"):
        check_table(EmbeddingTable.open(tmp_path), NOON_MS, name="the users")


def test_vectors_of_later_events_are_refused_like_a_model(tmp_path: Path):
    daily_vectors(tmp_path, days=1)
    table = EmbeddingTable.open(tmp_path)
    assert check_table(table, NOON_MS) == []
    with pytest.raises(
        LeakError, match=r"of the users .* until 2022-04-15 12:00:00 UTC, but rank from 2022-04-15 11:59:59"
    ):
        check_table(table, NOON_MS - 1000, name="the users")
    assert len(check_table(table, NOON_MS - 1000, allow=True)) == 1


@pytest.mark.parametrize(("hours", "day"), [(0, 0), (23, 0), (24, 1), (49, 2), (9999, 2)])
def test_the_table_as_of_a_time_is_the_newest_that_knows_nothing_later(hours: int, day: int, tmp_path: Path):
    table = daily_vectors(tmp_path, days=3).as_of(NOON_MS + hours * 3_600_000)
    assert table is not None
    assert table.look_up(id_keys(["u1"]))[0].tolist() == [[day, day]]


def test_before_the_first_version_there_is_no_table(tmp_path: Path):
    assert daily_vectors(tmp_path, days=3).as_of(NOON_MS - 1) is None


def test_of_one_time_the_version_published_last_counts(tmp_path: Path):
    daily_vectors(tmp_path, days=2)
    publish(tmp_path, ["u1"], np.full((1, 2), 9), space="users", as_of_ms=NOON_MS, keep=100)
    table = UserTables(tmp_path).as_of(NOON_MS)
    assert table is not None
    assert table.vectors[0, 0] == 9


def test_as_many_versions_are_kept_as_the_publisher_wants(tmp_path: Path):
    assert len(daily_vectors(tmp_path, days=5, keep=3).opened) == 3
    publish_merged(tmp_path, ["u2"], np.ones((1, 2)), as_of_ms=NOON_MS + 9 * DAY_MS)
    assert len(UserTables(tmp_path).opened) == 2  # what serving needs
    with pytest.raises(ValueError, match="1 versions are to be kept; at least 2"):
        publish(tmp_path, [1], np.ones((1, 2)), space="users", as_of_ms=0, keep=1)


def test_versions_that_are_pruned_during_a_replay_stay_readable(tmp_path: Path):
    tables = daily_vectors(tmp_path, days=3)
    publish(tmp_path, ["u1"], np.ones((1, 2)), space="users", as_of_ms=NOON_MS + 3 * DAY_MS)
    first = tables.as_of(NOON_MS)
    assert first is not None
    assert first.look_up(id_keys(["u1"]))[1].all()


def test_an_empty_folder_and_versions_of_two_models_are_refused(tmp_path: Path):
    with pytest.raises(BrokenTableError, match="holds no version of a table"):
        UserTables(tmp_path / "nothing")
    daily_vectors(tmp_path, days=1)
    publish(tmp_path, ["u1"], np.ones((1, 3)), space="others", as_of_ms=NOON_MS)
    with pytest.raises(BrokenTableError, match="of several spaces"):
        UserTables(tmp_path)
