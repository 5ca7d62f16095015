"""Where the encoders' part of a log ends, and the requests begin that the ranker learns from.

::

    encoders: 85 %                                       | ranker: 15 %
    u1 a  u2 b  u1 b  u3 a  u2 c ...                     | u1 c  u3 b ...          as a rule
    u1 a  u2 b  u1 b ...          | u3 a  u2 c  u1 c ... | u1 q  u1 r  u1 s ...    where the end brings what is new

A request can be learned from where its item was known before the cut. Where a log ends with imports of what is new,
hardly any is, so the ranker is given more of the log.
"""

import numpy as np
import numpy.typing as npt

from rankstream.events.arrivals import LogError
from rankstream.events.log import EventLog
from rankstream.events.sequences import TIME_BITS
from rankstream.models.recipes.bundle import BundleRecipe
from rankstream.models.recipes.encoders import EncoderRecipe
from rankstream.models.users.pinnerformer_training import nothing_ahead

CUTS = 4  # that are tried
EARLIER_CUTS = (0.82, 0.65)  # of the encoders' part, tried where the rest holds hardly any request
FEW_REQUESTS = 300  # of which a tenth is held out
HARDLY_ANY = 0.1  # of the requests that a part of its size holds in the whole log
UNCUT = (
    "the log is too short to train encoders on its first part and the ranker on what comes after: both learn from all "
    "of it, and the ranker sees no matches, nor what items are, as these would know what it is to predict"
)
EARLIER = (
    "note: the log's last actions leave the ranker hardly any request whose item was known before, so it learns from "
    "an earlier part of the log, too"
)


def cut_between(past: EventLog, recipe: BundleRecipe) -> int | None:
    """Return when the encoders' part of a log ends and the ranker's requests begin.

    A part that nothing can be learned from grows until something can; None where none of them leaves a request. It
    shrinks where it leaves hardly any. Shown lists bring what was not taken with them, and are asked for no more.
    """
    since_ms = _first_cut(past, recipe)
    if past.impressions is not None:
        return since_ms
    most = 0 if since_ms is None else _requests(past, since_ms)
    for share in EARLIER_CUTS:
        if since_ms is not None and not _is_poor(past, since_ms, most):
            break
        earlier_ms = past.time_at(share * recipe.encoders_share)
        count = _requests(past, earlier_ms)
        if count > most and _is_learnable(past.split_at(earlier_ms)[0], recipe.encoders):
            since_ms, most = earlier_ms, count
    return since_ms


def note_on_cut(past: EventLog, recipe: BundleRecipe, since_ms: int | None) -> str | None:
    """Return what people are to know of a cut; None of one where it is as a rule."""
    if since_ms is None:
        return UNCUT
    return EARLIER if since_ms < past.time_at(recipe.encoders_share) else None


def _first_cut(past: EventLog, recipe: BundleRecipe) -> int | None:
    for share in np.linspace(recipe.encoders_share, 1.0, CUTS, endpoint=False).tolist():
        since_ms = past.time_at(share)
        earlier, later = past.split_at(since_ms)
        if _is_learnable(earlier, recipe.encoders) and np.isin(later.item_ids, earlier.item_ids).any():
            return since_ms
    return None


def _is_poor(past: EventLog, since_ms: int, requests: int) -> bool:
    """Return whether the part from a time on holds so few requests that it teaches little, and is unlike the log."""
    later = past.times_ms >= since_ms
    return requests < min(FEW_REQUESTS, HARDLY_ANY * float(np.mean(later)) * _steps(past, np.ones_like(later)))


def _requests(past: EventLog, since_ms: int) -> int:
    """Return how many requests from a time on have an item that was known before it."""
    later = past.times_ms >= since_ms
    return _steps(past, later & np.isin(past.item_keys, past.item_keys[~later]))


def _steps(past: EventLog, chosen: npt.NDArray[np.bool_]) -> int:
    """Return at how many times users did some of the chosen actions."""
    rows = past.by_user.order
    times = past.by_user.users << TIME_BITS | past.times_ms[rows]
    return len(np.unique(times[chosen[rows]]))


def _is_learnable(past: EventLog, recipe: EncoderRecipe) -> bool:
    try:
        check_learnable(past, recipe)
    except LogError:
        return False
    return True


def check_learnable(past: EventLog, recipe: EncoderRecipe) -> None:
    """Raise ``LogError`` for a log that the recipe can't learn from."""
    counts = np.diff(past.by_user.starts)
    if np.count_nonzero(counts >= 2) < 2:
        raise LogError(
            f"{len(past):,} actions of {len(counts):,} users lie before the training's end, and fewer than two users "
            "acted twice, of whom alone can be learned what comes next; give a longer log, a later --until, or the "
            "column that says who acted with --map user_id=COLUMN"
        )
    wanted = np.isin(past.actions, past.codes_of(recipe.positives))
    if np.count_nonzero(wanted) < 2:
        raise LogError(
            f"{np.count_nonzero(wanted)} actions before the training's end are {' or '.join(recipe.positives)}, the "
            "positive feedback to learn from; name other actions with --positive, or a later --until"
        )
    horizon_ms = recipe.pinnerformer.horizon_ms
    if not _follows_something(past, wanted, horizon_ms):
        raise LogError(nothing_ahead(len(counts), recipe.positives, horizon_ms))


def _follows_something(past: EventLog, wanted: npt.NDArray[np.bool_], horizon_ms: int) -> bool:
    """Return whether any of the ``wanted`` actions is later than another one of its user, by at most ``horizon_ms``."""
    rows = past.by_user.order
    times_ms = past.times_ms[rows]
    keys = past.by_user.users << TIME_BITS | times_ms
    mine = np.flatnonzero(wanted[rows])
    earliest = np.searchsorted(keys, keys[mine] - np.minimum(horizon_ms, times_ms[mine]))
    return bool(np.any(earliest < np.searchsorted(keys, keys[mine])))
