"""Settings of training come from a flag, the environment or the file, and change the recipe that they name."""

import time
from dataclasses import replace
from math import inf

import pytest
import torch

from rankstream.cli.errors import Refusal
from rankstream.cli.options.train_settings import TrainSettings, read_train_settings
from rankstream.cli.options.training import recipe_of
from rankstream.events.public import movielens
from rankstream.models.recipes.encoders import MAX_EPOCHS, limit_of
from rankstream.models.training.precision import Precision
from rankstream.models.training.time_limit import NO_LIMIT, TimeLimit
from rankstream.streams.setting_fields import SettingsError
from rankstream.streams.settings import read_settings
from tests.builders.cli import rankstream

CPU = torch.device("cpu")


def recipe(**given):
    return recipe_of(movielens.KIND, movielens.VOCABULARY, TrainSettings(**given), CPU)


def test_a_flag_wins_over_the_environment_and_that_over_the_table_of_the_file(tmp_path):
    file = tmp_path / "rankstream.toml"
    file.write_text("partitions = 3\n[train]\nbatch = 1\nuser_layers = 1\nseed = 1\n")
    environment = {"RANKSTREAM_TRAIN_BATCH": "2", "RANKSTREAM_TRAIN_USER_LAYERS": "2"}
    settings = read_train_settings({"batch": 3}, file, environment)
    assert (settings.batch, settings.user_layers, settings.seed) == (3, 2, 1)
    assert read_settings({}, {}, file).partitions == 3  # workers read the same file


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[train]\nstepz = 1\n", r"\[train\] of .* sets 'stepz', which is no setting"),
        ("train = 1\n", r"wanted a table \[train\] of settings"),
        ("[train]\nuser_layers = 0\n", r"user_layers in \[train\] of .* is 0; wanted 1 to 64"),
        ("[train]\nsize = 'huge'\n", "wanted one of demo, paper"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path, text, words):
    file = tmp_path / "rankstream.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=words):
        read_train_settings({}, file, {})


def test_what_is_not_given_is_by_size():
    demo, paper = recipe(), recipe(size="paper")
    assert (demo.encoders.user_layers, demo.ranker.num_actions) == (1, 20)
    assert (paper.encoders.user_layers, paper.encoders.user_hidden, paper.ranker.num_actions) == (6, 768, 100)
    assert recipe(size="paper", user_layers=2).encoders == replace(paper.encoders, user_layers=2)


def test_steps_batches_and_the_machine_reach_every_model():
    made = recipe(
        user_steps=7, session_steps=8, ranker_steps=9, batch=5, processes=4, precision="bf16", patience=2, seed=3
    )
    fits = made.encoders.pinnerformer.fit, made.encoders.hiertcn.fit, made.ranker.training.fit
    assert [fit.steps for fit in fits] == [7, 8, 9]
    assert {(fit.accumulation_steps, fit.precision, fit.patience, fit.seed) for fit in fits} == {
        (4, Precision.BF16, 2, 3)
    }
    assert made.encoders.pinnerformer.users == made.encoders.hiertcn.users == made.ranker.training.requests == 5


def test_encoders_train_by_epochs_unless_their_steps_are_given():
    made = recipe(user_steps=7).encoders
    assert (made.pinnerformer.fit.epochs, made.pinnerformer.fit.steps) == (None, 7)
    assert made.hiertcn.fit.epochs == MAX_EPOCHS
    assert recipe(epochs=2.5).encoders.hiertcn.fit.epochs == 2.5
    assert recipe(epochs=2.5, session_steps=9).encoders.hiertcn.fit.epochs is None


def test_an_encoder_has_a_quarter_of_the_time_or_what_its_size_has():
    demo, paper = recipe().encoders, recipe(size="paper", epochs=3).encoders
    assert limit_of(demo, demo.hiertcn.fit, 400.0, 0.0, None) == TimeLimit(100, time.monotonic)
    assert limit_of(demo, demo.hiertcn.fit, inf, 0.0, None) == TimeLimit(210, time.thread_time)
    assert limit_of(demo, demo.hiertcn.fit, inf, 0.0, torch.device("cuda")) == TimeLimit(210, time.monotonic)
    assert limit_of(paper, paper.hiertcn.fit, inf, 0.0, None) == NO_LIMIT


def test_fixed_steps_may_take_what_is_left_of_the_time():
    demo = recipe(session_steps=9).encoders
    assert limit_of(demo, demo.hiertcn.fit, inf, 0.0, None) == NO_LIMIT
    left = limit_of(demo, demo.hiertcn.fit, 400.0, time.monotonic() - 300, None)
    assert (left.seconds, left.clock) == (pytest.approx(100, abs=5), time.monotonic)


def test_a_width_that_heads_cannot_share_is_refused():
    with pytest.raises(Refusal, match="--user-width 30 must be a multiple of 4 attention heads"):
        recipe(user_width=30)


def test_accumulation_steps_that_processes_cannot_share_are_refused():
    with pytest.raises(Refusal, match="--accumulation-steps 3 can't be shared among 2 processes; give a multiple"):
        recipe(accumulation_steps=3, processes=2)
    assert recipe(accumulation_steps=4, processes=2).encoders.hiertcn.fit.accumulation_steps == 4


def test_settings_shows_those_of_training_too():
    shown = rankstream("settings", train_batch="17").output
    assert "17" in next(line for line in shown.splitlines() if "train.batch" in line)
    assert "RANKSTREAM_TRAIN_BATCH" in shown


def test_draws_are_accumulation_steps_in_the_environment_the_file_and_as_a_flag_of_before(tmp_path):
    file = tmp_path / "rankstream.toml"
    file.write_text("[train]\ndraws = 2\n")
    assert read_train_settings({}, file, {}).accumulation_steps == 2
    assert read_train_settings({}, file, {"RANKSTREAM_TRAIN_DRAWS": "3"}).accumulation_steps == 3
    now = {"RANKSTREAM_TRAIN_DRAWS": "3", "RANKSTREAM_TRAIN_ACCUMULATION_STEPS": "4"}
    assert read_train_settings({}, file, now).accumulation_steps == 4
    refused = rankstream("train", "nowhere.csv", "--out", tmp_path / "run", "--draws", -1)
    assert "--accumulation-steps is -1; wanted at least 0" in refused.stderr
