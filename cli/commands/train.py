"""`rankstream train`: from a log to a bundle and user vectors."""

import sys
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from rankstream.cli.errors import Refusal, needing_torch, refusing
from rankstream.cli.options.aliases import renamed
from rankstream.cli.options.logs import log_options, time_option, utility_option
from rankstream.cli.options.settings import options_of
from rankstream.cli.options.train_settings import TrainSettings, read_train_settings
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.skipped import print_notes
from rankstream.evaluation.time_text import time_text
from rankstream.events.open import LogOptions


@click.command(context_settings=renamed({"--draws": "--accumulation-steps"}))
@click.argument("log", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for the bundle, vectors and weights; a new one.",
)
@click.option(
    "--items",
    type=click.Path(path_type=Path),
    help="What items are: a file of them, or a catalogue's folder (`rankstream catalogue import`).",
)
@click.option("--users", type=click.Path(path_type=Path), help="What users are: a file of them, a row a user.")
@click.option(
    "--user-columns",
    metavar="ID,NAME,...",
    help="Its column of ids, then those to learn from.  [default: by its name; all others]",
)
@time_option("--until", help="Train on actions before TIME only.  [default: LOG's end]")
@log_options
@click.option(
    "--positive",
    "positives",
    multiple=True,
    metavar="ACTION",
    help="A positive action type; repeatable.  [default: the log's only one]",
)
@click.option("--negative", "negatives", multiple=True, metavar="ACTION", help="A negative action type; repeatable.")
@utility_option
@click.option("--export/--no-export", default=True, help="Make OUT/bundle too, which takes half a minute.")
@json_option
@options_of(fields(TrainSettings), read_train_settings)
def command(
    log: Path,
    out: Path,
    items: Path | None,
    users: Path | None,
    user_columns: str | None,
    until: int | None,
    log_options: LogOptions,
    positives: tuple[str, ...],
    negatives: tuple[str, ...],
    utility: dict[str, float],
    export: bool,
    as_json: bool,
    settings: TrainSettings,
) -> None:
    """Train the models on a log of actions.

    LOG is a file, a folder or a pattern of files: Parquet, CSV or JSON lines with the columns of the wire (user_id,
    item_id, action, timestamp_ms) or columns of usual names, or a public log as published (see --format), known by its
    columns; those need no --positive, nor does a log of one type of action. Rows that a worker would reject are skipped
    and counted by reason. Item vectors and HierTCN, PinnerFormer and the ranker are trained one after the other, then
    exported and verified. A killed training goes on when the same command is started again; one that has ended only
    exports. With --items the ranker learns what users take of each category, group, collection, price and age, with
    --users who acts on what, by what is known of users (age, plan, country), and the bundle keeps both. Settings also
    come from RANKSTREAM_TRAIN_... variables and from [train] in rankstream.toml. Needs torch: pip install
    "rankstream[train]"; with "rankstream[logs]", `tensorboard --logdir OUT/work` plots curves.

    \b
    Writes: OUT/bundle, OUT/vectors/users, OUT/work (weights, checkpoints, logs)

    \b
    Example:
      rankstream train actions.parquet --out run --positive save \\
        --positive click --negative hide
      rankstream train clicks/ --out run --positive buy --items products.csv
      rankstream train ml-100k --out run --until 1998-03-01 --minutes 30
      rankstream train kuairand --out run --size paper --processes 4
    """
    if user_columns is not None and users is None:
        raise Refusal(f"--user-columns {user_columns} says how a file of users is read, and none is given: add --users")
    if (out / "bundle").exists():
        raise Refusal(f"{out / 'bundle'} is there already; a bundle never changes: name a new folder")
    with needing_torch():
        from rankstream.bundles.parts import ExportError
        from rankstream.cli.options.event_logs import read_events, what_is_held_out
        from rankstream.cli.options.items import read_catalogue
        from rankstream.cli.options.training import recipe_of
        from rankstream.cli.options.users import read_profiles, user_options
        from rankstream.events.arrivals import LogError
        from rankstream.features.embeddings.files import BrokenTableError
        from rankstream.models.recipes.encoders import OutOfTimeError
        from rankstream.models.recipes.export import export_models
        from rankstream.models.recipes.run_folder import OtherRunError, one_at_a_time
        from rankstream.models.recipes.train import publish_users, train_models
        from rankstream.models.training.checkpoints import WeightsRefusedError
        from rankstream.models.training.distributed import TeamLostError, joined_team, launch, team_size
        from rankstream.models.training.loop import DivergedError, ResumeRefusedError, pick_device
    if settings.processes > 1 and team_size() == 1:
        raise SystemExit(launch(settings.processes, [sys.executable, "-m", "rankstream.cli.main", *sys.argv[1:]]))
    kinds = (
        LogError, ExportError, TeamLostError, DivergedError, ResumeRefusedError, OtherRunError,
        WeightsRefusedError, BrokenTableError,
    )  # fmt: skip
    with refusing(*kinds), joined_team() as team, ExitStack() as held:
        device = pick_device(settings.device)
        events, known = read_events(log, log_options, quiet=not team.writes)
        recipe = recipe_of(known, events.vocabulary, settings, device, positives, negatives, utility)
        if until is not None:
            until, note = what_is_held_out(events, until)
            print_notes((note,) if note and team.writes else ())
        catalogue = None if items is None else read_catalogue(items, events, until, quiet=not team.writes)
        profiles = None
        if users is not None:
            profiles = read_profiles(users, user_options(user_columns), events, quiet=not team.writes)
        if team.writes:
            held.enter_context(one_at_a_time(out / "work"))
        try:
            with Progress(console=Console(stderr=True)) as progress:
                models = train_models(
                    events,
                    recipe,
                    out / "work",
                    until_ms=until,
                    seconds=float("inf") if settings.minutes is None else settings.minutes * 60,
                    progress=progress,
                    device=device,
                    catalogue=catalogue,
                    profiles=profiles,
                )
        except OutOfTimeError as exc:
            click.echo(
                f"stopped after {settings.minutes:g} minutes: {exc}; the same command goes on from there",
                err=as_json,
            )
            if as_json and team.writes:
                print_json({"finished": False})
            return
        if not team.writes:
            return
        published = publish_users(models, events, out / "vectors" / "users")
        about = models.about
        click.echo(
            f"{out / 'work'}: trained on {about.actions:,} actions before {time_text(about.until_ms)}", err=as_json
        )
        click.echo(f"{out / 'vectors' / 'users'}: vectors of {published.users:,} users", err=as_json)
        version = export_models(models, out / "bundle").model_version if export else None
        if version:
            click.echo(f"{out / 'bundle'}: model {version}", err=as_json)
        if as_json:
            done = {"finished": True, "work": out / "work", "bundle": out / "bundle" if export else None}
            trained = {"actions": about.actions, "until_ms": about.until_ms, "users": published.users}
            print_json(done | trained | {"model_version": version})
