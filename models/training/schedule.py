(
    """How long a training lasts and how its learning rate runs: epochs into steps, warm-up, hold, fall.

Two courses. With a fixed number of steps the rate falls from the warm-up on, over all of them. With epochs nobody knows
the end beforehand: the rate is held until the validation stalls, or the epochs or the time come to their end, and then
falls over a last part, which is a share of what was trained before ("trapezoidal" or "warm-up, stable, decay":
Zhai et al., CVPR'22, section 3.5; Haegele et al., NeurIPS'24)::

    rate                                     rate
     |  /"-._                                 |  /"""
    """"""
    """\\
     | /     "-._                             | /   stalled ->  \\_
     |/          "-.__ steps                  |/                   \\__
"""
)

from dataclasses import dataclass
from math import ceil, cos, pi

FALL = 0.25  # length of the fall, as a share of the steps before it: a fifth of the whole
TIME_BEFORE_FALL = 1 / (1 + FALL)  # share of a limited time that passes before the fall
FEWEST_BETWEEN = 20  # steps between evaluations, however short an epoch is: fewer move a metric less than its noise
EVALUATIONS = 4  # an epoch
UNVALIDATED_EPOCHS = 5.0  # at most, of a training that nothing stops: about as many as small logs take


@dataclass(frozen=True)
class Examples:
    """What a training learns from: an epoch is a step for each so many of them."""

    count: int  # all there are
    per_batch: float  # of them in a micro-batch, on average

    def epoch_steps(self, accumulation_steps: int) -> float:
        """Return how many steps see as many examples as there are."""
        return max(self.count, 1) / (max(self.per_batch, 1e-9) * accumulation_steps)


@dataclass(frozen=True)
class Fall:
    """The steps over which the rate falls; the last one is ``until - 1``."""

    since: int
    until: int


def fall_after(step: int) -> Fall:
    """Return a fall that begins after so many steps."""
    return Fall(step, step + max(1, ceil(step * FALL)))


def steps_before_fall(steps: int) -> int:
    """Return how many of at most ``steps`` come before the fall, so that it ends with the last of them."""
    return max(1, int(steps * TIME_BEFORE_FALL))


def evaluation_steps(epoch_steps: float, most: int) -> int:
    """Return how many steps lie between evaluations: a few an epoch, at most ``most``."""
    return min(most, max(FEWEST_BETWEEN, ceil(epoch_steps / EVALUATIONS)))


def rate_at(step: int, warm_up: int, fall: Fall | None, final: float) -> float:
    """Return the share of the learning rate at a step, counted from 0.

    It rises in a line over ``warm_up`` steps, is 1 until the fall, and then half a cosine down to ``final``.
    """
    rising = min(1.0, (step + 1) / max(warm_up, 1))
    if fall is None or step < fall.since:
        return rising
    done = (step - fall.since) / max(fall.until - fall.since, 1)
    return rising * (final + (1 - final) * (1 + cos(pi * min(done, 1.0))) / 2)
