"""How long a training lasts and how its learning rate runs; plain numbers.

Two courses. With a fixed number of steps the rate falls from the warm-up on, over all of them. With epochs nobody knows
the end beforehand, so the rate is held, and the average of the newest weights (``average.py``) is what is validated and
kept::

    rate                                     rate
     |  /--._                                 |  /-------------------  until the validation of the
     | /     '-._                             | /          [ average ]  average stalls
     |/          '-.__ steps                  |/
"""

from dataclasses import dataclass
from math import ceil, cos, pi

FEWEST_BETWEEN = 20  # steps between evaluations, however short an epoch is: fewer move a metric less than its noise
EVALUATIONS = 4  # an epoch
UNVALIDATED_EPOCHS, UNVALIDATED_STEPS = 5, 100  # of a training that nothing stops: about what small logs take


@dataclass(frozen=True)
class Examples:
    """What a training learns from: an epoch is a step for each so many of them."""

    count: int  # all there are
    per_batch: float  # of them in a micro-batch, on average

    def epoch_steps(self, accumulation_steps: int) -> float:
        """Return how many steps see as many examples as there are; of rare ones, one a batch is assumed."""
        return max(self.count, 1) / (max(self.per_batch, 1.0) * accumulation_steps)


def evaluation_steps(epoch_steps: float, most: int) -> int:
    """Return how many steps lie between evaluations: a few an epoch, at most ``most``."""
    return min(most, max(FEWEST_BETWEEN, ceil(epoch_steps / EVALUATIONS)))


def unvalidated_steps(epoch_steps: float) -> int:
    """Return how many steps a training has at most that no validation stops: a few epochs, of tiny logs more."""
    return max(UNVALIDATED_STEPS, ceil(UNVALIDATED_EPOCHS * epoch_steps))


def rate_at(step: int, warm_up: int, steps: int | None, final: float) -> float:
    """Return the share of the learning rate at a step, counted from 0.

    It rises in a line over ``warm_up`` steps. Then it is 1, or half a cosine down to ``final`` after ``steps``.
    """
    if step < warm_up:
        return (step + 1) / warm_up
    if steps is None:
        return 1.0
    done = (step - warm_up) / max(steps - warm_up, 1)
    return final + (1 - final) * (1 + cos(pi * min(done, 1.0))) / 2
