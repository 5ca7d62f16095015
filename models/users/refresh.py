"""The batch job of PinnerFormer: histories in, a new version of the table of user vectors out.

Full, over all users, or incremental, over those who acted since the last table, merged with the others' vectors
(KDD'22, 4: daily, for the users active that day). A user without an action on a known item has no vector, and one who
was erased has that of what was done since.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from rankstream.features.actions import ActionColumns
from rankstream.features.embeddings.base import VectorTable
from rankstream.features.embeddings.files import KEPT_VERSIONS
from rankstream.features.embeddings.table import EmbeddingTable, publish, publish_merged
from rankstream.features.files import CURRENT
from rankstream.features.ids import Id, id_keys
from rankstream.features.schema import Floats
from rankstream.features.user_view import known_actions
from rankstream.models.training.checkpoints import fingerprint
from rankstream.models.users.pinnerformer import PinnerFormer, collate, tokens_of

Histories = Iterable[tuple[Id, ActionColumns]]  # a user and its actions, newest first: any number, any source

BATCH = 256  # users encoded at once


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did."""

    folder: Path | None  # of the new version; None if no user had anything new
    users: int  # encoded and published
    unknown: int  # left out: no action on a known item
    kept: int = 0  # users whose vectors are those of the last table


class SpaceRefusedError(ValueError):
    """The published table is of another model's vector space."""


def user_space(model: PinnerFormer) -> str:
    """Name the vector space of a model's users: other weights, another space."""
    return f"pinnerformer-{fingerprint(model):016x}"


def is_of_model(root: Path, model: PinnerFormer) -> bool:
    """Return whether ``root`` holds a table of this model's users, to which ``refresh_active`` can add."""
    return (root / CURRENT).exists() and EmbeddingTable.open(root).space == user_space(model)


def refresh(
    model: PinnerFormer,
    items: VectorTable,
    histories: Histories,
    root: Path,
    *,
    as_of_ms: int,
    keep: int = KEPT_VERSIONS,
    erased: Collection[Id] = (),
) -> Refreshed:
    """Publish vectors of all these users, as of a time; nothing later is read. ``keep`` versions stay on disk.

    Users who were ``erased`` need no second look here: there is no table before this one.
    """
    ids, vectors, unknown = encode(model, items, histories, as_of_ms)
    space, meta = user_space(model), {"refresh": "full"}
    folder = publish(root, ids, vectors, space=space, as_of_ms=as_of_ms, meta=meta, keep=keep)
    return Refreshed(folder, len(ids), unknown)


def refresh_active(
    model: PinnerFormer,
    items: VectorTable,
    histories: Histories,
    root: Path,
    *,
    as_of_ms: int,
    keep: int = KEPT_VERSIONS,
    erased: Collection[Id] = (),
) -> Refreshed:
    """Publish the last table with new vectors for the users who acted since then; the others keep theirs.

    Those who were ``erased`` do not: they are encoded anew, of what the histories have of them, or have none.
    Raises ``SpaceRefusedError`` if another model made the last table: then a full refresh is needed.
    """
    last = EmbeddingTable.open(root)
    if last.space != user_space(model):
        raise SpaceRefusedError(
            f"the table in {root} is of space {last.space}, this model's is {user_space(model)}; do a full refresh"
        )
    in_table = [user for user in erased if last.rows(id_keys([user]))[1].any()]
    active = acted_since(histories, last.as_of_ms, as_of_ms, also={str(user) for user in in_table})
    ids, vectors, unknown = encode(model, items, active, as_of_ms)
    if not ids and not in_table:
        return Refreshed(None, 0, unknown, len(last))
    meta = {"refresh": "active"}
    folder = publish_merged(root, ids, vectors, as_of_ms=as_of_ms, meta=meta, keep=keep, without=in_table)
    return Refreshed(folder, len(ids), unknown, len(EmbeddingTable.open(root)) - len(ids))


def acted_since(
    histories: Histories, since_ms: int, until_ms: int, also: Collection[str] = ()
) -> Iterator[tuple[Id, ActionColumns]]:
    """Keep the users with an action after ``since_ms`` and not after ``until_ms``; ``also`` names others to keep."""
    for user, actions in histories:
        if str(user) in also or np.any((actions.times_ms > since_ms) & (actions.times_ms <= until_ms)):
            yield user, actions


@torch.no_grad()
def encode(
    model: PinnerFormer, items: VectorTable, histories: Histories, as_of_ms: int
) -> tuple[list[Id], Floats, int]:
    """Return users, their vectors ``(n, U)`` and how many were left out because no item of theirs is known."""
    model.eval()
    device = next(model.parameters()).device
    ids: list[Id] = []
    vectors = [np.zeros((0, model.config.user_dim), np.float32)]
    unknown = 0
    for chunk in _chunks(histories, BATCH):
        tokens = [tokens_of(known_actions(actions, as_of_ms), items, model.config) for _, actions in chunk]
        kept = [at for at, user in enumerate(tokens) if len(user)]
        unknown += len(chunk) - len(kept)
        if kept:
            sequences, lengths = collate([tokens[at] for at in kept])
            on_device = type(sequences)(*(tensor.to(device) for tensor in sequences))
            vectors.append(model.encode_last(on_device, lengths.to(device)).cpu().numpy())
            ids.extend(chunk[at][0] for at in kept)
    return ids, np.concatenate(vectors), unknown


def _chunks(histories: Histories, size: int) -> Iterator[list[tuple[Id, ActionColumns]]]:
    iterator = iter(histories)
    while chunk := list(islice(iterator, size)):
        yield chunk
