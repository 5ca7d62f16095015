"""The same inputs yield what the Open Bandit Pipeline yields, to 1e-9 (``obp_reference.py`` runs it)."""

import json

import numpy as np
import pytest

from rankstream.evaluation.off_policy.estimators import (
    direct,
    doubly_robust,
    inverse_propensity,
    prefix_weights,
    self_normalized,
    whole_list,
)
from tests.evaluation.off_policy.obp_reference import CLIP, REFERENCE, of_actions, of_slates

WRITTEN = json.loads(REFERENCE.read_text())


def ours_of_actions(given):
    actions = np.array(given["actions"])[:, None]
    rewards, logged = (np.array(given[name])[:, None] for name in ("rewards", "logged"))
    target, model = np.array(given["target"]), np.array(given["model"])
    predicted = np.take_along_axis(model, actions, axis=1)
    expected = (target * model).sum(axis=1, keepdims=True)
    unclipped = prefix_weights(logged, np.take_along_axis(target, actions, axis=1))
    found = {"dm": direct(expected), "snips": self_normalized(rewards, unclipped)}
    for name, clip in (("", None), (" clipped", CLIP)):
        weights = prefix_weights(logged, np.take_along_axis(target, actions, axis=1), clip)
        found["ips" + name] = inverse_propensity(rewards, weights)
        found["dr" + name] = doubly_robust(rewards, weights, predicted, expected)
    return {name: terms.value for name, terms in found.items()}


def ours_of_slates(given):
    actions, rewards, logged, target, model = (
        np.array(given[name]) for name in ("actions", "rewards", "logged", "target", "model")
    )
    placed, predicted = (np.take_along_axis(one, actions[:, :, None], axis=2)[:, :, 0] for one in (target, model))
    weights = prefix_weights(logged, placed)
    found = {
        "ips": inverse_propensity(rewards, weights),
        "snips": self_normalized(rewards, weights),
        "dr": doubly_robust(rewards, weights, predicted, (target * model).sum(axis=2)),
        "whole list": inverse_propensity(rewards, whole_list(weights)),
        "whole list, self-normalized": self_normalized(rewards, whole_list(weights)),
    }
    return {name: terms.value for name, terms in found.items()}


OURS = {"actions": ours_of_actions, "slates": ours_of_slates}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in OURS for name in WRITTEN["answers"][kind]])
def test_an_estimate_is_the_one_of_obp(kind, name):
    ours = OURS[kind](WRITTEN["given"][kind])
    assert ours.keys() == WRITTEN["answers"][kind].keys()
    assert ours[name] == pytest.approx(WRITTEN["answers"][kind][name], rel=0, abs=1e-9)


def test_the_answers_are_those_that_obp_returns_here():
    pytest.importorskip("obp", reason="obp pins old Pythons and can't live here; obp_reference.json holds its answers")
    assert of_actions(WRITTEN["given"]["actions"]) == pytest.approx(WRITTEN["answers"]["actions"], abs=1e-9)
    assert of_slates(WRITTEN["given"]["slates"]) == pytest.approx(WRITTEN["answers"]["slates"], abs=1e-9)
