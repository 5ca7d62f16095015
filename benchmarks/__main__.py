"""All benchmarks in one go: medians and spread, rivals beside, with machine, versions, date and load.

    python -m benchmarks [--quick] [--only NAME] [--list] [--json] [--out FOLDER] [--again]
        [--bundle DIR] [--kafka-home DIR] [--rival DIR]

`entries.py` lists what is run, `suite.py` says what is kept. Ends with 1 if a benchmark failed, 130 if it was stopped.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.entries import DEMO_BUNDLE, ENTRIES, Entry, Given, missing
from benchmarks.machine import Machine, load, now
from benchmarks.plot import draw
from benchmarks.report import Report
from benchmarks.suite import Outcome, Suite
from rankstream.features.files import whole_file

OUT = Path(".benchmarks")
STOPPED = 130  # exit code, as a shell has it after Ctrl-C


def main(given: Sequence[str] | None = None) -> int:
    """Run the list, print the report and write it; return the exit code."""
    parser = _parser()
    chosen = parser.parse_args(given)
    for path in (chosen.bundle, chosen.kafka_home, chosen.rival):
        if path is not None and not path.is_dir():
            parser.error(f"{path} is not a folder; leave the flag (or KAFKA_HOME) out to do without")
    entries = [entry for entry in ENTRIES if not chosen.only or entry.name in chosen.only]
    bundle = chosen.bundle or (DEMO_BUNDLE if DEMO_BUNDLE.exists() else None)
    surroundings = Given(*(path and path.resolve() for path in (bundle, chosen.kafka_home, chosen.rival)))
    if chosen.list:
        print(_list(entries, surroundings, chosen.json))
        return 0
    folder = chosen.out or OUT / ("quick" if chosen.quick else "full")
    report = _run(Suite(folder, surroundings, chosen.quick, chosen.again), entries)
    _write(report, folder)
    print(msgspec.json.encode(report.as_json()).decode() if chosen.json else report.as_markdown())
    print(f"written: {folder}/report.md, .json and .svg", file=sys.stderr)
    return STOPPED if not report.whole else int(not report.is_good)


def _run(suite: Suite, entries: Sequence[Entry]) -> Report:
    """Return what was found, all or until Ctrl-C."""
    title = "Benchmarks, quick" if suite.quick else "Benchmarks"
    here, begun_at, load_before = Machine.here(), now(), load()
    outcomes, whole = list[Outcome](), True
    try:
        for outcome in suite.run(entries):
            outcomes.append(outcome)
    except KeyboardInterrupt:
        whole = False
    return Report(title, here, begun_at, now(), load_before, load(), outcomes, whole)


def _write(report: Report, folder: Path) -> None:
    """Write the page, its values and its plot."""
    values = msgspec.json.format(msgspec.json.encode(report.as_json())) + b"\n"
    for name, content in (("report.md", report.as_markdown().encode()), ("report.json", values)):
        with whole_file(folder / name) as beside:
            beside.write_bytes(content)
    draw(report, folder / "report.svg")


def _list(entries: Sequence[Entry], given: Given, as_json: bool) -> str:
    """Return what would run, and why the rest would not."""
    found = [{"name": one.name, "measures": one.measures, "missing": missing(one, given)} for one in entries]
    if as_json:
        return msgspec.json.encode(found).decode()
    lines = [f"{one.name:12} {one.measures}" for one in entries]
    reasons = [f"\n{'':13}not here: {one['missing']}" if one["missing"] else "" for one in found]
    return "\n".join(line + reason for line, reason in zip(lines, reasons, strict=True))


def _parser() -> argparse.ArgumentParser:
    kafka_home = os.environ.get("KAFKA_HOME")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="less of each")
    parser.add_argument("--only", action="append", choices=[entry.name for entry in ENTRIES], help="may be repeated")
    parser.add_argument("--list", action="store_true", help="say what would run, and run nothing")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=f"of results; {OUT}/full or {OUT}/quick by default")
    parser.add_argument("--again", action="store_true", help="measure also what is there already")
    parser.add_argument("--bundle", type=Path, metavar="DIR", help=f"{DEMO_BUNDLE} by default, where it is there")
    parser.add_argument("--kafka-home", type=Path, metavar="DIR", default=Path(kafka_home) if kafka_home else None)
    parser.add_argument("--rival", type=Path, metavar="DIR", help="a folder with run.sh, as benchmarks/rival.py says")
    return parser


if __name__ == "__main__":
    sys.exit(main())
