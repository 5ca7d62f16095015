"""Time as PinnerFormer sees it: angles of fixed periods, and logarithms.

Plain numpy, shared by training, refresh and all that feeds the exported encoder: milliseconds since 1970 do not fit
a float32, so each time is reduced here, in integers, to its offset within a period, and only that reaches a model.
The model adds a learned phase to each angle and takes sine and cosine (Time2vec with fixed periods; KDD'22, 3.1).

Three views of the time of an action, and their features in this order::

    absolute                                12 periods of 15 minutes to a year     angles 0..11,  log 0
    latest action of the sequence - this    32 periods, log-spaced 1 s to 4 weeks  angles 12..43, log 1
    this - the action before it             the same 32                            angles 44..75, log 2
"""

import numpy as np
import numpy.typing as npt

from rankstream.features.schema import Floats

Times = npt.NDArray[np.int64]

SECOND_MS = 1000
HOUR_MS = 3600 * SECOND_MS
DAY_MS = 24 * HOUR_MS

ABSOLUTE_PERIODS_MS = np.array(
    [HOUR_MS // 4, HOUR_MS // 2, HOUR_MS * 3 // 4, *(HOUR_MS * h for h in (1, 2, 4, 8, 16))]
    + [DAY_MS * d for d in (1, 7, 28, 365)],
    np.int64,
)
RELATIVE_PERIODS_MS = np.round(np.geomspace(SECOND_MS, 28 * DAY_MS, 32)).astype(np.int64)
NUM_ANGLES = len(ABSOLUTE_PERIODS_MS) + 2 * len(RELATIVE_PERIODS_MS)  # 76
NUM_LOGS = 3
SINCE_LATEST = slice(12, 44)  # the angles of the second view
EPOCH_LOG = 20.0  # log(seconds since 1970) is about 20.6 to 21.6 from 1997 on: centred, it has a useful size
LOG_SCALE = 10.0  # log1p(seconds) of a gap reaches 15


def time_features(times_ms: Times, lengths: Times | None = None) -> tuple[Floats, Floats]:
    """Return angles ``(..., T, 76)`` in radians and logarithms ``(..., T, 3)`` of times ``(..., T)``, oldest first.

    ``lengths (...)`` is how many times of each row are real (all by default); the rest is padding, whose features mean
    nothing and reach no real row.
    """
    count = times_ms.shape[-1]
    if not count:
        return np.zeros((*times_ms.shape, NUM_ANGLES), np.float32), np.zeros((*times_ms.shape, NUM_LOGS), np.float32)
    last = np.full(times_ms.shape[:-1], count, np.int64) if lengths is None else np.maximum(lengths, 1)
    latest = np.take_along_axis(times_ms, last[..., None] - 1, axis=-1)
    since_latest = np.maximum(latest - times_ms, 0)
    gaps = np.maximum(np.diff(times_ms, axis=-1, prepend=times_ms[..., :1]), 0)
    angles = [
        _angles(times_ms, ABSOLUTE_PERIODS_MS),
        _angles(since_latest, RELATIVE_PERIODS_MS),
        _angles(gaps, RELATIVE_PERIODS_MS),
    ]
    logs = [
        np.log(np.maximum(times_ms, SECOND_MS) / SECOND_MS) - EPOCH_LOG,
        np.log1p(since_latest / SECOND_MS) / LOG_SCALE,
        np.log1p(gaps / SECOND_MS) / LOG_SCALE,
    ]
    return np.concatenate(angles, axis=-1), np.stack(logs, axis=-1).astype(np.float32)


def _angles(times_ms: Times, periods_ms: Times) -> Floats:
    """Return the angle of each time in each period, ``(..., T)`` -> ``(..., T, P)``."""
    offsets_ms = times_ms[..., None] % periods_ms  # integers: exact however long ago 1970 was
    return (offsets_ms * (2 * np.pi / periods_ms)).astype(np.float32)
