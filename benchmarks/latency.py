"""From a request's time to its feed at the client, at a steady rate: cold and warm, by settings that take turns.

    python -m benchmarks.latency --bundle DIR [--kafka-home DIR] [--rounds 3] [--seconds 20] [--floor] [--unscored]
        [--set fetch_pace_ms=0,3] [--actions-per-s 20000] [--json FILE]

Requests and actions are sent when they are due, whether answers have come or not, and latency is counted from when a
request was due: a system that stands still is not asked less (coordinated omission). The client polls singly, and
another process sends the actions. Cold are the first ``COLD_S`` seconds after the worker's first answer. Worker on one
core, all else on the other; the worker's CPU time is said beside, and where requests were meanwhile, stage by stage.

``--floor`` has an echo take turns with the worker (``echo.py``): what brokers and clients take by themselves.
``--unscored`` has a worker without a model take turns, too (``unscored.py``).
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from time import monotonic, sleep, time_ns

import numpy as np

from benchmarks.figures import MS, Figure, add_json, write_figures
from benchmarks.gateway import cpu_s
from benchmarks.overload import OTHER_CORE, USERS, Traffic, served
from benchmarks.stage_times import StageTime, actions_of, stage_times
from rankstream.events.action_event import ActionEvent
from rankstream.streams.broker import EmbeddedBroker, LocalBroker, RealKafka, free_port
from rankstream.streams.clients.carriers import SingleRecords
from rankstream.streams.clients.producer import Producer
from rankstream.streams.clients.whole_batches import WholeBatches
from rankstream.streams.settings import Settings

ACTIONS_PER_S, REQUESTS_PER_S, CANDIDATES = 1_000.0, 50.0, 100
COLD_S, LAST_ANSWERS_S = 10.0, 60.0
STEP_S = 0.001
MANY_PER_S, MANY_STEP_S = 5_000.0, 0.005  # more actions than that are sent in batches, so often
FLOOR = "floor"
UNSCORED = "without a scorer"


@dataclass(frozen=True)
class Measured:
    """One round."""

    percentiles_ms: dict[str, float]  # cold and warm
    mean_ms: float  # warm
    share: float  # of its core, that the worker used while warm
    stages: Sequence[StageTime] = ()  # while warm; none of an echo
    actions_per_s: float = 0.0  # that the worker has read meanwhile


def steady(traffic: Traffic, phase: str, seconds: float) -> None:
    """Ask what is due, for so long; a request's time is when it was due."""
    begun, asked = monotonic(), 0
    while (now := monotonic() - begun) < seconds:
        while asked < now * REQUESTS_PER_S:
            traffic.sent_at_s[traffic.ask(phase)] = begun + asked / REQUESTS_PER_S
            asked += 1
        sleep(STEP_S)


