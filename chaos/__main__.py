"""Break a running system by a seeded plan, and say what it cost.

    python -m chaos [--seed N] [--plan] [--plot FILE.svg] [--json] [--workers N] [--seconds S] [--actions N] [--users N]

On the Apache Kafka in ``--kafka-home`` or ``KAFKA_HOME``, which is hit, too; otherwise on the embedded broker, which
forgets all when it ends, so is spared. Any plan can be run again by its seed. Ends with 1 where anything is lost,
doubled or wrong.
"""

import argparse
import json
import os
import secrets
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from chaos.clocks import can_jump
from chaos.disks import can_mount, enter_namespace
from chaos.ledger import Ledger, table
from chaos.load import Amount
from chaos.plan import ALL, told
from chaos.plot import draw
from chaos.run import Trial, new_folder, run
from chaos.world import a_world, kinds_of
from rankstream.streams.broker import why_no_kafka
from tests.kafka.harness import Bench

SESSION_TIMEOUT_S = 6.0  # the shortest that Kafka allows


def main() -> int:
    """Run one trial; return the exit code."""
    enter_namespace("chaos")
    chosen = _options().parse_args()
    home: Path | None = chosen.kafka_home
    seed = secrets.randbelow(1_000_000) if chosen.seed is None else chosen.seed
    trial = Trial(seed, chosen.workers, Amount(chosen.actions, chosen.users, chosen.seconds))
    kinds = kinds_of(home is not None, can_mount(), can_jump())
    if left_out := [kind.value for kind in ALL if kind not in kinds]:
        print(f"not possible here, so not in the plan: {', '.join(left_out)}", file=sys.stderr)
    if chosen.plan:
        print(told(trial.plan(SESSION_TIMEOUT_S, kinds)))
        return 0
    if home is not None and (refusal := why_no_kafka(home)):
        print(f"chaos: {refusal}", file=sys.stderr)
        return 2
    ledger = _run(trial, home, chosen.plot)
    print(json.dumps(asdict(ledger) | {"clean": ledger.is_clean}, default=repr) if chosen.json else table(ledger))
    return 0 if ledger.is_clean else 1


def _run(trial: Trial, home: Path | None, plot: Path | None) -> Ledger:
    folder = new_folder()
    print(f"seed {trial.seed}; folder {folder}", file=sys.stderr)
    with a_world(home, trial.workers) as world:
        bench = Bench(world.bootstrap_servers, folder, SESSION_TIMEOUT_S)
        ledger, timeline = run(trial, bench, world, lambda line: print(line, file=sys.stderr))
        bench.close()
    if plot is not None:
        draw(ledger, timeline, plot)
        plot.with_suffix(".json").write_bytes(timeline.written())
    if ledger.is_clean:
        shutil.rmtree(folder, ignore_errors=True)  # a disk that is mounted there stays until the process ends
    return ledger


def _positive(text: str) -> int:
    """Return a number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        "python -m chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--seed", type=int, help="of the plan and the load; any if not given")
    options.add_argument("--workers", type=_positive, default=2)
    options.add_argument("--seconds", type=_positive, default=180, help="of load and faults")
    options.add_argument("--actions", type=_positive, default=500_000)
    options.add_argument("--users", type=_positive, default=20_000)
    options.add_argument("--kafka-home", type=Path, default=os.environ.get("KAFKA_HOME"))
    options.add_argument("--plan", action="store_true", help="print the plan alone")
    options.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw what happened when")
    options.add_argument("--json", action="store_true", help="print the ledger as JSON")
    return options


if __name__ == "__main__":
    sys.exit(main())
