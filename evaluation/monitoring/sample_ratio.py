"""Whether the variants of an experiment have as many users as they were to have.

Where they have not, something loses users of one of the two, or moves them to the other, and those who are left are not
alike: then no comparison of the two means anything, however sure it looks (Fabijan et al., "Diagnosing Sample Ratio
Mismatch in Online Controlled Experiments", KDD 2019). Feeds name the share that was set when they were ranked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rankstream.evaluation.monitoring.feeds import SeenFeed
from rankstream.metrics.sample_ratio import share_p_value
from rankstream.ranking.experiment import TREATMENT

IMPROBABLE = 1e-3  # one look in a thousand at a sound experiment says that it is not


@dataclass(frozen=True)
class SampleRatio:
    """The users of both variants while the treatment was to have one share of them."""

    share: float
    treatment: int  # users
    control: int

    @property
    def users(self) -> int:
        """Return how many there are of both."""
        return self.treatment + self.control

    @property
    def p_value(self) -> float:
        """Return how probable numbers as unlikely as these are, if nothing is wrong."""
        return share_p_value(self.treatment, self.users, self.share)

    @property
    def is_mismatch(self) -> bool:
        """Return whether something is wrong, as good as surely."""
        return self.p_value < IMPROBABLE

    @property
    def warning(self) -> str:
        """Return what a mismatch means, in words."""
        return (
            f"{self.treatment:,} of {self.users:,} users ({self.treatment / self.users:.2%}) had the treatment where "
            f"{self.share:.2%} were set (p = {self.p_value:.1g}): something loses users of one variant or moves "
            "them, so don't trust what differs between the two before you know what"
        )


def sample_ratios(feeds: Sequence[SeenFeed]) -> list[SampleRatio]:
    """Return one of each share that feeds name, in the order in which they came; ``feeds`` are oldest first."""
    # By a user's first variant of a share: later feeds add nothing, and were those who moved left out, a sound share
    # would seem wrong.
    first: dict[float, dict[bytes, str]] = {}
    for one in feeds:
        if one.share is not None:
            first.setdefault(one.share, {}).setdefault(one.user, one.variant)
    return [_counted(share, list(variants.values())) for share, variants in first.items()]


def _counted(share: float, variants: Sequence[str]) -> SampleRatio:
    treatment = variants.count(TREATMENT)
    return SampleRatio(share, treatment, len(variants) - treatment)
