"""`rankstream off-policy`: what another policy would have earned."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import msgspec

from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.off_policy import (
    NOT_A_FEED,
    new_ranker,
    number_of,
    open_actions,
    read_feeds,
    within_ms,
    worth_of,
)
from rankstream.cli.options.settings import CONNECTED, pairs, settings_options
from rankstream.cli.options.topics import open_source
from rankstream.cli.views.off_policy import show
from rankstream.evaluation.leakage import LeakError
from rankstream.evaluation.off_policy.report import judge
from rankstream.evaluation.off_policy.rerank import Again, slates_again
from rankstream.evaluation.off_policy.slates import CUT, NO_HEAD, NO_PROPENSITIES, Slate, Target, rewards_of, slates_of
from rankstream.evaluation.time_text import time_text
from rankstream.events.arrivals import LogError, RecordedLog
from rankstream.events.readers.rows import TIME_UNITS
from rankstream.features.actions import Vocabulary
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.ranking.bundle import BundleRefusedError
from rankstream.ranking.exploration import EpsilonGreedy, Greedy, PlackettLuce, Policy
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.clients.dumps import DumpError
from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, REQUESTS, SERVED

POLICIES: Mapping[str, Callable[[float, float], Policy]] = {
    "greedy": lambda temperature, epsilon: Greedy(),
    "plackett-luce": lambda temperature, epsilon: PlackettLuce(temperature),
    "epsilon-greedy": lambda temperature, epsilon: EpsilonGreedy(epsilon),
}


@click.command()
@click.option(
    "--feeds",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Feeds as `rankstream watch --json` prints them, - for standard input.  [default: the topic ranked-feeds]",
)
@click.option(
    "--actions",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What users did: .parquet, .csv or .jsonl.  [default: the topic user-actions]",
)
@click.option(
    "--map", callback=pairs, multiple=True, metavar="FIELD=COLUMN", help="The column of a field of --actions."
)
@click.option("--set", callback=pairs, multiple=True, metavar="FIELD=VALUE", help="The same value for all actions.")
@click.option("--time-unit", type=click.Choice(list(TIME_UNITS)), default="ms", show_default=True, help="Of --actions.")
@click.option(
    "--reward",
    required=True,
    multiple=True,
    metavar="ACTION[=VALUE]",
    help="An action on a shown item that counts, and for how much (1); again for others.",
)
@click.option("--within", default="30m", show_default=True, metavar="DELAY", help="How long after a feed it counts.")
@click.option(
    "--places", type=click.IntRange(1, 100), default=1, show_default=True, metavar="K", help="Places that users see."
)
@click.option("--policy", type=click.Choice(list(POLICIES)), default="greedy", show_default=True, help="To be judged.")
@click.option(
    "--temperature", type=click.FloatRange(min=0, min_open=True), default=0.1, show_default=True,
    help="Of the plackett-luce to be judged.",
)  # fmt: skip
@click.option(
    "--epsilon", type=click.FloatRange(0, 1, min_open=True), default=0.1, show_default=True,
    help="Of the epsilon-greedy to be judged.",
)  # fmt: skip
@click.option(
    "--utility",
    callback=pairs,
    multiple=True,
    metavar="HEAD=WEIGHT",
    help="Judge by these weights of the heads' probabilities instead of the scores as served; again for each head.",
)
@click.option(
    "--clip", type=click.FloatRange(min=0, min_open=True), metavar="NUMBER",
    help="The most that a weight may be: less chance, but too low.  [default: none]",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the intervals' bootstrap.")
@click.option(
    "--bundle",
    "place",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Rank the same candidates again with this model, instead of going by the feeds' own scores.",
)
@click.option(
    "--user-vectors", "vectors", type=click.Path(path_type=Path), metavar="DIR",
    help="Its batch user vectors: each feed with the newest version that there was.",
)  # fmt: skip
@click.option("--allow-leak", is_flag=True, help="Judge a --bundle that was trained later than the feeds; marked.")
@click.option(
    "--from", "folder", type=click.Path(path_type=Path), metavar="FOLDER",
    help="Read topics as `rankstream topics dump FOLDER` wrote them, not from Kafka.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@settings_options(*CONNECTED, also=("history_limit",))
@refusing(ClientError, LogError, LeakError, DumpError, BundleRefusedError, BrokenTableError)
def command(
    feeds: Path | None,
    actions: Path | None,
    map: dict[str, str],
    set: dict[str, str],
    time_unit: str,
    reward: tuple[str, ...],
    within: str,
    places: int,
    policy: str,
    temperature: float,
    epsilon: float,
    utility: dict[str, str],
    clip: float | None,
    seed: int,
    place: Path | None,
    vectors: Path | None,
    allow_leak: bool,
    folder: Path | None,
    as_json: bool,
    settings: Settings,
) -> None:
    """Estimate what another policy would have earned, from feeds served with exploration.

    A worker started with --exploration leaves a little of the order to chance and says in the feed how likely each
    place was. With what users then did, this tells what a target would have earned instead: the greedy order, another
    temperature, or other weights of the heads (what if saves counted double?), without showing it to anybody. An
    action counts for the newest feed that showed the item. The feeds must hold all of their candidates, so ask without
    top_k and show the first places.

    With --bundle the target is another model: candidates are ranked again with the users' states of then, so workers
    must have run with --served-features too. Feeds may have been cut then.

    \b
    Reads:  ranked-feeds and user-actions, from files or from Kafka;
            with --bundle served-features, ranking-requests and user-actions, from Kafka or --from a folder of dumps
    Prints: the value of a feed by inverse propensity scores (ips), self-normalized (snips), doubly robust (dr) and by
            the model alone (dm, first place), 95 % intervals with users drawn anew, and how far to trust them

    \b
    Examples:
      rankstream off-policy --reward save=3 --reward click
      rankstream off-policy --feeds feeds.jsonl --actions log.parquet --reward save --utility save=1 --utility hide=-9
      rankstream off-policy --reward click --policy plackett-luce --temperature 0.05 --places 3 --json
      rankstream off-policy --reward save --bundle bundles/next --user-vectors vectors/users --from monday
    """
    worth = worth_of(reward)
    weights = {head: number_of(f"--utility {head}", text) for head, text in utility.items()}
    target = Target(POLICIES[policy](temperature, epsilon), weights or None)
    window_ms = within_ms(within)
    source = open_source(folder, settings)
    log = open_actions(actions, map, set, time_unit, tuple(worth), source)
    skipped: Counter[str] = Counter()
    said, marks = target.text, list[str]()
    if place is None:
        if vectors or allow_leak:
            raise Refusal("--user-vectors and --allow-leak are about a --bundle; name it")
        slates = slates_of(read_feeds(feeds, source, skipped), target, worth, places, skipped)
    else:
        if feeds:
            raise Refusal("--feeds tell no states to rank again with; leave it out, --bundle reads served-features")
        ranker = new_ranker(place, vectors)
        again = Again(ranker, target, worth, places)
        topics = source.records(SERVED), source.records(REQUESTS), source.records(ACTIONS)
        slates, marks = slates_again(*topics, again, settings.history_limit, skipped, allow_leak)
        said = f"model {ranker.bundle.manifest.model_version}, {said}".replace(" as served", "")
    if not slates:
        raise Refusal(_nothing(skipped, weights))
    vocabulary = Vocabulary(tuple(worth), ())
    by_code = {vocabulary.action_codes[name]: value for name, value in worth.items()}
    rewards = rewards_of(slates, log.batches(vocabulary), by_code, places, window_ms)
    if not rewards.any():
        raise Refusal(_unrewarded(slates, worth, within, log))
    report = judge(slates, rewards, said, skipped=skipped, marks=marks, clip=clip, seed=seed)
    if as_json:
        click.echo(msgspec.json.encode(report.as_dict()))
    else:
        show(report)


def _nothing(skipped: Mapping[str, int], weights: Mapping[str, float]) -> str:
    if not skipped:
        return "there are no feeds to judge; serve with --exploration plackett-luce and collect what is answered"
    (reason, count), *_ = Counter(skipped).most_common()
    heads = f" ({', '.join(weights)})" if reason == NO_HEAD else ""
    remedy = {
        NO_PROPENSITIES: "start workers with --exploration plackett-luce",
        NOT_A_FEED: "give lines as `rankstream watch --json` prints them",
        CUT: "ask without top_k, or name a --bundle to rank all candidates again with",
        NO_HEAD: "name heads that the feeds have",
    }.get(reason, "look at what was served with `rankstream watch`")
    return f"none of the {sum(skipped.values()):,} feeds can be judged, {count:,} for being {reason}{heads}; {remedy}"


def _unrewarded(slates: list[Slate], worth: Mapping[str, float], within: str, log: RecordedLog) -> str:
    first, last = (time_text(pick(slate.at_ms for slate in slates)) for pick in (min, max))
    return (
        f"nothing that {len(slates):,} feeds ({first} to {last}) showed got a {' or '.join(worth)} within {within} in "
        f"{log.name}; check that times and ids are those of the feeds, and --time-unit"
    )
