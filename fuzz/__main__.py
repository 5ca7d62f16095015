"""Drive every decoder with what nobody meant to send, and keep what breaks the law (``fuzz/law.py``).

    python -m fuzz [--seconds S] [--seed N] [--only NAME ...] [--json]
    python -m fuzz --again build/fuzz/NAME-1a2b3c4d

The time is shared by the decoders. A failing input is saved, and its line holds the command that runs it again. Ends
with 1 where there is any.
"""

import argparse
import json
import secrets
import sys
from pathlib import Path

from fuzz.law import Finding
from fuzz.run import again, drive_apart, drive_here, kept
from fuzz.targets import TARGETS

MOST_SHOWN = 600  # bytes of a failing input, where the file may be lost with the machine


def main() -> int:
    """Run; return the exit code."""
    chosen = _options().parse_args()
    if chosen.here:
        for name in chosen.here:
            print(drive_here(name, chosen.seed, chosen.seconds, chosen.folder), flush=True)
        return 0
    if chosen.again:
        return _again(chosen.again)
    seed = secrets.randbelow(1_000_000) if chosen.seed is None else chosen.seed
    names = chosen.only or list(TARGETS)
    print(f"seed {seed}; {len(names)} decoders, {chosen.seconds:g} s", file=sys.stderr)
    found: list[Finding] = []
    inputs: dict[str, int] = {}
    for driven in drive_apart(names, seed, chosen.seconds / len(names), chosen.folder):
        inputs[driven.target] = driven.inputs
        found += driven.findings
        print(f"{driven.target:20} {driven.inputs:9,} inputs  {len(driven.findings)} findings", file=sys.stderr)
    for one in found:  # behind all counts, where the end of a long log still shows them
        path = kept(one, chosen.folder)
        print(
            f"{one.target}: {one.where}: {one.what}\n  {len(one.data):,} bytes; again: python -m fuzz --again {path}\n"
            f"  {one.data[:MOST_SHOWN].hex()}{'...' if len(one.data) > MOST_SHOWN else ''}",
            file=sys.stderr,
        )
    if chosen.json:
        told = [{"target": one.target, "what": one.what, "where": one.where, "data": one.data.hex()} for one in found]
        print(json.dumps({"seed": seed, "inputs": inputs, "findings": told}))
    else:
        print(f"{sum(inputs.values()):,} inputs, {len(found)} findings; seed {seed}")
    return 1 if found else 0


def _again(path: Path) -> int:
    found = again(path)
    print("keeps the law" if found is None else f"{found.where}: {found.what}")
    return 0 if found is None else 1


def _seconds(text: str) -> float:
    """Return a time of more than nothing."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        "python -m fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--seconds", type=_seconds, default=600.0, help="for all decoders together")
    options.add_argument("--seed", type=int, help="of the mutations; any if not given")
    options.add_argument("--only", action="append", choices=list(TARGETS), metavar="NAME", help=", ".join(TARGETS))
    options.add_argument("--folder", type=Path, default=Path("build/fuzz"), help="where failing inputs are kept")
    options.add_argument("--again", type=Path, metavar="FILE", help="drive a kept input once more")
    options.add_argument("--json", action="store_true", help="print what was found as JSON")
    options.add_argument("--here", action="append", choices=list(TARGETS), help=argparse.SUPPRESS)
    return options


if __name__ == "__main__":
    sys.exit(main())
