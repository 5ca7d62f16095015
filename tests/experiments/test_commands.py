import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from rankstream.experiments.movielens import leave_one_out as movielens
from rankstream.experiments.music import hiertcn, pinnerformer, session_costs
from rankstream.experiments.music.tables import tables
from rankstream.experiments.plots import draw
from rankstream.experiments.runs import Runs
from rankstream.models.users.time_features import DAY_MS


@pytest.fixture
def music(tmp_path):
    """Three weeks of plays of 40 users: twelve sessions of three songs, two days apart."""
    rng = np.random.default_rng(0)
    users, sessions, songs = (part.ravel() for part in np.meshgrid(range(40), range(12), range(3), indexing="ij"))
    seconds = 1_400_000_000 + sessions * 2 * DAY_MS // 1000 + songs * 200 + users * 500
    count = len(users)
    columns = {"user_id": users, "song_id": rng.integers(0, 40, count), "ts": seconds, "playtime": [180] * count}
    pq.write_table(pa.table(columns), tmp_path / "plays.parquet")
    return tmp_path / "plays.parquet"


def run(command, *arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_pinnerformers_rows_become_tables_and_are_not_run_again(music, tmp_path, monkeypatch):
    monkeypatch.setattr(pinnerformer, "STEPS", {"small": 4})
    monkeypatch.setattr(pinnerformer, "SIZES", {"small": None})
    flags = ("--music", music, "--seeds", 1, "--rows", "dense", "--rows", "sasrec")
    kept = ("--work", tmp_path / "work", "--results", tmp_path / "results")
    first, again = run(pinnerformer.main, *flags, *kept), run(pinnerformer.main, *flags, *kept)
    assert first.exit_code == again.exit_code == 0, first.output
    made = tables(Runs(tmp_path / "results"))
    assert "SASRec" in made["pinnerformer-staleness"]
    assert "popularity" in made["pinnerformer-objectives"]
    assert [path.name for path in draw(Runs(tmp_path / "results"), tmp_path)] == ["pinnerformer.svg"]


def test_hiertcns_rows_become_tables(music, tmp_path, monkeypatch):
    for name, value in {"STEPS": {"small": 5}, "SIZES": {"small": None}, "COST_STEPS": {"small": 1}}.items():
        monkeypatch.setattr(hiertcn, name, value)
    monkeypatch.setattr(hiertcn, "USERS", dict.fromkeys(hiertcn.MODELS, 2))
    monkeypatch.setattr(session_costs, "SERVED_USERS", 2)
    rows = ("--rows", "hiertcn", "--rows", "flat-gru", "--rows", "loss-cross-entropy-20")
    kept = ("--work", tmp_path / "work", "--results", tmp_path / "results")
    result = run(hiertcn.main, "--music", music, "--seeds", 1, *rows, *kept)
    assert result.exit_code == 0, result.output
    made = tables(Runs(tmp_path / "results"))
    assert {"hiertcn-models", "hiertcn-losses", "hiertcn-costs"} <= set(made)
    assert "moving average" in made["hiertcn-models"]


def test_a_log_that_is_none_is_refused_in_one_sentence(tmp_path):
    pq.write_table(pa.table({"user_id": [1]}), tmp_path / "plays.parquet")
    for command, option in ((pinnerformer.main, "--music"), (hiertcn.main, "--music"), (movielens.main, "--data")):
        result = run(command, option, tmp_path / "plays.parquet", "--work", tmp_path, "--results", tmp_path)
        assert result.exit_code == 2
        assert "has no column" in result.output
