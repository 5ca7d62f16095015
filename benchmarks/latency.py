"""From a request's time to its feed at the client, at a steady rate: cold and warm, by settings that take turns.

    python -m benchmarks.latency --bundle DIR [--kafka-home DIR] [--rounds 3] [--seconds 20] [--set fetch_pace_ms=0,3]
        [--json FILE]

Requests and actions are sent when they are due, whether answers have come or not, and latency is counted from when a
request was due: a system that stands still is not asked less (coordinated omission). The client polls singly. Cold are
the first ``COLD_S`` seconds after the worker's first answer. Worker on one core, all else on the other; the worker's
CPU time is said beside.
"""

import argparse
import os
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from time import monotonic, sleep

import numpy as np

from benchmarks.figures import MS, Figure, add_json, write_figures
from benchmarks.gateway import cpu_s
from benchmarks.overload import OTHER_CORE, Traffic, served
from rankstream.streams.broker import EmbeddedBroker, RealKafka
from rankstream.streams.settings import Settings

ACTIONS_PER_S, REQUESTS_PER_S, CANDIDATES = 1_000.0, 50.0, 100
COLD_S, LAST_ANSWERS_S = 10.0, 60.0
STEP_S = 0.001


def steady(traffic: Traffic, phase: str, seconds: float, action: str) -> None:
    """Send what is due, for so long; a request's time is when it was due."""
    begun, asked, acted = monotonic(), 0, 0
    while (now := monotonic() - begun) < seconds:
        while asked < now * REQUESTS_PER_S:
            traffic.sent_at_s[traffic.ask(phase)] = begun + asked / REQUESTS_PER_S
            asked += 1
        while acted < now * ACTIONS_PER_S:
            traffic.act(action)
            acted += 1
        sleep(STEP_S)


def latencies_ms(traffic: Traffic, phase: str) -> np.ndarray:  # type: ignore[type-arg]
    """Return the latency of each answer of a phase."""
    names = [name for name in traffic.sent_at_s if name.startswith(phase) and name in traffic.answers]
    return np.array([1e3 * (traffic.answers[name][0] - traffic.sent_at_s[name]) for name in names])


def measure(settings: Settings, bundle: Path, seconds: float) -> tuple[dict[str, float], float]:
    """Return percentiles, cold and warm, and the share of the core that the worker used while warm."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        stated = replace(settings, state_dir=Path(name) / "state")
        traffic, worker, action = stack.enter_context(served(stated, bundle, Path(name), CANDIDATES))
        assert worker.process is not None
        steady(traffic, "cold", COLD_S, action)
        used_s, begun = cpu_s(worker.process.pid), monotonic()
        steady(traffic, "warm", seconds, action)
        share = (cpu_s(worker.process.pid) - used_s) / (monotonic() - begun)
        deadline = monotonic() + LAST_ANSWERS_S
        while traffic.open_requests() and monotonic() < deadline:
            sleep(0.1)
        found = {
            f"{phase} p{percent}": float(np.percentile(latencies_ms(traffic, phase), percent))
            for phase in ("cold", "warm")
            for percent in (50, 90, 99)
        }
        unanswered = traffic.open_requests()
        if unanswered:
            print(f"  {unanswered} requests were not answered")
        return found, share


def variants(text: str | None) -> list[tuple[str, dict[str, float]]]:
    """Read ``fetch_pace_ms=0,3`` as settings that take turns."""
    if text is None:
        return [("as it is", {})]
    name, _, values = text.partition("=")
    return [(f"{name} = {value}", {name: float(value)}) for value in values.split(",")]


def figures_of(name: str, rounds: list[tuple[dict[str, float], float]]) -> list[Figure]:
    """Return the percentiles and the worker's share of its core, under these settings."""
    percentiles = [Figure.of(f"{name}, {what}", MS, (one[what] for one, _ in rounds)) for what in rounds[0][0]]
    return [*percentiles, Figure.of(f"{name}, worker", "% of a core", (100 * share for _, share in rounds))]


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bundle", type=Path, required=True)
    options.add_argument("--kafka-home", type=Path)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=20.0)
    options.add_argument("--set", dest="settings", metavar="NAME=VALUE,VALUE")
    add_json(options)
    chosen = options.parse_args()
    os.sched_setaffinity(0, {OTHER_CORE})
    numbers = count()
    results: dict[str, list[tuple[dict[str, float], float]]] = {}
    with RealKafka(chosen.kafka_home) if chosen.kafka_home else EmbeddedBroker() as broker:
        for _ in range(chosen.rounds):
            for name, changed in variants(chosen.settings):
                prefix = f"run{next(numbers)}."
                base = Settings(
                    bootstrap_servers=broker.bootstrap_servers,
                    bundle=chosen.bundle,
                    topic_prefix=prefix,
                    app_id=prefix,
                    partitions=4,
                    answer_within_ms=0,
                )
                found, share = measure(replace(base, **changed), chosen.bundle, chosen.seconds)  # type: ignore[arg-type]
                results.setdefault(name, []).append((found, share))
                text = ", ".join(f"{what} {value:.1f}" for what, value in found.items())
                print(f"{name}: {text} ms; {share:.0%} of the core", flush=True)
    for name, rounds in results.items():
        text = ", ".join(f"{what} {np.median([one[0][what] for one in rounds]):.1f}" for what in rounds[0][0])
        print(f"median of {len(rounds)}, {name}: {text} ms; {np.median([one[1] for one in rounds]):.0%} of the core")
    write_figures(chosen.json, [one for name, rounds in results.items() for one in figures_of(name, rounds)])


if __name__ == "__main__":
    main()
