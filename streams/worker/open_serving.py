"""The served ranker that the settings choose: bundle, the tables beside it, catalogue, policies; knows no broker.

A worker and a replay that open it with the same settings rank alike.
"""

from pathlib import Path

from rankstream.features.join import Join, join
from rankstream.ranking.experiment import Assignment, Experiment
from rankstream.ranking.exploration import NO_EXPLORATION, Exploration
from rankstream.ranking.policies import EpsilonGreedy, RelativePlackettLuce
from rankstream.ranking.retrieval_mix import RetrievalMix
from rankstream.ranking.serving import LiveRanker
from rankstream.streams.settings import Settings


def open_serving(settings: Settings, join: Join = join) -> LiveRanker | Experiment:
    """Open what is to be served, with an engine's ``join``. Raises ``BundleRefusedError``."""
    control, assignment = open_bundle_of(settings, settings.bundle, join), assignment_of(settings)
    if settings.variant is None or assignment is None:
        return control
    return Experiment(control, open_bundle_of(settings, settings.variant, join), assignment)


def assignment_of(settings: Settings) -> Assignment | None:
    """Return which users the variant of the settings has; None without one."""
    return None if settings.variant is None else Assignment(settings.variant_share, settings.variant_salt)


def open_bundle_of(settings: Settings, bundle: Path, join: Join = join) -> LiveRanker:
    """Open one bundle with the tables and policies of the settings. Raises ``BundleRefusedError``."""
    exploration = exploration_of(settings)
    return LiveRanker.open(
        bundle,
        settings.user_vectors,
        settings.item_counts,
        settings.item_vectors,
        exploration=exploration,
        catalogue=settings.catalogue,
        mix=mix_of(settings),
        trusted_keys=settings.trusted_keys,
        interests=settings.interests,
        graph=settings.graph,
        join=join,
        scorer=settings.scorer,
    )


def mix_of(settings: Settings) -> RetrievalMix:
    """Return the shares of sources that the settings name."""
    return RetrievalMix(
        settings.new_share,
        settings.new_days,
        settings.popular_share,
        settings.exclude_seen,
        settings.popular_window,
        settings.popular_by,
    )


def exploration_of(settings: Settings) -> Exploration:
    """Return the policy that the settings name, with its parameter and seed."""
    if settings.exploration == "plackett-luce":
        return Exploration(RelativePlackettLuce(settings.exploration_temperature), settings.exploration_seed)
    if settings.exploration == "epsilon-greedy":
        return Exploration(EpsilonGreedy(settings.exploration_epsilon), settings.exploration_seed)
    return NO_EXPLORATION
