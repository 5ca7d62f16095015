"""`rankstream example`: a shop's log to try the whole path on."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.evaluation.time_text import time_text
from rankstream.events.example.files import EndingError, check_ending, write_csv, write_example
from rankstream.events.example.sessions import BEGINS_MS, DAY_MS, EVENT_TYPES, ExampleConfig, ExampleLog, example_log

STDOUT = Path("-")
SIZES = ExampleConfig()
HELD_OUT_DAYS = 7  # that the hint to train leaves for evaluate and replay


@click.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True, dir_okay=False))
@click.option("--rows", type=click.IntRange(min=1), default=SIZES.rows, show_default=True, help="Rows of the file.")
@click.option(
    "--users",
    type=click.IntRange(min=1),
    default=SIZES.customers,
    show_default=True,
    help="Customers, guests included.",
)
@click.option("--products", type=click.IntRange(min=1), default=SIZES.products, show_default=True, help="Products.")
@click.option("--seed", type=click.IntRange(min=0), default=SIZES.seed, show_default=True, help="Another shop.")
@click.option("--force", is_flag=True, help="Replace FILE if it is there already.")
@json_option
def command(file: Path, rows: int, users: int, products: int, seed: int, force: bool, as_json: bool) -> None:
    """Write the log of a shop that does not exist, to try the other commands on.

    Six weeks of views, carts and purchases with prices, as a shop exports them: column names that are not those of the
    wire, dates as text, product ids with leading zeros, guests who come once, some rows without a customer and some
    twice. FILE ends with .csv, .csv.gz, .jsonl or .parquet, or is - for CSV on standard output. The same sizes and seed
    write the same file.

    Everything in it is drawn at random by rules (tastes, similar products, things that are used up, promotions:
    events/example/ has them all), so how well a model does on it says nothing about a real shop.

    \b
    Writes: FILE, with the columns event_time, event_type, product_id, category,
            price, customer_id

    \b
    Examples:
      rankstream example shop.csv
      rankstream example small.csv --rows 5000 --users 100 --products 60
      rankstream example - | head
    """
    with refusing(ValueError):
        config = replace(SIZES, rows=rows, customers=users, products=products, seed=seed)
    if file == STDOUT and as_json:
        raise Refusal("the CSV and --json both want standard output; name a file")
    if file == STDOUT:
        write_csv(example_log(config), click.get_binary_stream("stdout"))
        return
    with refusing(EndingError):
        check_ending(file)
    if not file.parent.is_dir():
        raise Refusal(f"there is no folder {file.parent} to write {file.name} to; make it, or name another")
    if file.exists() and not force:
        raise Refusal(f"{file} is there already; name another file, or replace it with --force")
    log = example_log(config)
    try:
        write_example(log, file)
    except ImportError as exc:
        raise Refusal(f'writing {file} needs pyarrow: pip install "rankstream[train]"; or write a .csv') from exc
    facts = _facts(file, log, config)
    if as_json:
        print_json(facts)
        return
    click.echo(
        f"{file}: {facts['rows']:,} rows of {users:,} customers on {products:,} products, "
        f"from {facts['first'][:10]} to {facts['last'][:10]}; all of it is made up"
    )
    positives = " ".join(f"--positive {name}" for name in EVENT_TYPES)
    click.echo(f"next: rankstream train {shlex.quote(str(file))} --out run --until {facts['until']} {positives}")


def _facts(file: Path, log: ExampleLog, config: ExampleConfig) -> dict[str, Any]:
    """Return what was written, and the date before which to train so that a week is left to evaluate."""
    until_ms = BEGINS_MS + (config.days - HELD_OUT_DAYS) * DAY_MS
    return {
        "file": str(file),
        "rows": len(log),
        "users": config.customers,
        "products": config.products,
        "first": time_text(int(log.times_ms[0])),
        "last": time_text(int(log.times_ms[-1])),
        "until": time_text(until_ms)[:10],
    }
