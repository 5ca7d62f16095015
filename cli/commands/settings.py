"""`rankstream settings`: every value, and where it was set."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import click

from rankstream.cli.options.train_settings import TrainSettings, read_train_origins
from rankstream.cli.views.as_json import json_option, print_json
from rankstream.cli.views.table import Table, console, names
from rankstream.gateway.settings import GatewaySettings, read_gateway_origins
from rankstream.streams.setting_fields import Origins, about
from rankstream.streams.settings import Settings, read_origins

Known = tuple[str, object, str, str]  # name, value, value as shown, source
HIDDEN = "***"
DEFAULT = "the default"


@click.command()
@click.option("--config", type=click.Path(path_type=Path), help="Settings file.  [default: rankstream.toml, if there]")
@json_option
def command(config: Path | None, as_json: bool) -> None:
    """Show every setting and where its value comes from.

    Reads the environment and the settings file as all commands do; flags of other commands take precedence over both.
    Names that begin with train. belong to `rankstream train`, with gateway. to `rankstream gateway`.

    \b
    Examples:
      RANKSTREAM_PARTITIONS=16 rankstream settings
      rankstream settings --json | jq .partitions.value
    """
    known = [*serving_settings(config), *gateway_settings(config), *training_settings(config)]
    if as_json:
        print_json({name: {"value": value, "source": source} for name, value, _, source in known})
        return
    console().print(table_of(known))


def table_of(known: Sequence[Known]) -> Table:
    """Return a row for each setting."""
    return Table(names("setting", "value", "comes from"), [[name, shown, source] for name, _, shown, source in known])


def serving_settings(config: Path | None) -> Iterator[Known]:
    """Yield name, value, value as shown, and source; of a secret, the stars alone."""
    yield from _told(read_origins(file=config))


def gateway_settings(config: Path | None) -> Iterator[Known]:
    """Yield the same of each setting of the gateway, whose names begin with ``gateway.``."""
    yield from _told(read_gateway_origins(file=config), "gateway.")


def _told(origins: Origins[Settings] | Origins[GatewaySettings], before: str = "") -> Iterator[Known]:
    for known in fields(origins.settings):
        value = getattr(origins.settings, known.name)
        value = HIDDEN if about(known).secret and value else value
        shown = "" if value is None else str(value)
        yield before + known.name, value, shown, origins.sources.get(known.name, DEFAULT)


def training_settings(config: Path | None) -> Iterator[Known]:
    """Yield the same of each setting of the training, whose names begin with ``train.``."""
    training = read_train_origins(file=config)
    for known in fields(TrainSettings):
        value = getattr(training.settings, known.name)
        shown = f"by size {training.settings.size}" if value is None and known.name != "minutes" else str(value)
        yield f"train.{known.name}", value, shown, training.sources.get(known.name, DEFAULT)
