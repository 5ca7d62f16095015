"""The default training without realtime actions: what batch vectors and popularity alone are worth."""

from rankstream.evaluation.replay.variants import NEVER
from rankstream.experiments.feed.replayed import variant_of
from rankstream.experiments.feed.rivals.base import Entry


def rank(entry: Entry) -> str:
    """Rank by the product's bundle and its user vectors of the cut; no action reaches its states."""
    entry.replay([variant_of(entry.row, entry.product, entry.task.cut_ms, entry.task.log.impressions, delay_ms=NEVER)])
    return "nothing is trained"
