"""`python -m rankstream.experiments.kuairand.ranker`: the ranker on KuaiRand-Pure, row by row.

One run is one row with one seed: train on 25 April to 3 May, predict validation and test. Rows that are finished are
skipped, and all of them are then compared with bootstrap intervals over users;
`python -m rankstream.experiments.tables` writes the tables.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import Progress

from rankstream.events.public.kuairand import HEADS, UTILITY, VOCABULARY, read_tags
from rankstream.experiments.kuairand.baselines import Predict, at_random, classifiers, lambdamart, popularity
from rankstream.experiments.kuairand.data import DataConfig, caches_of, day_lists, half, small
from rankstream.experiments.kuairand.diversity import diversity
from rankstream.experiments.kuairand.freshness import ages_of, gains_by_age
from rankstream.experiments.kuairand.request_cache import RequestCache
from rankstream.experiments.kuairand.rows import NAMES, Row, rows
from rankstream.experiments.kuairand.scoring import Impressions, Scored, ScoredTwice, intervals
from rankstream.experiments.options import options, seeds_option
from rankstream.experiments.runs import Runs, plain, stop_politely
from rankstream.features.schema import Ints
from rankstream.models.ranker.hybrid import HybridRanker, RankerBatch, RankerConfig
from rankstream.models.ranker.training import RankerTraining, train_on
from rankstream.models.ranker.transact import TransActConfig
from rankstream.models.training.loop import FitConfig

HOUR_MS = 3_600_000
SCORED_AT_ONCE = 1024  # impressions
RESAMPLES = 200  # of a bootstrap
BASELINES = ("random", "popularity", "lambdamart", "classifiers")
FRESHEST = ("no_realtime", "average_items")  # rows that the full hybrid is compared with by the newest action's age
DIVERSE = ("full", "no_mask")  # rows whose diversity is measured

# M of the loss; columns: nothing, click, long view, like, skip. The paper's sum over actions would give a click that is
# also a long view twice the weight, and shift every probability up (ECE .09 instead of .02 on validation). All but a
# few hundred long views and likes are clicks too; those few have weight zero.
CALIBRATED = ((1.0, 1.0, 0.0, 0.0, 1.0),) * len(HEADS)

Predictions = npt.NDArray[np.float32]


@dataclass(frozen=True)
class RankerSettings:
    """How rankers are made and trained; the same for every row, chosen for the full hybrid on validation days."""

    data: DataConfig
    num_actions: int = 24  # newest actions seen; 100 in the paper
    action_dim: int = 32
    layers: int = 2
    recent_outputs: int = 10
    encoder_dropout: float = 0.0  # 0.1 in the paper: a third of the time on a CPU
    mask_window_ms: int = 24 * HOUR_MS
    crosses: int = 2
    cross_rank: int | None = None
    mlp: tuple[int, ...] = (256, 128)
    dropout: float = 0.1
    requests: int = 432  # of a batch, some 512 impressions
    epochs: float = 1.2
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    label_weights: tuple[tuple[float, ...], ...] | None = CALIBRATED

    def inputs(self, work: Path, size: str) -> Path:
        """Return the folder of the joined requests; another ``data`` has another one."""
        return work / f"ranker-{size}" / f"inputs-{blake2b(repr(self.data).encode(), digest_size=4).hexdigest()}"

    def ranker(self, sizes: Any, heads: tuple[str, ...]) -> RankerConfig:
        """Return the ranker's sizes."""
        transact = TransActConfig(
            num_types=len(VOCABULARY.actions),
            item_dim=sizes.item_dim,
            action_dim=self.action_dim,
            layers=self.layers,
            dropout=self.encoder_dropout,
            recent_outputs=self.recent_outputs,
            mask_window_ms=self.mask_window_ms,
        )
        return RankerConfig(transact, sizes, heads, self.crosses, self.cross_rank, self.mlp, self.dropout)

    def training(self, requests: int, mask: bool, seed: int) -> RankerTraining:
        """Return how long and how fast, for so many requests."""
        steps = max(1, round(self.epochs * requests / self.requests))
        fit = FitConfig(
            steps=steps,
            learning_rate=self.learning_rate,
            warm_up=max(1, steps // 10),
            weight_decay=self.weight_decay,
            evaluate_every=50,
            checkpoint_every=100,
            seed=seed,
        )
        return RankerTraining(self.requests, self.label_weights, mask=mask, fit=fit)


SMALL = RankerSettings(
    small(DataConfig()), num_actions=12, action_dim=16, recent_outputs=5, mlp=(64, 32), requests=128, epochs=1.5
)
HALF = RankerSettings(
    half(DataConfig()),
    num_actions=16,
    action_dim=16,
    recent_outputs=5,
    mlp=(128, 64),
    requests=216,
    learning_rate=2e-3,
)
SIZES = {"small": SMALL, "half": HALF, "full": RankerSettings(DataConfig())}


@dataclass(frozen=True)
class RunConfig:
    """What identifies a run: a result with another config is not its own."""

    row: str
    seed: int
    settings: RankerSettings


@dataclass(frozen=True)
class RowRequests:
    """The requests of a cache with the inputs that a row's ranker has (some rows lack one)."""

    cache: RequestCache
    row: Row

    @property
    def lengths(self) -> Ints:
        """Return how many actions each request's history holds."""
        return self.cache.lengths

    @property
    def have_weights(self) -> bool:
        """Return whether some requests hold candidates that were drawn beside a list: none does."""
        return self.cache.have_weights

    def batch(self, rows: Ints) -> RankerBatch:
        """Return these requests."""
        return self.row.see(self.cache.batch(rows))


@dataclass(frozen=True)
class Experiment:
    """The inputs of every run, and the folder of its predictions."""

    parts: dict[str, RequestCache]
    kinds: dict[int, tuple[str, str]]  # tag and author of an item
    predictions: Path

    @classmethod
    def open(cls, data: Path, size: str, work: Path, progress: Progress) -> "Experiment":
        """Map the inputs of a size into memory, made if they are not there."""
        table, settings = f"ranker-{size}", SIZES[size]
        folders = caches_of(data, settings.inputs(work, size), settings.data, progress)
        parts = {part: RequestCache(folder, settings.num_actions) for part, folder in folders.items()}
        parts |= {f"{part}_days": day_lists(cache) for part, cache in parts.items()}
        return cls(parts, read_tags(data), work / table / "predictions")

    def scored(self, part: str, predicted: Mapping[str, npt.NDArray[np.floating]]) -> ScoredTwice:
        """Score the predictions for a part, for its sessions of impressions and its lists of a day."""
        sessions, days = (self.parts[name] for name in (part, f"{part}_days"))
        users = np.unique(np.concatenate([sessions.user_keys, days.user_keys]))
        return ScoredTwice(
            *(
                Scored(impressions_of(cache, users), predicted[name].astype(np.float64))
                for name, cache in ((part, sessions), (f"{part}_days", days))
            )
        )

    def path(self, row: str, seed: int) -> Path:
        """Return where a run's predictions are kept."""
        return self.predictions / f"{row}-{seed}.npz"

    def weights(self, row: str, seed: int) -> Path:
        """Return where a run's weights are kept."""
        self.predictions.mkdir(parents=True, exist_ok=True)
        return self.predictions / f"{row}-{seed}.pt"

    def work(self, row: Row | None, progress: Progress) -> Callable[[RunConfig, Path], dict[str, Any]]:
        """Return the work of a row's run; without one, of the baseline that the config names."""

        def done(config: RunConfig, folder: Path) -> dict[str, Any]:
            predicted, extra = (
                self.train(config, row, folder, progress) if row else self.baseline(config.row, config.seed)
            )
            self.predictions.mkdir(parents=True, exist_ok=True)
            np.savez(self.path(config.row, config.seed), **predicted)
            return extra | {part: self.scored(part, predicted).metrics() for part in scored_parts(config.row)}

        return done

    def baseline(self, name: str, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return a baseline's predictions."""
        types, train, days = len(VOCABULARY.actions), self.parts["train"], self.parts["train_days"]
        made: dict[str, Callable[[], Predict]] = {
            "random": lambda: at_random(seed),
            "popularity": lambda: popularity(train),
            "lambdamart": lambda: lambdamart(days, types, seed),
            "classifiers": lambda: classifiers(train, types, seed),
        }
        predict = made[name]()
        return {part: predict(self.parts[part]) for part in predicted_parts(name)}, {}

    def train(
        self, config: RunConfig, row: Row, folder: Path, progress: Progress
    ) -> tuple[dict[str, Predictions], dict[str, Any]]:
        """Train a row's ranker and predict."""
        train = self.parts["train"]
        torch.manual_seed(config.seed)
        ranker = row.ranker(config.settings.ranker(train.sizes, train.heads))
        training = config.settings.training(len(train), row.mask, config.seed)
        progress.console.print(f"{row.name} {config.seed}: {training.fit.steps} steps", highlight=False)
        history = train_on(ranker, RowRequests(train, row), training, checkpoints=folder, progress=progress)
        torch.save(ranker.state_dict(), self.weights(config.row, config.seed))
        predicted = {part: predict(ranker, self.parts[part], row) for part in predicted_parts(row.name)}
        extra: dict[str, Any] = {
            "parameters": sum(weight.numel() for weight in ranker.parameters()),
            "loss": history.losses[-1][1],
            "exposures": {part: len(cache.labels) for part, cache in self.parts.items()},
        }
        if row.name in DIVERSE:
            extra["diversity"] = diversity(
                lambda batch: utility(ranker, row.see(batch)), self.parts["test"], self.kinds
            )
        return predicted, extra


def scored_parts(row: str) -> tuple[str, ...]:
    """Return the parts that a row is scored on; validation is for choosing settings, by the full hybrid alone."""
    return ("validation", "test") if row == "full" else ("test",)


def predicted_parts(row: str) -> list[str]:
    """Return the caches that a row predicts: sessions of impressions, and lists of a day."""
    return [part + cut for part in scored_parts(row) for cut in ("", "_days")]


def impressions_of(cache: RequestCache, users: npt.NDArray[np.uint64]) -> Impressions:
    """Return the impressions of a cache; a request is a list. ``users`` are all keys, sorted."""
    lists = np.repeat(np.arange(len(cache)), cache.sizes_of)
    owners = np.searchsorted(users, np.asarray(cache.user_keys))[lists]
    return Impressions(owners, lists, np.asarray(cache.labels, np.float64), cache.heads, UTILITY, len(users))


@torch.no_grad()
def predict(ranker: HybridRanker, cache: RequestCache, row: Row) -> Predictions:
    """Return probabilities of a cache's impressions, ``(N, heads)``."""
    found = np.zeros((len(cache.labels), len(cache.heads)), np.float32)
    for at, batch in cache.batches(SCORED_AT_ONCE):
        found[at] = torch.sigmoid(ranker.eval()(row.see(batch))).numpy()
    return found


@torch.no_grad()
def utility(ranker: HybridRanker, batch: RankerBatch) -> npt.NDArray[np.float64]:
    """Return the score that lists are ordered by."""
    weights = np.array([UTILITY[head] for head in ranker.config.heads])
    scores: npt.NDArray[np.float64] = torch.sigmoid(ranker.eval()(batch)).numpy().astype(np.float64) @ weights
    return scores


def trained(data: Path, size: str, seed: int, work: Path, progress: Progress) -> HybridRanker:
    """Return the full hybrid of a seed as its run left it; the run is made if it is not there."""
    experiment = Experiment.open(data, size, work, progress)
    settings, train = SIZES[size], experiment.parts["train"]
    full = rows(settings.recent_outputs, settings.num_actions)[0]
    path = experiment.weights(full.name, seed)
    if not path.exists():
        config = RunConfig(full.name, seed, settings)
        folder = work / f"ranker-{size}" / f"{full.name}-{seed}-alone"
        experiment.train(config, full, folder, progress)
    ranker = HybridRanker(settings.ranker(train.sizes, train.heads))
    ranker.load_state_dict(torch.load(path, weights_only=True))
    return ranker.eval()


@dataclass(frozen=True)
class Comparison:
    """Which runs are compared, by the time they ended, so that a new run leads to a new comparison."""

    runs: dict[str, str]
    resamples: int = RESAMPLES
    seed: int = 0


def compare(experiment: Experiment, runs: Runs, table: str, settings: RankerSettings) -> None:
    """Compare the finished rows with these settings, each with its seeds."""
    plain_settings = plain(asdict(settings))
    done = [one for one in runs.results_of(table) if one["config"].get("settings") == plain_settings]
    names = {one["name"]: (one["config"]["row"], one["config"]["seed"]) for one in done}
    there = {name: key for name, key in names.items() if experiment.path(*key).exists()}
    if not any(row == "full" for row, _ in there.values()):
        return
    ended = {one["name"]: one["finished_at"] for one in done if one["name"] in there}

    def work(config: Comparison, folder: Path) -> dict[str, Any]:
        models: dict[str, list[ScoredTwice]] = {}
        for row, seed in there.values():
            models.setdefault(row, []).append(experiment.scored("test", np.load(experiment.path(row, seed))))
        impressions = models["full"][0].days.impressions
        fresh = {row: [one.sessions for one in models[row]] for row in ("full", *FRESHEST) if row in models}
        ages_ms = ages_of(experiment.parts["test"])
        return {
            "freshness": gains_by_age(fresh, ages_ms, "full", resamples=config.resamples, seed=config.seed),
            "rows": intervals(models, "full", impressions.num_users, resamples=config.resamples, seed=config.seed),
            "seeds": {row: len(seeds) for row, seeds in models.items()},
            "lists": impressions.num_lists,
            "long_lists": int(impressions.is_long.sum()),
            "users": impressions.num_users,
        }

    runs.run(f"{table}/_comparison", Comparison(ended), work)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of KuaiRand-Pure.")
@options(SIZES, "small", (*BASELINES, *NAMES))
@seeds_option(3)
@click.option("--compare/--no-compare", "comparing", default=True, help="Compare the finished rows at the end?")
def main(data: Path, size: str, only: tuple[str, ...], seeds: int, work: Path, results: Path, comparing: bool) -> None:
    """Run the rows that are not finished, the most important first, then compare all finished ones."""
    stop_politely()
    torch.set_num_threads(1)
    settings, runs, table = SIZES[size], Runs(results, work), f"ranker-{size}"
    with Progress(console=Console(stderr=True), transient=True) as progress:
        experiment = Experiment.open(data, size, work, progress)
        known: dict[str, Row | None] = {name: None for name in BASELINES}
        known |= {row.name: row for row in rows(settings.recent_outputs, settings.num_actions)}
        for name, row in known.items():
            for seed in range(1 if name in ("random", "popularity") else seeds):
                if not only or name in only:
                    config = RunConfig(name, seed, settings)
                    runs.run(f"{table}/{name}-{seed}", config, experiment.work(row, progress))
        if comparing:
            compare(experiment, runs, table, settings)


if __name__ == "__main__":
    main()
