"""`rankstream off-policy`: what another policy would have earned."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import click

from rankstream.bundles.item_counts import NotCountableError
from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.aliases import renamed
from rankstream.cli.options.served_feeds import (
    NOT_A_FEED,
    number_of,
    open_actions,
    positions_option,
    read_feeds,
    rewards_of_actions,
    served_feeds_options,
    target_ranker,
    within_ms,
)
from rankstream.cli.options.settings import CONNECTED, pairs, settings_options
from rankstream.cli.options.topics import open_source
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.off_policy import show
from rankstream.cli.views.skipped import print_skipped
from rankstream.evaluation.attribution import rewards_of
from rankstream.evaluation.leakage import LeakError
from rankstream.evaluation.off_policy.report import evaluate
from rankstream.evaluation.off_policy.rerank import Reranking, reranked_slates
from rankstream.evaluation.off_policy.slates import (
    CUT,
    NO_HEAD,
    NO_PROPENSITIES,
    NO_SOURCES,
    Slate,
    Target,
    slates_of,
)
from rankstream.evaluation.time_text import time_text
from rankstream.events.arrivals import LogError, RecordedLog
from rankstream.events.dumps import DumpError
from rankstream.events.open import LogOptions
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.ranking.bundle import BundleRefusedError
from rankstream.ranking.policies import EpsilonGreedy, Greedy, Policy, RelativePlackettLuce
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, REQUESTS, SERVED

POLICIES: Mapping[str, Callable[[float, float], Policy]] = {
    "greedy": lambda temperature, epsilon: Greedy(),
    "plackett-luce": lambda temperature, epsilon: RelativePlackettLuce(temperature),
    "epsilon-greedy": lambda temperature, epsilon: EpsilonGreedy(epsilon),
}


@click.command(context_settings=renamed({"--places": "--positions"}))
@served_feeds_options
@click.option(
    "--reward",
    required=True,
    multiple=True,
    metavar="ACTION[=VALUE]",
    help="The reward (1) of an action on a shown item; again for other actions.",
)
@positions_option(1)
@click.option("--policy", type=click.Choice(list(POLICIES)), default="greedy", show_default=True, help="The target.")
@click.option(
    "--temperature", type=click.FloatRange(min=0, min_open=True), default=0.1, show_default=True,
    help="Of a plackett-luce target, as a worker's --exploration-temperature.",
)  # fmt: skip
@click.option(
    "--epsilon", type=click.FloatRange(0, 1, min_open=True), default=0.1, show_default=True,
    help="Of an epsilon-greedy target.",
)  # fmt: skip
@click.option(
    "--utility",
    callback=pairs,
    multiple=True,
    metavar="HEAD=WEIGHT",
    help="The target's weight of a head's probability, instead of the scores as served; again for each head.",
)
@click.option(
    "--clip", type=click.FloatRange(min=0, min_open=True), metavar="NUMBER",
    help="Maximum importance weight: less variance, but biased low.  [default: none]",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the intervals' bootstrap.")
@click.option(
    "--by", type=click.Choice(["source"]),
    help="Besides, what each source of candidates earns, and what a feed without it would.",
)  # fmt: skip
@click.option(
    "--bundle",
    "bundle_dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Rank the same candidates again with this model, instead of using the feeds' own scores.",
)
@click.option(
    "--user-vectors", "vectors", type=click.Path(path_type=Path), metavar="DIR",
    help="Its batch user vectors: each feed with the newest version that there was.",
)  # fmt: skip
@click.option(
    "--item-counts", "counts", type=click.Path(path_type=Path), metavar="DIR",
    help="Its published item counts, likewise; without it those of the bundle.",
)  # fmt: skip
@click.option(
    "--item-vectors", "items", type=click.Path(path_type=Path), metavar="DIR",
    help="Its published item vectors, likewise.",
)  # fmt: skip
@click.option("--allow-leak", is_flag=True, help="Evaluate a --bundle that was trained later than the feeds; marked.")
@json_option
@settings_options(*CONNECTED, also=("history_limit", "forget_after_days"))
@refusing(ClientError, LogError, LeakError, DumpError, BundleRefusedError, BrokenTableError, NotCountableError)
def command(
    feeds: Path | None,
    actions: Path | None,
    log_options: LogOptions,
    reward: tuple[str, ...],
    within: str,
    positions: int,
    policy: str,
    temperature: float,
    epsilon: float,
    utility: dict[str, str],
    clip: float | None,
    seed: int,
    by: str | None,
    bundle_dir: Path | None,
    vectors: Path | None,
    counts: Path | None,
    items: Path | None,
    allow_leak: bool,
    folder: Path | None,
    as_json: bool,
    settings: Settings,
) -> None:
    """Estimate what another policy would have earned, from feeds served with exploration.

    A worker started with --exploration randomises the order a little and logs in the feed the propensity of each
    position. From that and from what users then did, this estimates the reward of a target policy that was never shown
    to users: the greedy order, another temperature, or other weights of the heads (what if saves counted double?). An
    action counts for the newest feed that showed the item. The feeds must hold all of their candidates, so ask without
    top_k and show the first positions.

    With --by source the value is told by what proposed the items (matches, popular, interest, new, ...), as served and
    of the target, beside that of the target without each source: over what the others proposed, as what retrieval
    would have proposed in its places is in no log.

    With --bundle the target is another model: candidates are ranked again with the states as of then, so workers
    must have run with --served-features too. Feeds may have been cut then.

    \b
    Reads:  ranked-feeds and user-actions, from files or from Kafka;
            with --bundle served-features, ranking-requests and user-actions,
            from Kafka or --from a folder of dumps
    Prints: the value of a feed by inverse propensity scores (ips),
            self-normalized (snips), doubly robust (dr) and by the model alone
            (dm, first position), 95 % intervals (users resampled), and how far
            to trust them

    \b
    Examples:
      rankstream off-policy --reward save=3 --reward click
      rankstream off-policy --feeds feeds.jsonl --actions log.parquet \\
        --reward save --utility save=1 --utility hide=-9
      rankstream off-policy --reward click --policy plackett-luce \\
        --temperature 0.05 --positions 3 --json
      rankstream off-policy --reward click --positions 3 --by source
      rankstream off-policy --reward save --bundle bundles/next \\
        --user-vectors vectors/users --from monday
    """
    reward_of = rewards_of_actions(reward)
    weights = {head: number_of(f"--utility {head}", text) for head, text in utility.items()}
    target = Target(POLICIES[policy](temperature, epsilon), weights or None)
    window_ms = within_ms(within)
    source = open_source(folder, settings)
    log = open_actions(actions, log_options, tuple(reward_of), source)
    skipped: Counter[str] = Counter()
    name, marks = target.text, list[str]()
    if bundle_dir is None:
        if vectors or counts or items or allow_leak:
            raise Refusal(
                "--user-vectors, --item-counts, --item-vectors and --allow-leak are about a --bundle; name it"
            )
        slates = slates_of(read_feeds(feeds, source, skipped), target, reward_of, positions, skipped, by is not None)
    else:
        if by:
            raise Refusal(
                "--by source reads the sources that feeds tell, and --bundle ranks candidates that requests named, "
                "which have none; leave one of both out"
            )
        if feeds:
            raise Refusal("--feeds hold no states to rank again with; leave it out, --bundle reads served-features")
        ranker = target_ranker(bundle_dir, vectors, counts, items)
        reranking = Reranking(ranker, target, reward_of, positions)
        topics = source.records(SERVED), source.records(REQUESTS), source.records(ACTIONS)
        slates, marks = reranked_slates(
            *topics, reranking, settings.history_limit, skipped, allow_leak, settings.forget_after_ms
        )
        name = f"model {ranker.bundle.manifest.model_version}, {name}".replace(" as served", "")
    if not slates:
        raise Refusal(_nothing(skipped, weights))
    by_code = {log.vocabulary.action_codes[action]: value for action, value in reward_of.items()}
    rewards = rewards_of(slates, log.batches(log.vocabulary), by_code, positions, window_ms)
    if actions is not None:
        print_skipped(log.skipped)
    if not rewards.any():
        raise Refusal(_no_rewards(slates, reward_of, within, log))
    report = evaluate(slates, rewards, name, skipped=skipped, marks=marks, clip=clip, seed=seed)
    if as_json:
        print_json(report.as_dict())
    else:
        show(report)


def _nothing(skipped: Mapping[str, int], weights: Mapping[str, float]) -> str:
    if not skipped:
        return "there are no feeds to evaluate; serve with --exploration plackett-luce and collect what is answered"
    (reason, count), *_ = Counter(skipped).most_common()
    heads = f" ({', '.join(weights)})" if reason == NO_HEAD else ""
    remedy = {
        NO_PROPENSITIES: "start workers with --exploration plackett-luce",
        NOT_A_FEED: "give lines as `rankstream watch --json` prints them",
        CUT: "ask without top_k, or name a --bundle to rank all candidates again with",
        NO_HEAD: "name heads that the feeds have",
        NO_SOURCES: "feeds tell them where the request has a limit and the worker several sources",
    }.get(reason, "look at what was served with `rankstream watch`")
    return (
        f"none of the {sum(skipped.values()):,} feeds can be evaluated, {count:,} for being {reason}{heads}; {remedy}"
    )


def _no_rewards(slates: list[Slate], reward_of: Mapping[str, float], within: str, log: RecordedLog) -> str:
    first, last = (time_text(pick(slate.at_ms for slate in slates)) for pick in (min, max))
    return (
        f"nothing that {len(slates):,} feeds ({first} to {last}) showed got a {' or '.join(reward_of)} within {within} "
        f"in {log.name}; check that times and ids are those of the feeds, and --time-unit"
    )
