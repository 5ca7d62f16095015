"""`rankstream settings`: every value, and where it was set."""

from dataclasses import fields
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from rankstream.cli.options.train_settings import TrainSettings, read_train_origins
from rankstream.streams.setting_fields import about
from rankstream.streams.settings import Settings, read_origins


@click.command()
@click.option("--config", type=click.Path(path_type=Path), help="Settings file.  [default: rankstream.toml, if there]")
def command(config: Path | None) -> None:
    """Show every setting and where its value comes from.

    Reads the environment and the settings file as all commands do; flags of other commands take precedence over both.
    Names that begin with train. belong to `rankstream train`.

    \b
    Example:
      RANKSTREAM_PARTITIONS=16 rankstream settings
    """
    origins = read_origins(file=config)
    table = Table("setting", "value", "comes from")
    for known in fields(Settings):
        value = getattr(origins.settings, known.name)
        shown = "***" if about(known).secret and value else "" if value is None else str(value)
        table.add_row(known.name, shown, origins.sources.get(known.name, "the default"))
    training = read_train_origins(file=config)
    for known in fields(TrainSettings):
        value = getattr(training.settings, known.name)
        shown = f"by size {training.settings.size}" if value is None and known.name != "minutes" else str(value)
        table.add_row(f"train.{known.name}", shown, training.sources.get(known.name, "the default"))
    Console().print(table)
