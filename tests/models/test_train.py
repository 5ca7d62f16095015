from dataclasses import replace

import pytest
import torch
from torch import nn

from models.pinnerformer import PinnerFormer, PinnerFormerConfig
from models.train import LAST, FitConfig, ResumeRefusedError, fit, learning_rate, pick_device
from models.weights import WeightsRefusedError, fingerprint, load_weights, save_weights

CONFIG = FitConfig(steps=30, warm_up=5, evaluate_every=5, checkpoint_every=10, patience=100)


class Lights(nn.Module):
    """A small model with chance of its own (dropout), so that forgotten random state shows."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1))


def a_model(seed=0) -> Lights:
    torch.manual_seed(seed)
    return Lights()


class Killed(Exception):
    """The power failed."""


def drawing(model, killed_at=None):
    """Draw the loss of a regression; die at a step."""
    steps = iter(range(10_000))

    def draw(chance):
        if next(steps) == killed_at:
            raise Killed
        x = torch.from_numpy(chance.standard_normal((16, 4))).float()
        return ((model.layers(x)[:, 0] - x.sum(dim=1)) ** 2).mean()

    return draw


def judging(model):
    x = torch.linspace(-1, 1, 40).reshape(10, 4)
    return lambda: -((model.layers(x)[:, 0] - x.sum(dim=1)) ** 2).mean().item()


@pytest.mark.parametrize("killed_at", [11, 20, 29])
def test_a_killed_and_resumed_run_ends_as_an_uninterrupted_one(tmp_path, killed_at):
    whole = a_model()
    wanted = fit(whole, drawing(whole), CONFIG, evaluate=judging(whole))
    victim = a_model()
    with pytest.raises(Killed):
        fit(victim, drawing(victim, killed_at), CONFIG, evaluate=judging(victim), checkpoints=tmp_path)
    heir = a_model(seed=99)
    torch.manual_seed(1234)
    history = fit(heir, drawing(heir), CONFIG, evaluate=judging(heir), checkpoints=tmp_path)
    assert fingerprint(heir) == fingerprint(whole)
    assert history == wanted


def test_a_run_out_of_time_is_continued_by_the_next_call(tmp_path):
    whole, model = a_model(), a_model()
    fit(whole, drawing(whole), CONFIG)
    first = fit(model, drawing(model), CONFIG, checkpoints=tmp_path, seconds=0.0)
    assert (first.stopped, first.steps) == ("time", 1)
    heir = a_model(seed=99)
    assert fit(heir, drawing(heir), CONFIG, checkpoints=tmp_path).stopped == "steps"
    assert fingerprint(heir) == fingerprint(whole)


def test_a_finished_run_is_not_run_again(tmp_path):
    model, again = a_model(), a_model(seed=99)
    fit(model, drawing(model), CONFIG, checkpoints=tmp_path)
    history = fit(again, drawing(again, killed_at=0), CONFIG, checkpoints=tmp_path)
    assert history.stopped == "steps"
    assert fingerprint(again) == fingerprint(model)


def test_a_run_with_other_settings_is_not_continued(tmp_path):
    model = a_model()
    fit(model, drawing(model), CONFIG, checkpoints=tmp_path)
    with pytest.raises(ResumeRefusedError, match=r"other settings \(learning_rate\)"):
        fit(model, drawing(model), replace(CONFIG, learning_rate=0.5), checkpoints=tmp_path)


def test_training_stops_when_it_no_longer_gets_better_and_keeps_the_best():
    model = a_model()
    metrics = iter([0.1, 0.9, 0.5, 0.4, 0.3, 0.2])
    best = []

    def evaluate():
        metric = next(metrics)
        if metric == 0.9:
            best.append(fingerprint(model))
        return metric

    history = fit(model, drawing(model), replace(CONFIG, patience=2), evaluate=evaluate)
    assert (history.stopped, history.steps, history.best_step) == ("patience", 20, 10)
    assert fingerprint(model) == best[0]


def test_training_leaves_the_callers_chance_alone():
    model = a_model()
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    fit(model, drawing(model), CONFIG)
    assert torch.equal(torch.rand(3), wanted)


def test_the_learning_rate_rises_then_falls_to_its_last_share():
    rates = [learning_rate(step, CONFIG) for step in range(31)]
    assert rates[0] == pytest.approx(CONFIG.learning_rate / 5)
    assert max(rates) == rates[5] == pytest.approx(CONFIG.learning_rate)
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[30] == pytest.approx(CONFIG.learning_rate * CONFIG.final_rate)


def test_a_cut_off_checkpoint_is_named(tmp_path):
    model = a_model()
    fit(model, drawing(model), CONFIG, checkpoints=tmp_path)
    whole = (tmp_path / LAST).read_bytes()
    (tmp_path / LAST).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsRefusedError, match="cut off"):
        fit(model, drawing(model), CONFIG, checkpoints=tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_asking_for_a_gpu_that_is_not_there_says_so():
    assert pick_device().type == "cpu"
    with pytest.raises(ValueError, match="no CUDA device is here"):
        pick_device("cuda")


SMALL = PinnerFormerConfig(action_types=2, hidden=8, heads=2, layers=1, user_dim=4)


def test_saved_weights_come_back_with_their_config(tmp_path):
    model = PinnerFormer(SMALL)
    save_weights(tmp_path / "model.pt", model, SMALL)
    loaded = load_weights(tmp_path / "model.pt", PinnerFormer, PinnerFormerConfig)
    assert loaded.config == SMALL
    assert fingerprint(loaded) == fingerprint(model)
    assert fingerprint(loaded) != fingerprint(PinnerFormer(SMALL))


def test_weights_of_another_model_are_refused(tmp_path):
    save_weights(tmp_path / "model.pt", PinnerFormer(SMALL), SMALL)
    with pytest.raises(WeightsRefusedError, match="holds weights of PinnerFormer, wanted Lights"):
        load_weights(tmp_path / "model.pt", Lights, FitConfig)


def test_weights_that_do_not_fit_their_config_are_refused(tmp_path):
    save_weights(tmp_path / "model.pt", PinnerFormer(SMALL), replace(SMALL, user_dim=8))
    with pytest.raises(WeightsRefusedError, match="size mismatch"):
        load_weights(tmp_path / "model.pt", PinnerFormer, PinnerFormerConfig)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(WeightsRefusedError, match="there is no file"):
        load_weights(tmp_path / "model.pt", PinnerFormer, PinnerFormerConfig)
