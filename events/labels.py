"""From action codes to the labels of the ranker's heads."""

from collections.abc import Mapping, Sequence

import numpy as np

from rankstream.events.impressions import Impressions, followed_by
from rankstream.events.log import EventLog
from rankstream.features.schema import Floats

Heads = Mapping[str, Sequence[str]]  # what is predicted -> the actions any of which makes it true


def head_labels(log: EventLog, heads: Heads) -> Floats:
    """Return the labels of each action code, ``(1 + action types, heads)``; row 0 is padding's."""
    labels = np.zeros((1 + len(log.vocabulary.actions), len(heads)), np.float32)
    for column, actions in enumerate(heads.values()):
        labels[log.codes_of(actions), column] = 1.0
    return labels


def list_labels(log: EventLog, shown: Impressions, heads: Heads) -> Floats:
    """Return what was done to each shown item, ``(n, heads)``."""
    labels = np.zeros((len(shown.item_ids), len(heads)), np.float32)
    rows, acted = followed_by(shown, log.acts)
    np.maximum.at(labels, rows, head_labels(log, heads)[log.actions[acted]])
    return labels
