"""The scorer ``auto``: the fastest here of those that give the golden outputs, found when a bundle is opened.

A scorer that is only a little faster does not displace ONNX Runtime: which of two equal ones serves would depend on
what else the machine does at that moment, and with it the last digits of the scores. What was chosen is in the log and
in ``served-features``, so that a replay takes the same.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from time import thread_time

from rankstream.bundles.golden import read_golden
from rankstream.bundles.manifest import GOLDEN, Manifest
from rankstream.features.schema import ModelInputs, random_inputs
from rankstream.ranking.backends.base import OpenedPart, worst_difference
from rankstream.ranking.backends.scorers import ONNXRUNTIME, OPENVINO_BF16, ScorerRefusedError, open_scorer

TRIED = (OPENVINO_BF16,)  # beside ONNX Runtime
FASTER = 1.1  # times as fast as ONNX Runtime, at least
CANDIDATES = 256  # of the request that is timed, with as many actions as the model sees
ROUNDS = 5

log = logging.getLogger(__name__)


def open_fastest(
    folder: Path, manifest: Manifest, providers: Sequence[str], tried: Sequence[str] = TRIED
) -> OpenedPart:
    """Open the ranker with ONNX Runtime, or with what is at least ``FASTER`` times as fast and gives golden outputs."""
    opened = {ONNXRUNTIME: open_scorer(ONNXRUNTIME, folder, manifest, providers)}
    for name in tried:
        try:
            part = open_scorer(name, folder, manifest, providers)
            check_golden(folder, part)
        except ScorerRefusedError as exc:
            log.warning("scorer auto leaves out %s: %s", name, exc)
        else:
            opened[name] = part
    if len(opened) == 1:
        return opened[ONNXRUNTIME]
    sizes, types = manifest.sizes, len(manifest.vocabulary.actions)
    speeds = measured(opened, random_inputs(sizes, sizes.num_actions, CANDIDATES, types, seed=0))
    chosen = choice_of(speeds)
    told = ", ".join(f"{name} {speed:,.0f}" for name, speed in speeds.items())
    log.info("scorer auto takes %s; candidates a second and core: %s", chosen, told)
    return opened[chosen]


def check_golden(folder: Path, part: OpenedPart) -> None:
    """Raise ``ScorerRefusedError`` for a scorer whose outputs are not the golden ones, within its bound."""
    worst = worst_difference(part, read_golden(folder / GOLDEN))
    if not worst <= part.tolerance:
        raise ScorerRefusedError(f"its outputs are up to {worst:.2g} off the golden ones, wanted {part.tolerance}")


def measured(opened: Mapping[str, OpenedPart], inputs: ModelInputs) -> dict[str, float]:
    """Return each one's candidates a second: the median of rounds in which all take turns, after one to warm up.

    By the time that this thread computes, in which all of them run: what else the machine does counts little.
    """
    seconds: dict[str, list[float]] = {name: [] for name in opened}
    for _ in range(1 + ROUNDS):
        for name, part in opened.items():
            started = thread_time()
            part.serves.score(inputs)
            seconds[name].append(thread_time() - started)
    return {name: inputs.num_candidates / median(times[1:]) for name, times in seconds.items()}


def choice_of(speeds: Mapping[str, float]) -> str:
    """Return the fastest, or ONNX Runtime where that is nearly as fast."""
    best = max(speeds, key=lambda name: speeds[name])
    return best if speeds[best] >= FASTER * speeds[ONNXRUNTIME] else ONNXRUNTIME
