"""A log's kind is recognised by its columns, and the default recipe of training fits its actions."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rankstream.events.arrivals import LogError
from rankstream.events.open import open_log
from rankstream.events.public import PUBLIC
from rankstream.events.registry import EVENTS, KINDS, kind_of, read_log, repeats_items
from rankstream.features.actions import Vocabulary
from rankstream.models.recipes.bundle import recipe_for
from tests.builders.models import a_log

AT_S = 1_400_000_000
RATINGS = {"user_id": [1, 1], "item_id": [5, 6], "rating": [5.0, 1.0], "timestamp": [AT_S, AT_S + 100]}
BEHAVIOURS = {"user_id": [1, 1], "item_id": [5, 5], "behavior": ["pv", "buy"], "timestamp": [AT_S, AT_S + 100]}
PLAYS = {"user_id": [1], "song_id": [5], "ts": [AT_S], "playtime": [31.0]}
WIRE = {"user_id": ["a"], "item_id": [5], "action": ["save"], "timestamp_ms": [AT_S * 1000]}


def parquet(path, columns):
    path.parent.mkdir(exist_ok=True, parents=True)
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("columns", "name"), [(RATINGS, "movielens"), (BEHAVIOURS, "taobao"), (PLAYS, "30music"), (WIRE, "events")]
)
def test_a_file_and_the_folder_it_lies_in_are_recognised_by_the_columns(tmp_path, columns, name):
    file = parquet(tmp_path / "folder" / "any.parquet", columns)
    parquet(tmp_path / "folder" / "users.parquet", {"user_id": [1], "age": [30]})
    for path in (file, tmp_path / "folder"):
        opened = open_log(path)
        log = read_log(opened)
        assert kind_of(opened, log).name == name
        assert len(log) == len(columns["user_id"])


def test_a_folder_of_files_of_the_wire_is_one_log(tmp_path):
    for day, action in enumerate(("save", "hide", "save")):
        row = {
            "user_id": f"u{day}",
            "item_id": 7,
            "action": action,
            "timestamp_ms": 1000 * (AT_S - day),
            "surface": "tv",
        }
        (tmp_path / f"day-{day}.jsonl").write_text(json.dumps(row))
    opened = open_log(tmp_path)
    log = read_log(opened)
    assert kind_of(opened, log).name == "events"
    assert log.user_ids.tolist() == ["u2", "u1", "u0"]
    assert [log.vocabulary.actions[code - 1] for code in log.actions] == ["save", "hide", "save"]
    assert log.surfaces.tolist() == [1, 1, 1]


def test_ids_are_texts_where_some_files_have_integers_and_others_texts(tmp_path):
    """The wire takes 1 and "1" for the same user, and so does training."""
    parquet(tmp_path / "a.parquet", WIRE)
    parquet(tmp_path / "b.parquet", WIRE | {"user_id": [1]})
    parquet(tmp_path / "c.parquet", WIRE | {"user_id": ["1"]})
    log = read_log(open_log(tmp_path))
    assert log.user_ids.tolist() == ["a", "1", "1"]
    assert log.item_ids.tolist() == [5, 5, 5]


def test_a_folder_of_several_logs_or_of_none_is_refused(tmp_path):
    parquet(tmp_path / "two" / "a.parquet", RATINGS)
    parquet(tmp_path / "two" / "b.parquet", PLAYS)
    (tmp_path / "none").mkdir()
    with pytest.raises(LogError, match=r"several logs: a.parquet \(movielens\), b.parquet \(30music\)"):
        open_log(tmp_path / "two")
    with pytest.raises(LogError, match="holds no log that is known"):
        open_log(tmp_path / "none")


@pytest.mark.parametrize("known", [known for known in KINDS.values() if known is not EVENTS], ids=lambda one: one.name)
def test_defaults_name_the_logs_own_actions(known):
    vocabulary = PUBLIC[known.name].vocabulary
    recipe = recipe_for(known, vocabulary)
    assert set(recipe.ranker.utility) == set(recipe.ranker.heads) == set(known.heads)
    assert any(weight > 0 for weight in recipe.ranker.utility.values())
    assert set(recipe.encoders.positives) <= set(vocabulary.actions)
    assert recipe.encoders.positives


def test_a_log_is_read_in_the_models_vocabulary(tmp_path):
    log = a_log([("a", 1, "hide", 0), ("a", 2, "save", 1)], Vocabulary(("hide", "save")))
    log.write_parquet(tmp_path / "log.parquet")
    opened = open_log(tmp_path / "log.parquet")
    known = read_log(opened, Vocabulary(("view", "save")), strict=False)
    assert (known.actions.tolist(), known.item_ids.tolist(), opened.skipped.total()) == ([2], [2], 1)


def test_whether_repeats_items_is_seen():
    assert repeats_items(a_log([("a", 1, "save", 0), ("a", 1, "save", 1)]))
    assert not repeats_items(a_log([("a", 1, "save", 0), ("a", 1, "view", 0), ("b", 1, "save", 1)]))
    assert not repeats_items(a_log([("a", int(item), "save", float(item)) for item in np.arange(30)]))
