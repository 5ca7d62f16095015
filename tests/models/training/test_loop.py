import re
from dataclasses import replace
from io import StringIO
from time import sleep

import pytest
import torch
from rich.console import Console
from rich.progress import Progress

from rankstream.models.training.checkpoints import (
    WeightsRefusedError,
    fingerprint,
    load_weights,
    read_whole,
    save_weights,
)
from rankstream.models.training.loop import (
    LAST,
    DivergedError,
    FitConfig,
    ResumeRefusedError,
    fit,
    pick_device,
)
from rankstream.models.training.precision import Precision, best_precision, compiled_blocks
from rankstream.models.training.schedule import Examples, rate_at
from rankstream.models.training.time_limit import TimeLimit, seconds_of_work
from rankstream.models.users.pinnerformer import PinnerFormer, PinnerFormerConfig
from tests.builders.training import Killed, Lights, a_model, drawing, evaluating

CONFIG = FitConfig(steps=30, warm_up=5, evaluate_every=5, checkpoint_every=10, patience=100)


@pytest.mark.parametrize("killed_at", [11, 20, 29])
def test_a_killed_and_resumed_run_ends_as_an_uninterrupted_one(tmp_path, killed_at):
    whole = a_model()
    wanted = fit(whole, drawing(whole), CONFIG, evaluate=evaluating(whole))
    victim = a_model()
    with pytest.raises(Killed):
        fit(victim, drawing(victim, killed_at), CONFIG, evaluate=evaluating(victim), checkpoints=tmp_path)
    heir = a_model(seed=99)
    torch.manual_seed(1234)
    history = fit(heir, drawing(heir), CONFIG, evaluate=evaluating(heir), checkpoints=tmp_path)
    assert fingerprint(heir) == fingerprint(whole)
    assert history == wanted


def test_a_run_out_of_time_is_continued_by_the_next_call(tmp_path):
    whole, model = a_model(), a_model()
    fit(whole, drawing(whole), CONFIG)
    first = fit(model, drawing(model), CONFIG, checkpoints=tmp_path, limit=TimeLimit(0.0))
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


def test_training_leaves_the_callers_random_state_alone():
    model = a_model()
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    fit(model, drawing(model), CONFIG)
    assert torch.equal(torch.rand(3), wanted)


def test_accumulation_steps_are_one_step_of_their_mean():
    def draw(model):
        seen = iter([1.0, 5.0])
        return lambda rng: next(seen) * model(torch.ones(1, 4)).sum()

    torch.manual_seed(0)
    one, several = nn_line(), nn_line()
    fit(several, draw(several), replace(CONFIG, steps=1, accumulation_steps=2, clip=1e9))
    fit(one, lambda rng: 3.0 * one(torch.ones(1, 4)).sum(), replace(CONFIG, steps=1, clip=1e9))
    assert torch.allclose(one.weight, several.weight)


def nn_line():
    line = torch.nn.Linear(4, 1)
    torch.nn.init.zeros_(line.weight)
    return line


def test_bf16_learns_what_float32_learns():
    exact, rough = a_model(), a_model()
    wanted = fit(exact, drawing(exact), CONFIG, evaluate=evaluating(exact))
    history = fit(rough, drawing(rough), replace(CONFIG, precision=Precision.BF16), evaluate=evaluating(rough))
    assert fingerprint(rough) != fingerprint(exact)
    assert all(weight.dtype == torch.float32 for weight in rough.parameters())
    assert history.best_metric == pytest.approx(wanted.best_metric, rel=0.02)


def test_fp16_scales_its_losses_and_resumes_with_the_scale(tmp_path):
    config = replace(CONFIG, precision=Precision.FP16)
    whole, victim, heir = a_model(), a_model(), a_model(seed=9)
    fit(whole, drawing(whole), config)
    with pytest.raises(Killed):
        fit(victim, drawing(victim, 15), config, checkpoints=tmp_path)
    fit(heir, drawing(heir), config, checkpoints=tmp_path)
    assert fingerprint(heir) == fingerprint(whole)
    assert read_whole(tmp_path / LAST)["scaler"]["scale"] > 1


def test_a_loss_that_is_no_number_ends_the_training():
    model = a_model()
    with pytest.raises(DivergedError, match="the loss of step 1 is nan; train with a smaller learning rate"):
        fit(model, lambda rng: model(torch.full((1, 4), torch.nan)).sum(), CONFIG)


def test_repeated_blocks_are_compiled_only_while_training():
    model = a_model()
    with compiled_blocks(model, True):
        assert all(block._compiled_call_impl for block in model.layers)
    assert not any(block._compiled_call_impl for block in model.layers)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_a_cpu_is_trained_on_in_float32():
    assert best_precision(pick_device()) is Precision.FULL


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
def test_a_gpu_learns_in_mixed_precision_what_it_learns_in_float32():
    exact, rough = a_model().cuda(), a_model().cuda()
    mixed = replace(CONFIG, precision=best_precision(torch.device("cuda")))
    wanted = fit(exact, on_gpu(exact), CONFIG)
    history = fit(rough, on_gpu(rough), mixed)
    assert mixed.precision is not Precision.FULL
    assert history.losses[-1][1] == pytest.approx(wanted.losses[-1][1], rel=0.05)


