"""What the join of a request costs beside its score, plain and compiled, and where the rest of a request goes.

    python -m benchmarks.join BUNDLE [--rounds 100] [--json FILE]

CPU time of 256 candidates for a user with 100 actions, by how many sessions these are. Ways of doing the same take
turns within each round, so that other work on the machine meets all alike, and each join comes behind a scoring, as it
does in a worker, with caches that another's work has filled; medians, and first deciles in brackets, which other work
disturbs less. "first" is the user's first request, "again" one whose closed sessions are those of the last request. The
last twins are what a part was before: each session folded on a tile of 32 rows, sums by sorting, each candidate beside
all actions. Without numba there are no compiled rows.
"""

import argparse
import os
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from time import process_time

import msgspec
import numpy as np

from benchmarks.catalogue import AS_OF_MS
from benchmarks.figures import MS, Figure, add_json, write_figures
from rankstream.events.action_event import Recorded
from rankstream.features.actions import ACTION_BYTES, pack_actions
from rankstream.features.embeddings.base import NoVectors
from rankstream.features.ids import id_bytes
from rankstream.features.join import Join, OfflineFeatures, join, match_user, session_vector
from rankstream.features.matches.columns import UserMatches, _own_columns
from rankstream.features.matches.lists import item_knn, vmis_knn
from rankstream.features.matches.plain import plain_item_knn, plain_own_columns, plain_vmis_knn
from rankstream.features.user_state import UserState
from rankstream.ranking.backends.onnx_sessions import TILE, OnnxSessionEncoder
from rankstream.ranking.backends.remembered import Remembered
from rankstream.ranking.bundle import Bundle, open_bundle
from rankstream.ranking.policies import Limits
from rankstream.ranking.ranker import _each_once, _items
from rankstream.ranking.request import RankingRequest
from rankstream.ranking.serving import ranker_of
from rankstream.ranking.utility import utility
from rankstream.streams.codec import decode_request, encode_feed
from rankstream.streams.engine import PLAIN, open_engine

CANDIDATES, ACTIONS, ROUNDS, HOUR_MS = 256, 100, 100, 3_600_000
PER_SESSION = (100, 10, 1)  # actions of a session
Steps = dict[str, Callable[[], object]]


