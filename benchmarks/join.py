"""What the join of a request costs beside its score, and its parts beside their plain twins.

    python -m benchmarks.join BUNDLE

CPU time of 256 candidates for a user with 100 actions, by how many sessions these are. Ways of doing the same take
turns within each round, so that other work on the machine meets all alike; medians. "first" is the user's first
request, "again" one whose closed sessions are those of the last request. The twins are what a part was before: each
session folded on a tile of 32 rows, sums by sorting, each candidate beside all actions.
"""

import argparse
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path
from time import process_time

import numpy as np

from benchmarks.catalogue import AS_OF_MS
from rankstream.features.actions import ACTION_BYTES, pack_actions
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.join import OfflineFeatures, join, match_user, session_vector
from rankstream.features.matches.columns import UserMatches, _own_columns
from rankstream.features.matches.lists import item_knn, vmis_knn
from rankstream.features.matches.plain import plain_item_knn, plain_own_columns, plain_vmis_knn
from rankstream.features.user_state import UserState
from rankstream.ranking.backends.onnx_sessions import TILE, OnnxSessionEncoder
from rankstream.ranking.backends.remembered import Remembered
from rankstream.ranking.bundle import Bundle, open_bundle

CANDIDATES, ACTIONS, ROUNDS, HOUR_MS = 256, 100, 200, 3_600_000
PER_SESSION = (100, 10, 1)  # actions of a session


def a_user(bundle: Bundle, per_session: int) -> UserState:
    """Return a user with 100 actions, so many a session, a second apart within one and an hour between two."""
    keys, back = np.asarray(bundle.items.keys), np.arange(ACTIONS)[::-1]
    times = AS_OF_MS - 60_000 - 1_000 * back - HOUR_MS * (back // per_session)
    types, zeros = 1 + back % 2, np.zeros(ACTIONS, np.int64)
    packed = pack_actions(times, types, np.random.default_rng(0).choice(keys, ACTIONS), zeros, zeros)
    actions = [packed[at : at + ACTION_BYTES] for at in range(0, len(packed), ACTION_BYTES)]
    return UserState().apply(actions, ACTIONS - 1).state


def medians_ms(steps: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Return the median CPU time of each step; they take turns."""
    taken = {name: np.zeros(rounds) for name in steps}
    for at in range(rounds):
        for name, step in steps.items():
            started = process_time()
            step()
            taken[name][at] = process_time() - started
    return {name: 1e3 * float(np.median(times)) for name, times in taken.items()}


def forgetful(encoder: OnnxSessionEncoder, **more: int) -> OnnxSessionEncoder:
    """Return an encoder of the same graphs that remembers nothing."""
    other = copy(encoder)
    vars(other).update(_states=Remembered(0), _vectors=Remembered(0), **more)
    return other


def measure(bundle: Bundle, per_session: int) -> None:
    """Print what one kind of user costs."""
    offline, state = bundle.offline_features(NoVectors(bundle.manifest.sizes.user_dim)), a_user(bundle, per_session)
    keys = np.asarray(bundle.items.keys)
    candidates = np.random.default_rng(1).choice(keys, min(CANDIDATES, len(keys)), replace=False)
    matches = match_user(state, 1, AS_OF_MS, offline)
    inputs = join(matches, candidates, offline)
    user, tables, rows = matches.user, offline.matches, matches.rows[:10]
    first = replace(offline, sessions=forgetful(bundle.sessions))
    tiles = replace(offline, sessions=forgetful(bundle.sessions, _rows=TILE))

    def joined(offline: OfflineFeatures) -> object:
        return join(match_user(state, 1, AS_OF_MS, offline), candidates, offline)

    found = medians_ms({
        "score": lambda: bundle.backend.score(inputs),
        "join, first": lambda: joined(first),
        "join, again": lambda: joined(offline),
        "sessions, plain": lambda: session_vector(user, tiles),
        "sessions, first": lambda: session_vector(user, first),
        "sessions, again": lambda: session_vector(user, offline),
        "vmis, plain": lambda: plain_vmis_knn(tables, rows.tolist()), "vmis": lambda: vmis_knn(tables, rows),
        "item-kNN, plain": lambda: plain_item_knn(tables, rows.tolist()), "item-kNN": lambda: item_knn(tables, rows),
        "own items, plain": lambda: plain_own_columns(UserMatches(user, tables), candidates, 4),
        "own items": lambda: _own_columns(UserMatches(user, tables), candidates, 4),
    })  # fmt: skip
    print(f"{ACTIONS // per_session} sessions of {per_session}, {len(candidates)} candidates")
    for name, ms in found.items():
        share = f"  {ms / (ms + found['score']):6.1%} of join and score" if name.startswith("join") else ""
        print(f"  {name:18} {ms:7.3f} ms{share}")


def main() -> None:
    """Print a block for each kind of user."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, help="one with sessions and match tables, as `train` writes it")
    bundle = open_bundle(parser.parse_args().bundle)
    for per_session in PER_SESSION:
        measure(bundle, per_session)


if __name__ == "__main__":
    main()
