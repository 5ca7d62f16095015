"""All benchmarks in one go: what is listed can be run, what fails or lacks something is told, what is there is kept."""

import ast
from pathlib import Path

import msgspec
import pytest

from benchmarks.__main__ import _run, main
from benchmarks.entries import ENTRIES, NEEDS, Entry, Given, missing
from benchmarks.figures import Figure, read_figures, write_figures
from benchmarks.machine import Machine
from benchmarks.plot import draw
from benchmarks.report import Report
from benchmarks.suite import FAILED, KEPT, MEASURED, SKIPPED, Outcome, Suite, code_digest

ROOT = Path(__file__).resolve().parents[2]
HERE = Machine("a processor", 2, 24.0, "a system", "abc123", {"python": "3.11.7"})
RATES = [Figure.of("plain", "events/s of CPU", [90, 100, 120]), Figure.of("compiled", "events/s of CPU", [650_000])]
FOUND = Outcome("engine", MEASURED, figures=RATES, load_before=0.4, load_after=1.2)


def a_suite(folder: Path, **more) -> Suite:
    return Suite(folder, Given(), quick=True, tell=lambda line: None, **more)


def an_entry(name: str, *quick: str, **more) -> Entry:
    return Entry(name, "what a test measures", (), quick, **more)


def a_report(*outcomes: Outcome, load: float = 0.5, whole: bool = True) -> Report:
    return Report("Benchmarks", HERE, "2026-01-02T03:04:05", "2026-01-02T03:05:06", load, load, outcomes, whole)


def flags_of(module: Path) -> set[str]:
    """Return the first name of each argument that a module's parser has."""
    calls = [node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.Call)]
    added = [call for call in calls if getattr(call.func, "attr", "") == "add_argument"]
    own = {str(call.args[0].value) for call in added if isinstance(call.args[0], ast.Constant)}
    named = {getattr(call.func, "id", "") for call in calls}
    shared = {"--json"} if "add_json" in named else set()
    return own | shared | (flags_of(module.parent / "on_a_topic.py") if "measure" in named and not own else set())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_what_is_listed_is_a_module_that_takes_its_arguments(entry):
    module = ROOT / "benchmarks" / f"{entry.name}.py"
    given = Given(Path("bundle"), Path("kafka"), Path("rival"))
    arguments = [*entry.arguments(given, quick=entry.quick is not None), *entry.arguments(given, quick=False), "--json"]
    assert {one for one in arguments if one.startswith("--")} <= flags_of(module)
    assert '__name__ == "__main__"' in module.read_text()
    assert set(entry.needs) <= set(NEEDS)


def test_figures_are_medians_with_their_spread_and_come_back_as_written(tmp_path):
    assert (RATES[0].median, RATES[0].low, RATES[0].high, RATES[0].rounds) == (100, 90, 120, 3)
    write_figures(tmp_path / "figures.json", RATES)
    assert read_figures(tmp_path / "figures.json") == RATES


def test_a_benchmark_runs_and_is_kept_until_something_differs(tmp_path):
    entry = an_entry("pipeline", "2000", "--rounds", "2")
    (first,) = a_suite(tmp_path).run([entry])
    assert first.state == MEASURED, first.reason
    assert [figure.rounds for figure in first.figures] == [2, 2]
    (second,) = a_suite(tmp_path).run([entry])
    assert (second.state, second.figures) == (KEPT, first.figures)
    suite, code = a_suite(tmp_path), code_digest()
    assert suite.digest(entry, code) == first.digest != suite.digest(an_entry("pipeline", "3000"), code)


@pytest.mark.parametrize(("again", "digest"), [(True, "the same"), (False, "another")])
def test_what_is_there_is_measured_anew_if_asked_or_if_the_code_is_another(tmp_path, again, digest):
    entry = an_entry("entries")  # ends well, without figures
    known = a_suite(tmp_path).digest(entry, code_digest()) if digest == "the same" else digest
    left = Outcome("entries", MEASURED, figures=RATES, digest=known)
    (tmp_path / "entries.json").write_bytes(msgspec.json.encode(left))
    (found,) = a_suite(tmp_path, again=again).run([entry])
    assert (found.state, found.figures) == (FAILED, [])
    assert "left no figures" in found.reason


def test_one_that_fails_is_told_with_its_last_lines_and_the_others_go_on(tmp_path):
    entries = [an_entry("no_such_module"), an_entry("engine", needs=("rival",)), an_entry("entries")]
    found = list(a_suite(tmp_path).run(entries))
    assert [one.state for one in found] == [FAILED, SKIPPED, FAILED]
    assert "exit code 1" in found[0].reason
    assert "No module named benchmarks.no_such_module" in found[0].reason
    assert not a_report(*found).is_good


def test_one_that_hangs_is_stopped(tmp_path):
    (found,) = a_suite(tmp_path).run([an_entry("gateway", "--be-in-process", limit_s=0.2)])
    assert found.state == FAILED
    assert found.reason.startswith("it did not end within 0.2 s")


def test_what_was_found_before_it_was_stopped_is_reported(tmp_path):
    def stop(line: str) -> None:
        if line.startswith("[2/"):
            raise KeyboardInterrupt

    lacking = [an_entry("engine", needs=("rival",)), an_entry("restore", needs=("rival",))]
    report = _run(Suite(tmp_path, Given(), quick=True, tell=stop), lacking)
    assert [one.name for one in report.outcomes] == ["engine"]
    assert "Stopped before the end" in report.as_markdown()


def test_what_is_missing_is_told_with_what_to_do(tmp_path):
    entry = next(one for one in ENTRIES if one.name == "join")
    assert "make demo" in (missing(entry, Given()) or "")
    assert "manifest.json" in (missing(entry, Given(tmp_path)) or "")
    (tmp_path / "manifest.json").touch()
    assert missing(entry, Given(tmp_path)) is None


def test_the_report_has_a_row_a_figure_with_machine_and_load():
    page = a_report(FOUND, Outcome("rival", SKIPPED, "no rival")).as_markdown()
    assert "a processor, 2 cores, 24 GB; a system; python 3.11.7; revision abc123; 2026-01-02T03:04:05 to" in page
    assert "| plain | 100 | 90 to 120 | events/s of CPU | 3 | 0.4, 1.2 |" in page
    assert "|  | compiled | 650,000 | - | events/s of CPU | 1 |  |" in page
    assert "## Not measured here\n\n- rival: no rival" in page
    assert "busy" not in page
    assert "The machine was busy" in a_report(FOUND, load=40).as_markdown()


def test_the_plot_has_what_can_be_compared(tmp_path):
    assert draw(a_report(FOUND), tmp_path / "report.svg")
    assert "engine, events/s of CPU" in (tmp_path / "report.svg").read_text()
    assert not draw(a_report(Outcome("rival", SKIPPED)), tmp_path / "none.svg")


def test_the_command_lists_and_refuses(capsys, tmp_path):
    assert main(["--list", "--only", "rival"]) == 0
    assert "not here: no" in capsys.readouterr().out
    for wrong in (["--only", "nonsense"], ["--bundle", str(tmp_path / "none")]):
        with pytest.raises(SystemExit) as refused:
            main(wrong)
        assert refused.value.code == 2
