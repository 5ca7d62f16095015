"""Writes obp_reference.json: inputs, and what the Open Bandit Pipeline (obp) makes of them.

obp pins Python below 3.11, numpy 1.23.5 and torch 1.12, so it can't live in this project's environment. It runs in one
of its own, with the pins ignored or on an old Python; both lead to these numbers::

    python -m venv obp-venv
    obp-venv/bin/pip install --no-deps --ignore-requires-python obp==0.5.7 seaborn pyieoe pingouin
    obp-venv/bin/pip install numpy pandas scipy scikit-learn matplotlib pyyaml tqdm torch
    obp-venv/bin/python tests/evaluation/off_policy/obp_reference.py

Imports nothing of this project.
"""

import json
import sys
from pathlib import Path

import numpy as np

REFERENCE = Path(__file__).with_suffix(".json")
ACTIONS, POSITIONS = 5, 3
CLIP = 1.5


def softmaxes(rng, requests, width):
    return softmax(rng.normal(size=(requests, width)), np.ones((requests, width), bool)).round(9)


def softmax(logits, eligible):
    weights = np.exp(logits) * eligible
    return weights / weights.sum(axis=1, keepdims=True)


def some_actions(requests=40):
    """One action a request: rewards, what was done, both policies, a model."""
    rng = np.random.default_rng(11)
    actions = rng.integers(0, ACTIONS, requests)
    return {
        "actions": actions.tolist(),
        "rewards": rng.integers(0, 2, requests).astype(float).tolist(),
        "logged": softmaxes(rng, requests, ACTIONS)[np.arange(requests), actions].tolist(),
        "target": normalized(softmaxes(rng, requests, ACTIONS)).tolist(),  # (n, A)
        "model": rng.random((requests, ACTIONS)).round(9).tolist(),  # (n, A)
    }


def some_slates(requests=30):
    """Three positions a request: the first three of an order, the target's distribution at each position, a model."""
    rng = np.random.default_rng(12)
    orders = np.array([rng.permutation(ACTIONS)[:POSITIONS] for _ in range(requests)])
    logits = rng.normal(size=(requests, ACTIONS))
    rows, eligible, target = np.arange(requests), np.ones((requests, ACTIONS), bool), []
    for position in range(POSITIONS):
        target.append(softmax(logits, eligible))
        eligible[rows, orders[:, position]] = False
    return {
        "actions": orders.tolist(),
        "rewards": rng.integers(0, 2, (requests, POSITIONS)).astype(float).tolist(),
        "logged": rng.uniform(0.1, 0.9, (requests, POSITIONS)).round(9).tolist(),
        "target": np.stack(target, axis=1).tolist(),  # (n, K, A)
        "model": rng.random((requests, POSITIONS, ACTIONS)).round(9).tolist(),  # (n, K, A)
    }


def normalized(rows):
    return rows / rows.sum(axis=1, keepdims=True)


def of_actions(given):
    """What obp makes of single actions, without clipping and with; its self-normalized estimator takes no clip."""
    from obp import ope

    logged = {
        "reward": np.array(given["rewards"]),
        "action": np.array(given["actions"]),
        "pscore": np.array(given["logged"]),
        "action_dist": np.array(given["target"])[:, :, None],
    }
    model = {"estimated_rewards_by_reg_model": np.array(given["model"])[:, :, None]}
    return {
        "ips": ope.InverseProbabilityWeighting().estimate_policy_value(**logged),
        "snips": ope.SelfNormalizedInverseProbabilityWeighting().estimate_policy_value(**logged),
        "dm": ope.DirectMethod().estimate_policy_value(action_dist=logged["action_dist"], **model),
        "dr": ope.DoublyRobust().estimate_policy_value(**logged, **model),
        "ips clipped": ope.InverseProbabilityWeighting(lambda_=CLIP).estimate_policy_value(**logged),
        "dr clipped": ope.DoublyRobust(lambda_=CLIP).estimate_policy_value(**logged, **model),
    }


def of_slates(given):
    """What obp makes of slates, by prefixes (the cascade) and by the whole list."""
    from obp import ope

    orders, logged, target = (np.array(given[name]) for name in ("actions", "logged", "target"))
    placed = np.take_along_axis(target, orders[:, :, None], axis=2)[:, :, 0]
    prefixes = [np.cumprod(one, axis=1) for one in (logged, placed)]
    flat = {
        "slate_id": np.repeat(np.arange(len(orders)), POSITIONS),
        "position": np.tile(np.arange(POSITIONS), len(orders)),
        "reward": np.array(given["rewards"]).ravel(),
    }
    by_prefix = {
        "pscore_cascade": prefixes[0].ravel(),
        "evaluation_policy_pscore_cascade": prefixes[1].ravel(),
    }
    by_list = {
        "pscore": np.repeat(prefixes[0][:, -1], POSITIONS),
        "evaluation_policy_pscore": np.repeat(prefixes[1][:, -1], POSITIONS),
    }
    modelled = {
        "action": orders.ravel(),
        "q_hat": np.array(given["model"]).ravel(),
        "evaluation_policy_action_dist": target.ravel(),
    }
    cascade = ope.SlateCascadeDoublyRobust(POSITIONS, n_unique_action=ACTIONS)
    return {
        "ips": ope.SlateRewardInteractionIPS(POSITIONS).estimate_policy_value(**flat, **by_prefix),
        "snips": ope.SelfNormalizedSlateRewardInteractionIPS(POSITIONS).estimate_policy_value(**flat, **by_prefix),
        "dr": cascade.estimate_policy_value(**flat, **by_prefix, **modelled),
        "whole list": ope.SlateStandardIPS(POSITIONS).estimate_policy_value(**flat, **by_list),
        "whole list, self-normalized": ope.SelfNormalizedSlateStandardIPS(POSITIONS).estimate_policy_value(
            **flat, **by_list
        ),
    }


def main():
    """Write the file."""
    import obp

    given = {"actions": some_actions(), "slates": some_slates()}
    answers = {"actions": of_actions(given["actions"]), "slates": of_slates(given["slates"])}
    answers = {kind: {name: float(value) for name, value in found.items()} for kind, found in answers.items()}
    made_by = {"obp": obp.__version__, "numpy": np.__version__, "python": sys.version.split()[0]}
    REFERENCE.write_text(json.dumps({"made_by": made_by, "answers": answers, "given": given}, indent=1) + "\n")
    print(json.dumps({"made_by": made_by, "answers": answers}, indent=1))


if __name__ == "__main__":
    main()
