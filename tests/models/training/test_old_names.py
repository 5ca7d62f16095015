import json
from dataclasses import asdict

import pytest
import torch

from rankstream.models.ranker.hybrid import HybridRanker, RankerConfig
from rankstream.models.training.checkpoints import fingerprint, load_weights, read_whole, write_whole
from rankstream.models.training.loop import LAST, FitConfig, ResumeRefusedError, fit
from rankstream.models.training.old_names import FIELDS, current_fields
from tests.builders.ranker import a_config, a_ranker
from tests.builders.training import Killed, a_model, drawing

CONFIG = FitConfig(steps=8, warm_up=2, checkpoint_every=4)


def stopped_by_0_1_0(folder):
    """Leave a checkpoint of a training that was killed, with the name that 0.1.0 had for accumulation steps."""
    model = a_model()
    with pytest.raises(Killed):
        fit(model, drawing(model, killed_at=6), CONFIG, checkpoints=folder)
    state = read_whole(folder / LAST)
    settings = json.loads(state["settings"])
    settings["config"]["draws"] = settings["config"].pop("accumulation_steps")
    write_whole(folder / LAST, state | {"settings": json.dumps(settings, sort_keys=True)})


def test_a_training_that_0_1_0_began_is_resumed(tmp_path):
    whole, heir = a_model(), a_model(seed=99)
    fit(whole, drawing(whole), CONFIG)
    stopped_by_0_1_0(tmp_path)
    fit(heir, drawing(heir), CONFIG, checkpoints=tmp_path)
    assert fingerprint(heir) == fingerprint(whole)


def test_its_settings_must_still_be_the_same(tmp_path):
    stopped_by_0_1_0(tmp_path)
    with pytest.raises(ResumeRefusedError, match=r"other settings \(accumulation_steps\)"):
        fit(
            a_model(), drawing(a_model()), FitConfig(**asdict(CONFIG) | {"accumulation_steps": 2}), checkpoints=tmp_path
        )


def test_weights_of_a_ranker_are_those_of_the_hybrid_ranker(tmp_path):
    ranker, path = a_ranker(), tmp_path / "ranker.pt"
    weights = {name: tensor.detach() for name, tensor in ranker.state_dict().items()}
    write_whole(path, {"format": 1, "model": "Ranker", "config": json.dumps(asdict(a_config())), "weights": weights})
    loaded = load_weights(path, HybridRanker, RankerConfig)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in loaded.state_dict().items())


def test_fields_are_renamed_at_any_depth():
    saved = {"encoders": {"most_scored": 9, "hiertcn": {"most_cases": 3, "fit": {"draws": 2}}}, "chain": [{"least": 1}]}
    assert current_fields(saved) == {
        "encoders": {"max_scored": 9, "hiertcn": {"max_queries": 3, "fit": {"accumulation_steps": 2}}},
        "chain": [{"min_actions": 1}],
    }


def test_fields_that_came_later_are_read_as_what_was_done_before_and_those_that_went_are_left_out():
    saved = {"drawn": 200, "fit": {"warm_up": 1}, "hiertcn": {"learn_temperature": True}}
    assert current_fields(saved) == {
        "fit": {"warm_up": 1, "epochs": None},
        "hiertcn": {"learn_temperature": True, "pool": None},
    }


@pytest.mark.parametrize("name", FIELDS)
def test_heads_and_actions_of_a_log_keep_their_names(name):
    saved = {"heads": {name: [name]}, "utility": {name: 1.0}, "positives": [name]}
    assert current_fields(saved) == saved
