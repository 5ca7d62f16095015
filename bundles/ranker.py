"""The part that ranks: one graph run once a request, one for its candidates.

::

    user.onnx        USER_INPUTS of features/schema.py  ->  named tensors
    candidate.onnx   those, and CANDIDATE_INPUTS        ->  probabilities (N, heads)

Its numbers are between 0 and 1. That a head's are probabilities is a claim: it is made of the heads that the fact
``calibrated`` names, the others' are scores that order candidates and mean no more. Bundles written before the fact
was known claim nothing.

Golden cases ``ranker``: the arrays of ``ModelInputs``, and ``probabilities``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rankstream.bundles.golden import Arrays, arrays_of
from rankstream.bundles.parts import Part
from rankstream.features.schema import FeatureSizes, Floats, ModelInputs, random_inputs

RANKER = "ranker"
USER_GRAPH = "user.onnx"
CANDIDATE_GRAPH = "candidate.onnx"
RANKER_CASE = "ranker"

CALIBRATED = "calibrated"  # the fact
STRANGERS = "strangers"  # the fact of one whose graphs weigh logits and counts where no action is known: by what
SEEN_LOGIT = "seen_logit"  # the fact of a ranker whose graphs move what is in the user's history by it

CANDIDATES = (1, 3, 65)  # one alone, a few, one more than a chunk of the backend


def ranker_part(
    sizes: FeatureSizes,
    model: str = "",
    calibrated: Sequence[str] | None = None,
    seen_logit: float = 0.0,
    strangers: Mapping[str, Any] | None = None,
) -> Part:
    """Return what the manifest lists of a ranker of these sizes."""
    facts: dict[str, Any] = {} if calibrated is None else {CALIBRATED: list(calibrated)}
    if seen_logit:
        facts[SEEN_LOGIT] = seen_logit
    if strangers is not None:
        facts[STRANGERS] = dict(strangers)
    return Part(kind=RANKER, model=model, files=(USER_GRAPH, CANDIDATE_GRAPH), sizes=asdict(sizes), facts=facts)


def calibrated_heads(parts: Sequence[Part]) -> tuple[str, ...] | None:
    """Return the heads whose numbers are probabilities; None where the bundle does not say."""
    facts = next((part.facts for part in parts if part.kind == RANKER), {})
    return tuple(facts[CALIBRATED]) if CALIBRATED in facts else None


def ranks_seen_last(parts: Sequence[Part]) -> bool:
    """Return whether candidates that stand in the user's history are served as what nothing will come of."""
    return any(part.facts.get(SEEN_LOGIT, 0.0) < 0.0 for part in parts if part.kind == RANKER)


def ranker_case(inputs: ModelInputs, probabilities: Floats) -> Arrays:
    """Return a golden case: inputs of a request, and the probabilities ``(N, heads)`` of its candidates."""
    return arrays_of(inputs) | {"probabilities": probabilities}


def golden_inputs(sizes: FeatureSizes, num_types: int) -> list[ModelInputs]:
    """Draw the inputs that every ranker is verified on: from no action to as many as the encoder sees."""
    actions = sorted({0, 1, min(7, sizes.num_actions), sizes.num_actions})
    shapes = [(count, candidates) for count in actions for candidates in CANDIDATES]
    return [random_inputs(sizes, count, many, num_types, seed) for seed, (count, many) in enumerate(shapes)]