def on_gpu(model):
    def draw(rng):
        x = torch.from_numpy(rng.standard_normal((16, 4))).float().cuda()
        return ((model(x).float() - x.sum(dim=1)) ** 2).mean()

    return draw


def test_tensorboard_reads_the_log_of_a_killed_and_resumed_run_as_one(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    victim, heir = a_model(), a_model()
    with pytest.raises(Killed):
        fit(victim, drawing(victim, 18), CONFIG, evaluate=evaluating(victim), checkpoints=tmp_path)
    history = fit(heir, drawing(heir), CONFIG, evaluate=evaluating(heir), checkpoints=tmp_path, metric_name="score")
    read = EventAccumulator(str(tmp_path)).Reload()
    assert {"loss", "score", "learning_rate", "gradient_norm", "steps_per_second"} <= set(read.Tags()["scalars"])
    losses = {event.step: event.value for event in read.Scalars("loss")}
    assert list(losses) == [5, 10, 15, 20, 25, 30]
    assert list(losses.values()) == pytest.approx([loss for _, loss in history.losses])


def test_without_a_terminal_progress_is_a_line_an_evaluation():
    console = Console(file=StringIO(), width=100)
    model = a_model()
    with Progress(console=console) as progress:
        fit(model, drawing(model), CONFIG, evaluate=evaluating(model), progress=progress, title="Lights")
    lines = [line for line in console.file.getvalue().splitlines() if "loss" in line and "step" in line]
    assert len(lines) == 6
    assert re.fullmatch(r"Lights  loss \d+\.\d{4}  metric -\d+\.\d{4}  step 30/30", lines[-1])


EPOCHS = replace(CONFIG, steps=1, epochs=10, evaluate_every=20, patience=2)
HUNDRED = Examples(count=100, per_batch=2.5)  # an epoch is 40 steps


def by_epochs(model, metrics, config=EPOCHS, killed_at=None, **more):
    """Train by epochs with these metrics, one an evaluation."""
    metrics = iter(metrics)
    return fit(model, drawing(model, killed_at), config, evaluate=lambda: next(metrics), examples=HUNDRED, **more)


def test_by_epochs_a_training_holds_its_rate_until_it_stalls():
    history = by_epochs(a_model(), [0.1, 0.5, 0.3, 0.2])
    assert [step for step, _ in history.metrics] == [20, 40, 60, 80]
    assert (history.steps, history.stopped, history.best_step) == (80, "patience", 40)
    assert (history.epochs, history.examples_seen) == (2.0, 200)
    assert history.summary("Lights") == "Lights: 2.0 epochs, stopped by patience (best at 1.0)"
    assert history.warning("Lights") is None


def test_by_epochs_a_training_never_stalls_within_the_first_one():
    model, long_epoch = a_model(), Examples(count=250, per_batch=2.5)  # 100 steps
    history = fit(model, drawing(model), replace(EPOCHS, patience=1), evaluate=lambda: 0.5, examples=long_epoch)
    assert [step for step, _ in history.metrics] == [20, 40, 60, 80, 100]  # nothing better from 40 on
    assert (history.stopped, history.best_step) == ("patience", 20)


def test_by_epochs_the_average_of_the_newest_weights_is_validated_and_kept(tmp_path):
    line, before, validated = nn_line(), [], []

    def sample_loss(rng):
        before.append(line.weight.detach().clone())
        return (line(torch.ones(1, 4)) - 1).pow(2).sum()

    def evaluate():
        validated.append(line.weight.detach().clone())
        return 0.0

    ten_steps = replace(EPOCHS, epochs=0.25)
    fit(line, sample_loss, ten_steps, evaluate=evaluate, examples=HUNDRED, checkpoints=tmp_path)
    weights = [*before[1:], read_whole(tmp_path / LAST)["model"]["weight"]]  # what each step left
    average = weights[4]  # of the first five the newest one is all
    for step in range(6, 11):
        average = average + (weights[step - 1] - average) * 5 / step
    assert torch.allclose(line.weight, average)
    assert not torch.allclose(average, weights[-1])
    assert torch.equal(line.weight, validated[0])


def test_epochs_that_run_out_are_said_with_what_to_do():
    history = by_epochs(a_model(), map(float, range(99)), replace(EPOCHS, epochs=0.75))
    assert (history.steps, history.stopped) == (30, "epochs")
    assert history.summary("Lights") == "Lights: 0.75 epochs, all that it had (best at 0.75)"
    assert history.warning("Lights") == "Lights trained for 75% of an epoch; train again with a higher --epochs"
    more = by_epochs(a_model(), map(float, range(99)), replace(EPOCHS, epochs=2))
    assert more.warning("Lights") == (
        "Lights was still improving when its training ended; train again with a higher --epochs"
    )
    flat = by_epochs(a_model(), [0.1, 0.5, 0.4, 0.3], replace(EPOCHS, epochs=1.9, patience=9))
    assert (flat.stopped, flat.warning("Lights")) == ("epochs", None)


@pytest.mark.parametrize(("killed_at", "evaluated"), [(59, 2), (61, 3), (79, 3)])
def test_by_epochs_too_a_killed_and_resumed_run_ends_as_an_uninterrupted_one(tmp_path, killed_at, evaluated):
    metrics = [0.1, 0.5, 0.3, 0.2]
    whole, victim, heir = a_model(), a_model(), a_model(seed=99)
    wanted = by_epochs(whole, metrics)
    with pytest.raises(Killed):
        by_epochs(victim, metrics, killed_at=killed_at, checkpoints=tmp_path)
    history = by_epochs(heir, metrics[evaluated:], checkpoints=tmp_path)
    assert (fingerprint(heir), history) == (fingerprint(whole), wanted)


def test_time_ends_a_training_by_epochs_for_good(tmp_path):
    model, again = a_model(), a_model(seed=99)
    first = by_epochs(model, [0.5], checkpoints=tmp_path, limit=TimeLimit(0.0))
    assert (first.stopped, first.steps, first.best_step) == ("time", 1, 1)
    assert first.warning("Lights") == "Lights trained for 2% of an epoch; train again with a higher --minutes"
    assert by_epochs(again, [], checkpoints=tmp_path, killed_at=0) == first
    assert fingerprint(again) == fingerprint(model)


def test_work_of_others_takes_nothing_from_a_training_limited_by_its_own():
    model, waited = a_model(), iter([True] * 3)
    loss_of = drawing(model)

    def slow_loss(rng):
        if next(waited, False):
            sleep(0.2)  # as on a machine whose processor others have
        return loss_of(rng)

    by_work = fit(model, slow_loss, CONFIG, limit=seconds_of_work(0.5, torch.device("cpu")))
    waited = iter([True] * 3)
    by_wall = fit(a_model(), slow_loss, CONFIG, limit=TimeLimit(0.5))
    assert (by_work.stopped, by_wall.stopped, by_wall.steps) == ("steps", "time", 3)


def test_without_a_validation_a_training_by_epochs_has_a_few_and_of_a_tiny_log_some_steps():
    history = fit(a_model(), drawing(a_model()), replace(EPOCHS, epochs=99), examples=HUNDRED)
    assert (history.epochs, history.stopped, history.warning("Lights")) == (5, "epochs", None)
    assert fit(a_model(), drawing(a_model()), replace(EPOCHS, epochs=99), examples=Examples(10, 5)).steps == 100


def test_epochs_of_an_unknown_number_of_examples_are_refused():
    with pytest.raises(ValueError, match="10 epochs of an unknown number of examples"):
        fit(a_model(), drawing(a_model()), EPOCHS)


def test_accumulated_batches_shorten_an_epoch():
    assert HUNDRED.epoch_steps(1) == 40
    assert HUNDRED.epoch_steps(4) == 10
    assert Examples(count=8, per_batch=0.0).epoch_steps(4) == 2  # else one that is never seen would take for ever


def test_by_epochs_progress_counts_these_and_ends_with_how_far_it_came():
    console = Console(file=StringIO(), width=100)
    with Progress(console=console) as progress:
        by_epochs(a_model(), [0.1, 0.2], replace(EPOCHS, epochs=0.75), progress=progress, title="Lights")
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert re.fullmatch(r"Lights  loss \d+\.\d{4}  metric 0\.1000  epoch 0\.50", lines[0])
    assert lines[2:4] == [
        "Lights: 0.75 epochs, all that it had (best at 0.75)",
        "warning: Lights trained for 75% of an epoch; train again with a higher --epochs",
    ]


def test_the_learning_rate_rises_then_falls_to_its_last_share():
    rates = [rate_at(step, 5, 30, 0.05) for step in range(31)]
    assert rates[0] == pytest.approx(1 / 5)
    assert max(rates) == rates[5] == 1.0
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[30] == pytest.approx(0.05)
    assert [rate_at(step, 5, None, 0.05) for step in range(5, 31)] == [1.0] * 26


def test_a_cut_off_checkpoint_is_named(tmp_path):
    model = a_model()
    fit(model, drawing(model), CONFIG, checkpoints=tmp_path)
    whole = (tmp_path / LAST).read_bytes()
    (tmp_path / LAST).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsRefusedError, match="cut off"):
        fit(model, drawing(model), CONFIG, checkpoints=tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_a_gpu_that_is_not_there_is_refused():
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
