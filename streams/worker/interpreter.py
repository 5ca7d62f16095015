"""What a worker, or a gateway, asks of the interpreter that runs it, once what it needs is loaded."""

import gc
import sys

GC_THRESHOLDS = (50_000, 20, 100)  # the states are no garbage: looking for it less often gives 15 % more events/s
SWITCH_S = 0.001  # that a thread computes on while another wants the lock; Python's own 5 ms are as long as an answer


def settle() -> None:
    """Leave what is loaded out of garbage collections, and have threads give way to each other sooner.

    The consumer's thread lets the lock go at each system call and wants it back behind it, while the loop computes: it
    is what brings the next request.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_S)
