"""The rows of the ranker's table: which part of the full hybrid each one replaces, as values.

The most important first, so that a run that is stopped early has those.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from rankstream.experiments.kuairand.encoder_baselines import (
    Append,
    AverageItems,
    AverageRows,
    Compressed,
    Compression,
    Convolution,
    ItemTransformer,
    Lstm,
    NoSequence,
    Rnn,
    Untyped,
    first,
    first_and_max,
    largest,
    random_rows,
)
from rankstream.experiments.kuairand.rated import RatedRanker
from rankstream.features.schema import CONTEXT_NAMES
from rankstream.models.ranker.hybrid import HybridRanker, RankerBatch, RankerConfig, SequenceEncoder
from rankstream.models.ranker.transact import TransAct, TransActConfig

Ablate = Callable[[RankerBatch], RankerBatch]  # zeroes some of the ranker's inputs
REALTIME = tuple(CONTEXT_NAMES.index(name) for name in ("log_actions", "log_age_hours", "any_action"))
USER_FOUND = (CONTEXT_NAMES.index("user_found"),)


def _without_context(batch: RankerBatch, columns: tuple[int, ...]) -> RankerBatch:
    contexts = batch.contexts.clone()
    contexts[:, list(columns)] = 0.0
    return replace(batch, contexts=contexts)


def without_user_vectors(batch: RankerBatch) -> RankerBatch:
    """Zero PinnerFormer's vectors."""
    return _without_context(replace(batch, user_vectors=torch.zeros_like(batch.user_vectors)), USER_FOUND)


def without_sessions(batch: RankerBatch) -> RankerBatch:
    """Zero HierTCN's vectors."""
    return replace(batch, session_vectors=torch.zeros_like(batch.session_vectors))


def without_realtime(batch: RankerBatch) -> RankerBatch:
    """Zero all inputs from the stream but the history: session vectors, the number of actions and their age."""
    return _without_context(without_sessions(batch), REALTIME)


@dataclass(frozen=True)
class Row:
    """One model of the table."""

    name: str
    title: str
    encoder: Callable[[TransActConfig], SequenceEncoder] = TransAct
    ablate: tuple[Ablate, ...] = ()
    mask: bool = True  # random time-window mask in training
    ablation: str = "models"  # which part of the table it stands in
    kind: type[HybridRanker] = HybridRanker

    def ranker(self, config: RankerConfig) -> HybridRanker:
        """Make this row's ranker, untrained."""
        return self.kind(config, self.encoder)

    def see(self, batch: RankerBatch) -> RankerBatch:
        """Return the inputs that this row's ranker has."""
        for ablate in self.ablate:
            batch = ablate(batch)
        return batch


def _compressed(name: str, title: str, compression: Compression) -> Row:
    return Row(name, title, partial(Compressed, compression=compression), ablation="outputs")


def rows(recent: int, length: int) -> tuple[Row, ...]:
    """Return all rows whose ranker is trained; ``recent`` outputs are K, histories have at most ``length`` actions."""
    return (
        Row("full", "full hybrid"),
        Row("average_items", "WDL, average-pooled items", AverageItems),
        Row("no_realtime", "without anything realtime", NoSequence, (without_realtime,)),
        Row("no_pinnerformer", "without PinnerFormer", ablate=(without_user_vectors,)),
        Row("no_sequence", "without TransAct (session vector stays)", NoSequence),
        Row("no_types", "TransAct without action types", Untyped),
        Row("average_rows", "WDL, average-pooled items and types", AverageRows),
        Row("no_session", "without the session vector", ablate=(without_sessions,)),
        Row("append", "BST: candidate appended", Append),
        Row("lstm", "LSTM", Lstm),
        Row("convolution", "CNN", Convolution),
        Row("rnn", "RNN", Rnn),
        Row("transformer_items", "transformer on items alone", ItemTransformer),
        Row("no_mask", "without the time-window mask", mask=False),
        Row("rated", "full hybrid, heads start from the item's rates", kind=RatedRanker),
        _compressed("max", "max-pool", Compression(largest, 1, alone=True)),
        _compressed("first_k", f"first {recent}", Compression(first, recent)),
        _compressed("random_k", f"random {recent}", Compression(random_rows, recent)),
        _compressed("first_column", "first column", Compression(first, 1)),
        _compressed("random_column", "random column", Compression(random_rows, 1)),
        _compressed("all", "all columns", Compression(first, length)),
        _compressed("all_max", "all columns and max-pool", Compression(first_and_max, length, more=1)),
    )


NAMES = tuple(row.name for row in rows(1, 1))
