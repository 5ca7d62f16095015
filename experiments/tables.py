"""`python -m rankstream.experiments.tables`: from the runs' results to the tables of docs/models.md.

Each experiment has a module with a function that returns its tables by name; those without any result stay as they
are.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import click

from rankstream.experiments.feed import tables as feed_tables
from rankstream.experiments.kuairand import tables as ranker_tables
from rankstream.experiments.markdown import NoMarkersError, write_tables
from rankstream.experiments.music import tables as encoder_tables
from rankstream.experiments.plots import draw
from rankstream.experiments.runs import RESULTS, Runs

Tables = Callable[[Runs], Mapping[str, str]]  # the results -> Markdown by the name of its markers

BUILDERS: tuple[Tables, ...] = (ranker_tables.tables, encoder_tables.tables, feed_tables.tables)  # one each

PAGE = Path(__file__).parent.parent / "docs" / "models.md"


@click.command()
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, help="Folder of the runs' results.")
@click.option("--page", type=click.Path(path_type=Path), default=PAGE, help="Page with the tables.")
def main(results: Path, page: Path) -> None:
    """Write the tables of all experiments into PAGE, from results alone: nothing is trained."""
    tables = {name: text for build in BUILDERS for name, text in build(Runs(results)).items()}
    plots = draw(Runs(results), page.parent / "plots")
    try:
        write_tables(page, tables)
    except NoMarkersError as exc:
        raise click.ClickException(str(exc)) from exc
    click.echo(f"{page}: {len(tables)} tables ({', '.join(tables) or 'no results yet'}), {len(plots)} plots")


if __name__ == "__main__":
    main()