def act_for_ever(settings: Settings, items: Sequence[int | str], action: str, per_s: float) -> None:
    """Send the actions that are due, until this process is ended."""
    many = per_s > MANY_PER_S
    rng, begun, acted = np.random.default_rng(1), monotonic(), 0
    with Producer(settings, carrier=WholeBatches if many else SingleRecords) as producer:
        while True:
            due = int((monotonic() - begun) * per_s) - acted
            users, chosen = rng.integers(USERS, size=due).tolist(), rng.integers(len(items), size=due).tolist()
            for user, item in zip(users, chosen, strict=True):
                producer.send_action(ActionEvent(f"u{user}", items[item], action, time_ns() // 1_000_000))
            acted += due
            if many:
                producer.flush()
            sleep(MANY_STEP_S if many else STEP_S)


@contextmanager
def acting(settings: Settings, items: Sequence[int | str], action: str, per_s: float) -> Iterator[None]:
    """Have actions sent meanwhile by a process of their own."""
    arguments = (settings, items, action, per_s)
    sender = multiprocessing.get_context("spawn").Process(target=act_for_ever, args=arguments, daemon=True)
    sender.start()
    try:
        yield
    finally:
        sender.terminate()
        sender.join()


def page_of(settings: Settings) -> str:
    """Return the worker's metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{settings.web_port}/metrics", timeout=5) as answer:
        page: bytes = answer.read()
    return page.decode()


def latencies_ms(traffic: Traffic, phase: str) -> np.ndarray:  # type: ignore[type-arg]
    """Return the latency of each answer of a phase."""
    names = [name for name in traffic.sent_at_s if name.startswith(phase) and name in traffic.answers]
    return np.array([1e3 * (traffic.answers[name][0] - traffic.sent_at_s[name]) for name in names])


def instead_of(what: str, settings: Settings, bundle: Path) -> list[str] | None:
    """Return the command of what takes a worker's place; None for a worker as it is."""
    topics = [settings.bootstrap_servers, settings.topic_prefix]
    if what == FLOOR:
        return [sys.executable, "-m", "benchmarks.echo", *topics]
    if what == UNSCORED:
        own = [str(settings.state_dir), str(settings.web_port)]
        return [sys.executable, "-m", "benchmarks.unscored", str(bundle), *topics, *own]
    return None


def measure(settings: Settings, bundle: Path, seconds: float, actions_per_s: float, what: str) -> Measured:
    """Run one round, of a worker or of what takes its place."""
    floor = what == FLOOR
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        stated = replace(settings, state_dir=Path(name) / "state", web_port=free_port())
        serving = served(stated, bundle, Path(name), CANDIDATES, instead_of(what, stated, bundle))
        traffic, worker, action = stack.enter_context(serving)
        assert worker.process is not None
        stack.enter_context(acting(settings, traffic.items, action, actions_per_s))
        steady(traffic, "cold", COLD_S)
        before = "" if floor else page_of(stated)
        used_s, begun = cpu_s(worker.process.pid), monotonic()
        steady(traffic, "warm", seconds)
        share = (cpu_s(worker.process.pid) - used_s) / (monotonic() - begun)
        deadline = monotonic() + LAST_ANSWERS_S
        while traffic.open_requests() and monotonic() < deadline:
            sleep(0.1)
        found = {
            f"{phase} p{percent}": float(np.percentile(latencies_ms(traffic, phase), percent))
            for phase in ("cold", "warm")
            for percent in (50, 90, 99)
        }
        if traffic.open_requests():
            print(f"  {traffic.open_requests()} requests were not answered")
        mean_ms = float(latencies_ms(traffic, "warm").mean())
        if floor:
            return Measured(found, mean_ms, share)
        after, took_s = page_of(stated), monotonic() - begun
        rate = (actions_of(after) - actions_of(before)) / took_s
        return Measured(found, mean_ms, share, stage_times(before, after), rate)


def variants(text: str | None, instead: Sequence[str]) -> list[tuple[str, dict[str, float]]]:
    """Read ``fetch_pace_ms=0,3`` as settings that take turns, with what takes a worker's place before them."""
    first: list[tuple[str, dict[str, float]]] = [(what, {}) for what in instead]
    if text is None:
        return [*first, ("as it is", {})]
    name, _, values = text.partition("=")
    return [*first, *((f"{name} = {value}", {name: number(value)}) for value in values.split(","))]


def number(text: str) -> float:
    """Return the number of a setting, whole where it is written so: some take no others."""
    return float(text) if "." in text else int(text)


def figures_of(name: str, rounds: list[Measured]) -> list[Figure]:
    """Return the percentiles, the stages and the worker's share of its core, under these settings."""
    percentiles = [
        Figure.of(f"{name}, {what}", MS, (one.percentiles_ms[what] for one in rounds))
        for what in rounds[0].percentiles_ms
    ]
    stages = [
        Figure.of(f"{name}, mean of: {one.name}", MS, (each.stages[at].mean_ms for each in rounds))
        for at, one in enumerate(rounds[0].stages)
    ]
    return [*percentiles, *stages, Figure.of(f"{name}, worker", "% of a core", (100 * one.share for one in rounds))]


def told(measured: Measured) -> str:
    """Return a round in a line."""
    text = ", ".join(f"{what} {value:.1f}" for what, value in measured.percentiles_ms.items())
    rate = f", {measured.actions_per_s:,.0f} actions/s" if measured.stages else ""
    return f"{text} ms; {measured.share:.0%} of the core{rate}"


def print_medians(name: str, rounds: list[Measured]) -> None:
    """Print what several rounds had in common, and where requests were."""
    percentiles = {what: np.median([one.percentiles_ms[what] for one in rounds]) for what in rounds[0].percentiles_ms}
    text = ", ".join(f"{what} {value:.1f}" for what, value in percentiles.items())
    share, mean_ms = np.median([one.share for one in rounds]), np.median([one.mean_ms for one in rounds])
    print(f"median of {len(rounds)}, {name}: {text} ms; {share:.0%} of the core; mean {mean_ms:.2f} ms")
    in_stages = 0.0
    for at, stage in enumerate(rounds[0].stages):
        stage_ms = np.median([one.stages[at].mean_ms for one in rounds])
        in_stages += float(stage_ms)
        p99_ms = np.median([one.stages[at].p99_ms for one in rounds])
        print(f"  {stage.name:36} mean {stage_ms:6.2f} ms, p99 {p99_ms:6.1f} ms")
    if rounds[0].stages:
        print(f"  {'client, and between stages':36} mean {mean_ms - in_stages:6.2f} ms")


def settings_of(broker: LocalBroker, bundle: Path, number: int) -> Settings:
    """Return settings with topics and a group of their own."""
    prefix = f"run{number}."
    return Settings(
        bootstrap_servers=broker.bootstrap_servers,
        bundle=bundle,
        topic_prefix=prefix,
        app_id=prefix,
        partitions=4,
        answer_within_ms=0,
    )


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bundle", type=Path, required=True)
    options.add_argument("--kafka-home", type=Path)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=20.0)
    options.add_argument("--floor", dest="instead", action="append_const", const=FLOOR, default=[])
    options.add_argument("--unscored", dest="instead", action="append_const", const=UNSCORED)
    options.add_argument("--actions-per-s", type=float, default=ACTIONS_PER_S)
    options.add_argument("--set", dest="settings", metavar="NAME=VALUE,VALUE")
    add_json(options)
    chosen = options.parse_args()
    os.sched_setaffinity(0, {OTHER_CORE})
    numbers = count()
    results: dict[str, list[Measured]] = {}
    with RealKafka(chosen.kafka_home) if chosen.kafka_home else EmbeddedBroker() as broker:
        for _ in range(chosen.rounds):
            for name, changed in variants(chosen.settings, chosen.instead):
                settings = replace(settings_of(broker, chosen.bundle, next(numbers)), **changed)  # type: ignore[arg-type]
                measured = measure(settings, chosen.bundle, chosen.seconds, chosen.actions_per_s, name)
                results.setdefault(name, []).append(measured)
                print(f"{name}: {told(measured)}", flush=True)
    for name, rounds in results.items():
        print_medians(name, rounds)
    write_figures(chosen.json, [one for name, rounds in results.items() for one in figures_of(name, rounds)])


if __name__ == "__main__":
    main()
