"""What the demo's feeds are held against: the baselines of replay, learning as the traffic goes on."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from rankstream.cli.demo.scoreboard import ITEM_KNN, POPULAR, VMIS_KNN
from rankstream.cli.demo.traffic import POSITIVE, Step
from rankstream.evaluation.baselines.held_out_log import Moment, scores_at
from rankstream.evaluation.baselines.popularity import POPULARITY
from rankstream.evaluation.baselines.ranks import noise_of, ranks_at
from rankstream.events.log import EventLog
from rankstream.features.ids import id_keys

NAMES = {POPULAR: POPULARITY, ITEM_KNN: "item-kNN", VMIS_KNN: "VMIS-kNN"}  # on the scoreboard -> the baseline's own


def baseline_ranks(log: EventLog, steps: Sequence[Step]) -> Iterator[Mapping[str, int]]:
    """Yield, for each step with a request, the rank of its item among its candidates by each baseline, from 1.

    A baseline knows what all users did before the step's time, and nothing of that time.
    """
    asking = [step for step in steps if step.candidates]
    keys = np.unique(log.item_keys)
    positives = sum(1 << int(code) for code in log.codes_of(POSITIVE))
    moments = [Moment(step.user_id, step.timestamp_ms) for step in asking]
    scores = scores_at(log, moments, keys, positives, impressions=False)
    for step, asked in zip(asking, scores.asked, strict=True):
        candidates = id_keys(step.candidates)
        rows, mine = np.searchsorted(keys, candidates), step.candidates.index(step.item_id)
        noise = noise_of(candidates, step.user_id, step.timestamp_ms)
        popular = asked.scores[POPULARITY].of(rows)
        yield {
            name: int(ranks_at(np.array([mine]), noise, asked.scores[baseline].of(rows), popular)[mine])
            for name, baseline in NAMES.items()
        }
