"""Requests joined once, in order of time, each with what was counted of items by then; put together batch by batch.

::

    counted as of   day 1        day 2      day 3
    requests        a b c        d e        f g          joined in turn: one version of the counts is held at a time

So training sees popularity and matches as fresh as serving does, and no epoch joins again. What is kept of a request
are its inputs without the items' vectors, 5 KB: these are the same in all versions and looked up again. Those of items
that came after the encoders' part differ by version, and are kept with the request.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from rankstream.features.embeddings.base import VectorTable
from rankstream.features.ids import Keys
from rankstream.features.join import OfflineFeatures, join
from rankstream.features.schema import Floats, Ints, ModelInputs
from rankstream.models.ranker.examples import RankingExample, matched_user, prepare_sessions
from rankstream.models.ranker.hybrid import RankerBatch, collate

AT_ONCE = 64  # requests whose session vectors are made together


@dataclass(frozen=True)
class LateItems:
    """The items of a request that came after the encoders' part of the log, with their vectors as of its day."""

    places: Ints  # (L,) among its actions and candidates, these behind those
    vectors: npt.NDArray[np.float16]  # (L, I)


@dataclass(frozen=True)
class JoinedRequest:
    """One request as the ranker sees it, with its labels."""

    user_key: int
    inputs: ModelInputs  # without vectors of items: action_items and candidate_items are empty
    actions: Keys  # (T,)
    candidates: Keys  # (N,)
    labels: Floats  # (N, heads)
    log_q: Floats | None  # (N,), see ``RankingExample``
    places: Ints | None = None  # (N,), likewise
    weights: Floats | None = None  # (N,), likewise
    late: LateItems | None = None  # None where all that have a vector have it from the encoders' part


@dataclass(frozen=True)
class JoinedRequests:
    """Requests in the order in which they were joined."""

    items: VectorTable
    requests: Sequence[JoinedRequest]

    @classmethod
    def of(cls, examples: Sequence[RankingExample], offline: OfflineFeatures) -> "JoinedRequests":
        """Join examples, all with the same tables."""
        return cls(offline.items, list(joined_requests(examples, offline)))

    def __len__(self) -> int:
        return len(self.requests)

    @cached_property
    def lengths(self) -> Ints:
        """Return how many actions of each request's history the ranker sees, ``(R,)``."""
        return np.array([len(one.actions) for one in self.requests], np.int64)

    @cached_property
    def have_places(self) -> bool:
        """Return whether it is known of some lists where their items stood."""
        return any(one.places is not None for one in self.requests)

    @cached_property
    def have_weights(self) -> bool:
        """Return whether some requests hold candidates that were drawn beside a list."""
        return any(one.weights is not None for one in self.requests)

    def batch(self, rows: Ints) -> RankerBatch:
        """Return these requests as one batch, with labels."""
        chosen = [self.requests[row] for row in rows.tolist()]
        none = [np.zeros(len(one.labels), np.float32) for one in chosen]
        nowhere = [np.zeros(len(one.labels), np.int64) for one in chosen]
        equal = [np.ones(len(one.labels), np.float32) for one in chosen]
        return collate(
            self._whole(chosen),
            [one.labels for one in chosen],
            weights=[all_1 if one.weights is None else one.weights for one, all_1 in zip(chosen, equal, strict=True)],
            log_q=[nothing if one.log_q is None else one.log_q for one, nothing in zip(chosen, none, strict=True)],
            places=[
                nothing if one.places is None else one.places for one, nothing in zip(chosen, nowhere, strict=True)
            ],
        )

    def inputs(self, row: int) -> ModelInputs:
        """Return what the join returned for this request."""
        return self._whole([self.requests[row]])[0]

    def _whole(self, requests: Sequence[JoinedRequest]) -> list[ModelInputs]:
        """Put the items' vectors back; those of all requests are looked up together."""
        keys = [part for one in requests for part in (one.actions, one.candidates)]
        vectors, _ = self.items.look_up(np.concatenate(keys))
        begin = 0
        for one in requests:
            if one.late is not None:
                vectors[begin + one.late.places] = one.late.vectors
            begin += len(one.actions) + len(one.candidates)
        parts = iter(np.split(vectors, np.cumsum([len(part) for part in keys])[:-1]))
        return [replace(one.inputs, action_items=next(parts), candidate_items=next(parts)) for one in requests]


def joined_requests(
    examples: Sequence[RankingExample], offline: OfflineFeatures, items: VectorTable | None = None
) -> Iterator[JoinedRequest]:
    """Yield examples joined with these tables; ``items`` are those that are looked up again, if not the tables' own."""
    nothing = np.zeros((0, offline.sizes.item_dim), np.float32)
    for start in range(0, len(examples), AT_ONCE):
        some = examples[start : start + AT_ONCE]
        prepare_sessions(some, offline)
        for one in some:
            user = matched_user(one, offline)
            inputs = join(user, one.candidates, offline, one.surface)
            actions = user.user.actions[: offline.sizes.num_actions].item_keys
            yield JoinedRequest(
                one.user_key,
                replace(inputs, action_items=nothing, candidate_items=nothing),
                actions,
                one.candidates,
                one.labels,
                one.log_q,
                one.places,
                one.weights,
                None if items is None else _late(np.concatenate([actions, one.candidates]), items, offline.items),
            )


def _late(keys: Keys, items: VectorTable, as_of_day: VectorTable) -> LateItems | None:
    """Return which of these only the tables of the day know; None where there are none."""
    places = np.flatnonzero(~items.look_up(keys)[1])
    vectors, found = as_of_day.look_up(keys[places])
    return LateItems(places[found], vectors[found].astype(np.float16)) if found.any() else None
