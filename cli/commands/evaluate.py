"""`rankstream evaluate`: metrics of trained models on held-out actions, each model by itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rankstream.cli.errors import Refusal, needing_torch, refusing
from rankstream.cli.options.logs import log_options, time_option
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.table import Table, console, names, numbers
from rankstream.evaluation.time_text import time_text
from rankstream.events.open import LogOptions

if TYPE_CHECKING:
    from rankstream.evaluation.held_out import HeldOutMetric


@click.command()
@click.argument("log", type=click.Path(path_type=Path))
@click.option("--from", "run", type=click.Path(path_type=Path), required=True, help="Folder that `train` wrote.")
@time_option("--since", help="Evaluate from then on.  [default: where the training ended]")
@click.option(
    "--horizon-days", type=float, default=14.0, show_default=True, help="Horizon of PinnerFormer's relevant items."
)
@click.option("--requests", type=int, default=1000, show_default=True, help="Requests to the ranker, at most.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random generator.")
@json_option
@log_options
def command(
    log: Path,
    run: Path,
    since: int | None,
    horizon_days: float,
    requests: int,
    seed: int,
    as_json: bool,
    log_options: LogOptions,
) -> None:
    """Evaluate trained models on the held-out part of a log.

    Each model by its paper's metric, in a minute or so: PinnerFormer's recall of the positive items of the days to
    come, HierTCN's recall and reciprocal rank of the next item of a session, the ranker's AUC and HIT@3 of each head
    among the impressions of a session (KuaiRand) or items sampled at random; with 95 % intervals (users resampled).
    Beside each stand baselines that need no training (popularity, item-kNN, VMIS-kNN, what followed the last item),
    and a verdict: by how much the model beats the best of them, or loses to it. Items without a vector count as not
    found. Train with --until, so that LOG has such a part. The whole system, with its states, delays and final order,
    is evaluated by `rankstream replay`.

    \b
    Reads:  LOG, FROM/work

    \b
    Example:
      rankstream train ml-100k --out run --until 1998-03-01
      rankstream evaluate ml-100k --from run
    """
    with needing_torch():
        from rankstream.cli.options.event_logs import read_events
        from rankstream.evaluation.held_out import HeldOut, held_out_metrics
        from rankstream.events.arrivals import LogError
        from rankstream.models.recipes.run_folder import load_models
        from rankstream.models.recipes.train import threads
        from rankstream.models.training.checkpoints import WeightsRefusedError
    with refusing(LogError, WeightsRefusedError):
        models = load_models(run / "work")
        until_ms = models.about.until_ms
        if since is not None and since < until_ms:
            raise Refusal(f"--since {time_text(since)} lies before the end of the training, {time_text(until_ms)}")
        events, known = read_events(log, log_options, models.about.vocabulary)
        if models.about.impressions and not known.exposures:
            raise Refusal(
                f"the ranker of {run} was trained on what was shown, and {log} does not say that; give it with "
                "--shown ACTION or --impressions FILE"
            )
        held_out = HeldOut(since or until_ms, round(horizon_days * 86_400_000), max_requests=requests, seed=seed)
        with threads(1):  # one request at a time: a second thread only waits
            found = list(held_out_metrics(models, events, held_out)) if events.time_at(1.0) > held_out.since_ms else []
    if not found:
        raise Refusal(
            f"{log} has nothing to evaluate after {time_text(held_out.since_ms)}; train with an earlier "
            "--until, or give a longer log"
        )
    if as_json:
        print_json({"since_ms": held_out.since_ms, "metrics": found})
    else:
        for model in dict.fromkeys(one.model for one in found):
            of_model = [one for one in found if one.model == model]
            console().print(table_of(of_model, f"{model} on {log} from {time_text(held_out.since_ms)}"))


def table_of(found: Sequence["HeldOutMetric"], title: str) -> Table:
    """Return a row for a model and each baseline, a column a metric; verdicts below."""
    model, baselines = found[0].model, list(dict.fromkeys(name for one in found for name in one.baselines))
    rows = [[model, *(_cell(one.mean, one.low, one.high) for one in found)]]
    for name in baselines:
        others = [one.baselines[name] for one in found]
        rows.append([name, *(_cell(one.mean, one.low, one.high) for one in others)])
    columns = [*names("ranked by"), *numbers(*(f"{one.metric}\n{one.queries:,} queries" for one in found))]
    notes = [f"{one.verdict}." for one in found]
    unknown = max(found, key=lambda one: one.unknown)
    if unknown.unknown:
        notes.append(
            f"{unknown.unknown:,} relevant items of the {unknown.queries:,} queries have no vector: nobody can find "
            "them, and they count as not found."
        )
    return Table(columns, rows, f"{title}, 95 % intervals", notes)


def _cell(mean: float, low: float, high: float) -> str:
    return f"{mean:.4f}\n{low:.4f} to {high:.4f}"
