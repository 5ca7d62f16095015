from dataclasses import dataclass

import pytest
from click.testing import CliRunner

from rankstream.experiments import tables
from rankstream.experiments.markdown import NoMarkersError, between_markers, mean_and_interval, table, write_tables
from rankstream.experiments.music.tables import rows_of
from rankstream.experiments.runs import Runs


@dataclass(frozen=True)
class Nothing:
    """The config of a run without settings."""


PAGE = "# Models\n<!-- table:one -->\nold\n<!-- /table -->\ntext\n<!-- table:two -->\n<!-- /table -->\n"


def test_a_table_replaces_what_stands_between_its_markers_only():
    written = between_markers(PAGE, "one", table(["row", "hit"], [["full", ".25"]]))
    assert written == PAGE.replace("old", "| row | hit |\n| --- | ---: |\n| full | .25 |")
    assert between_markers(written, "one", "old") == PAGE


def test_a_table_without_markers_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    with pytest.raises(NoMarkersError, match="no markers for the table three"):
        write_tables(page, {"three": "text"})
    assert page.read_text() == PAGE


def test_the_command_writes_what_results_hold(tmp_path, monkeypatch):
    page, results = tmp_path / "page.md", tmp_path / "results"
    page.write_text(PAGE)
    Runs(results, tmp_path / "work").run("t/full", Nothing(), lambda config, folder: {"hit": 0.25})
    monkeypatch.setattr(tables, "BUILDERS", (lambda runs: {"two": str(runs.results_of("t")[0]["metrics"]["hit"])},))
    done = CliRunner().invoke(tables.main, ["--results", str(results), "--page", str(page)])
    assert done.exit_code == 0, done.output
    assert "<!-- table:two -->\n0.25\n<!-- /table -->" in page.read_text()


def test_numbers_are_written_short():
    assert mean_and_interval(0.4118, (0.3984, 1.2)) == ".412 [.398, 1.200]"
    assert mean_and_interval(-0.0204, (-0.03, -0.0003)) == "-.020 [-.030, .000]"


def test_each_table_is_of_the_largest_size_that_has_most_of_its_rows(tmp_path):
    runs = Runs(tmp_path, tmp_path / "work")
    for name in (
        "medium/dense-seed0",
        "medium/sasrec-seed0",
        "medium/random-seed0",
        "full/dense-seed0",
        "full/sasrec-seed0",
    ):
        runs.run(f"pinnerformer-{name}", Nothing(), lambda config, folder: {"targets": "1"})
    assert rows_of(runs, "pinnerformer", ("dense", "sasrec"))[1] == "full"
    assert rows_of(runs, "pinnerformer", ("dense", "random"))[1] == "medium"
    assert rows_of(runs, "pinnerformer", ("dense", "random", "not run"))[1] == "medium"