def a_user(bundle: Bundle, per_session: int) -> UserState:
    """Return a user with 100 actions, so many a session, a second apart within one and an hour between two."""
    keys, back = np.asarray(bundle.items.keys), np.arange(ACTIONS)[::-1]
    times = AS_OF_MS - 60_000 - 1_000 * back - HOUR_MS * (back // per_session)
    types, zeros = 1 + back % 2, np.zeros(ACTIONS, np.int64)
    packed = pack_actions(times, types, np.random.default_rng(0).choice(keys, ACTIONS), zeros, zeros)
    actions = [packed[at : at + ACTION_BYTES] for at in range(0, len(packed), ACTION_BYTES)]
    return UserState().apply(actions, ACTIONS - 1).state


def times_of(steps: Steps, rounds: int = ROUNDS, between: Callable[[], object] = lambda: None) -> dict[str, np.ndarray]:
    """Return the CPU time of each step in each round, ``(rounds,)`` ms; they take turns, ``between`` before each."""
    taken = {name: np.zeros(rounds) for name in steps}
    for at in range(rounds):
        for name, step in steps.items():
            between()
            started = process_time()
            step()
            taken[name][at] = 1e3 * (process_time() - started)
    return taken


def medians_ms(steps: Steps, rounds: int = ROUNDS) -> dict[str, float]:
    """Return the median CPU time of each step; they take turns."""
    return {name: float(np.median(times)) for name, times in times_of(steps, rounds).items()}


def forgetful(encoder: OnnxSessionEncoder, **more: int) -> OnnxSessionEncoder:
    """Return an encoder of the same graphs that remembers nothing."""
    other = copy(encoder)
    vars(other).update(_states=Remembered(0), _vectors=Remembered(0), **more)
    return other


def joins() -> dict[str, Join]:
    """Return the ways to join, by name."""
    return {"plain": PLAIN.join} | ({"compiled": open_engine("compiled").join} if find_spec("numba") else {})


def measure_join(bundle: Bundle, per_session: int, rounds: int = ROUNDS) -> list[Figure]:
    """Print what one kind of user costs; return the joins and the score."""
    offline, state = bundle.offline_features(NoVectors(bundle.manifest.sizes.user_dim)), a_user(bundle, per_session)
    keys = np.asarray(bundle.items.keys)
    candidates = np.random.default_rng(1).choice(keys, min(CANDIDATES, len(keys)), replace=False)
    matches = match_user(state, 1, AS_OF_MS, offline)
    inputs = join(matches, candidates, offline)
    user, tables, rows = matches.user, offline.matches, matches.rows[:10]
    first = replace(offline, sessions=forgetful(bundle.sessions))
    tiles = replace(offline, sessions=forgetful(bundle.sessions, _rows=TILE))

    def joined(how: Join, offline: OfflineFeatures) -> Callable[[], object]:
        return lambda: how(match_user(state, 1, AS_OF_MS, offline), candidates, offline, 0)

    def score() -> object:
        return bundle.backend.score(inputs)

    steps: Steps = {"score": score}
    for name, how in joins().items():
        steps |= {f"join, first, {name}": joined(how, first), f"join, again, {name}": joined(how, offline)}
    steps |= {
        "sessions, on tiles": lambda: session_vector(user, tiles),
        "sessions, first": lambda: session_vector(user, first),
        "sessions, again": lambda: session_vector(user, offline),
        "vmis, by session": lambda: plain_vmis_knn(tables, rows.tolist()), "vmis": lambda: vmis_knn(tables, rows),
        "item-kNN, by item": lambda: plain_item_knn(tables, rows.tolist()), "item-kNN": lambda: item_knn(tables, rows),
        "own, by candidate": lambda: plain_own_columns(UserMatches(user, tables), candidates, 4),
        "own items": lambda: _own_columns(UserMatches(user, tables), candidates, 4),
    }  # fmt: skip
    found = times_of(steps, rounds, between=score)
    print(f"{ACTIONS // per_session} sessions of {per_session}, {len(candidates)} candidates")
    report(found, of_score="join")
    for name in [name for name in steps if "again" in name and name.startswith("join")]:
        in_a_row = times_of({name: steps[name]}, rounds)[name]
        print(f"  {name}, one after the other, no scoring between: {np.median(in_a_row):.3f} ms")
    wanted = [name for name in steps if name.startswith(("score", "join"))]
    return [Figure.of(f"{ACTIONS // per_session} sessions, {name}", MS, found[name]) for name in wanted]


def measure_request(bundle: Bundle, per_session: int, rounds: int = ROUNDS) -> list[Figure]:
    """Print where the time of a whole request goes, from bytes to bytes, and its parts besides join and score.

    Return the whole requests.
    """
    users = NoVectors(bundle.manifest.sizes.user_dim)
    rankers = {name: ranker_of(bundle, users, join=how) for name, how in joins().items()}
    state, ids = a_user(bundle, per_session), np.asarray(bundle.items.keys).tolist()[:CANDIDATES]
    request = RankingRequest("r1", "u1", tuple(ids), timestamp_ms=AS_OF_MS)
    record = Recorded("ranking-requests", 0, 0, AS_OF_MS, id_bytes("u1"), msgspec.json.encode(request))
    ranker = rankers["plain"]
    ranking = ranker.rank(request, state, AS_OF_MS)
    assert ranking.inputs is not None
    inputs, candidates = ranking.inputs, _each_once(ids, None)
    probabilities = ranker.backend.score(inputs)
    scores = utility(probabilities, ranker.weights)
    placed = ranker.exploration.place(scores, Limits(), "u1", "r1")

    def whole(name: str) -> Callable[[], object]:
        def answer() -> bytes:
            asked = decode_request(record, AS_OF_MS)
            return encode_feed(asked, rankers[name].rank(asked, state, AS_OF_MS), AS_OF_MS)

        return answer

    steps: Steps = {f"request, {name}": whole(name) for name in rankers}
    steps |= {
        "score": lambda: ranker.backend.score(inputs),
        "decode": lambda: decode_request(record, AS_OF_MS),
        "keys of candidates": lambda: _each_once(ids, None),
        "items of the feed": lambda: _items(placed, candidates, scores, probabilities, ranker.heads),
        "encode": lambda: encode_feed(request, ranking, AS_OF_MS),
    }
    print(f"a request from bytes to bytes, {len(ids)} candidates, all of them answered")
    found = times_of(steps, rounds)
    report(found)
    return [Figure.of(name, MS, found[name]) for name in steps if name.startswith("request")]


def report(found: dict[str, np.ndarray], of_score: str | None = None) -> None:
    """Print a row a step; those whose name begins with ``of_score`` with their share of them and the score."""
    score = found["score"]
    for name, times in found.items():
        share = ""
        if of_score and name.startswith(of_score):
            shares = [
                float(np.quantile(times, q) / (np.quantile(times, q) + np.quantile(score, q))) for q in (0.5, 0.1)
            ]
            share = f"  {shares[0]:6.1%} ({shares[1]:.1%}) of join and score"
        print(f"  {name:22} {np.median(times):7.3f} ({np.quantile(times, 0.1):.3f}) ms{share}")


def main() -> None:
    """Print a block for each kind of user, and one for a whole request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, help="one with sessions and match tables, as `train` writes it")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    add_json(parser)
    chosen = parser.parse_args()
    bundle = open_bundle(chosen.bundle)
    print(f"load of the machine: {os.getloadavg()[0]:.0f}, cores: {os.cpu_count()}")
    figures = [one for per_session in PER_SESSION for one in measure_join(bundle, per_session, chosen.rounds)]
    figures += measure_request(bundle, PER_SESSION[1], chosen.rounds)
    write_figures(chosen.json, figures)


if __name__ == "__main__":
    main()
