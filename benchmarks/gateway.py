"""What HTTP costs beside Kafka direct: the same worker, the same topics, arrivals on time whatever the answers take.

    python -m benchmarks.gateway [--kafka-home DIR] [--rate 50] [--seconds 10] [--rounds 5] [--burst 5000] [--json FILE]

An open loop sends a request each 1/rate s, in turns straight to Kafka and through a gateway, and takes the time from
when it was due to when its feed is decoded: both ways meet the same minute of the same machine. Each round has its own
medians and their difference, and of a request through the gateway it is said where the time went. Then so many requests
go through a gateway with its own worker in it (``ConstantBackend``, no Kafka), as fast as 64 clients ask. Broker,
worker, gateway and the load are processes of their own; where they outnumber the cores, only ratios say anything. Last,
what one call takes of CPU in the event loops of gateway and client, one after the other and without Kafka: the part of
HTTP that is work, not waiting.
"""

import argparse
import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles
from subprocess import PIPE, Popen
from sys import executable
from time import monotonic, perf_counter, sleep

import msgspec

from benchmarks.figures import MS, TIMES, Figure, add_json, write_figures
from benchmarks.gateway_stages import StampedClient, StampedGateway, medians
from benchmarks.http_call import a_request, cpu_ms_of_a_call
from benchmarks.workload import VOCABULARY
from rankstream.features.stores.memory import MemoryStore
from rankstream.gateway.app import Gateway
from rankstream.gateway.async_client import AsyncGatewayClient
from rankstream.gateway.client import rank_call
from rankstream.gateway.feeds import FeedBoard
from rankstream.gateway.kafka_road import KafkaRoad
from rankstream.gateway.server import serve
from rankstream.gateway.settings import GatewaySettings
from rankstream.gateway.worker_road import WorkerRoad
from rankstream.ranking.request import RankingRequest
from rankstream.ranking.serving import LiveRanker
from rankstream.streams.app import create_app
from rankstream.streams.broker import EmbeddedBroker, RealKafka
from rankstream.streams.codec import RankedFeed
from rankstream.streams.records import recorded_request
from rankstream.streams.settings import Settings
from rankstream.streams.topics import REQUESTS, prepare_topics
from rankstream.streams.worker.interpreter import settle

DIRECT, GATEWAY = "Kafka direct", "gateway"
FETCH_WAIT_MS = 50  # the default of workers and gateways
EMBEDDED_FETCH_WAIT_MS = 5  # long polls of the embedded broker do not wake when records come
WARM_UP = 50  # requests of each way that are not counted
ANSWER_MS = 20_000
START_S = 60.0

Ask = Callable[[RankingRequest], Awaitable[object]]
Round = dict[str, list[float]]  # ms of each way
Compared = tuple[list[Round], dict[str, float]]  # and the median of each step of a call


async def timed(ask: Ask, due_s: float, number: int) -> float:
    """Ask when it is due; return ms from then to the answer."""
    await asyncio.sleep(max(0.0, due_s - perf_counter()))
    await ask(a_request(number))
    return 1000 * (perf_counter() - due_s)


async def compare(settings: Settings, address: str, rate: float, seconds: float, rounds: int) -> Compared:
    """Return ms of each way in each round, whose requests take turns, and the steps of those through the gateway."""
    board, road = FeedBoard(0), KafkaRoad(settings, ANSWER_MS / 1000)
    await road.open(board.arrived)

    async def direct(request: RankingRequest) -> object:
        record = recorded_request(request, 0, 0)
        with board.expecting(request.user_id, request.request_id) as feed:
            await road.send(REQUESTS, [(record.key or b"", record.value or b"")])
            return msgspec.json.decode((await feed).value, type=RankedFeed)  # as the other client does

    async with StampedClient(address, timeout_s=ANSWER_MS / 1000) as client:
        client.steps = []
        ways: dict[str, Ask] = {DIRECT: direct, GATEWAY: client.rank}
        for number in range(WARM_UP):
            for ask in ways.values():
                await ask(a_request(number))
        client.steps.clear()
        found = [await one_round(ways, rate, seconds) for _ in range(rounds)]
    await road.close()
    return found, medians(client.steps)


async def one_round(ways: dict[str, Ask], rate: float, seconds: float) -> Round:
    """Ask each 1/rate s, the ways in turns."""
    begin_s, both = perf_counter() + 0.5, list(ways.values())
    numbers = range(2 * int(rate * seconds / 2))
    took = await asyncio.gather(*(timed(both[one % 2], begin_s + one / rate, one) for one in numbers))
    return {way: took[at::2] for at, way in enumerate(ways)}


async def flood(count: int) -> tuple[float, float]:
    """Return requests/s of a gateway with its worker, by the wall and by the gateway's CPU."""
    with gateway_process("--be-in-process") as (process, address):
        async with AsyncGatewayClient(address, timeout_s=60) as client:
            left = iter(range(count))

            async def keep_asking() -> None:
                for number in left:
                    await client._call(rank_call(a_request(number)))  # undecoded: the load is not what is measured

            before_s, begin_s = cpu_s(process.pid), perf_counter()
            await asyncio.gather(*(keep_asking() for _ in range(64)))
            wall_s, used_s = perf_counter() - begin_s, cpu_s(process.pid) - before_s
    return count / wall_s, count / used_s


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class gateway_process:
    """A gateway as a process of its own, and its address."""

    def __init__(self, *flags: str) -> None:
        self.flags = flags

    def __enter__(self) -> tuple["Popen[str]", str]:
        command = [executable, "-m", "benchmarks.gateway", *self.flags]
        self.process = Popen(command, stdout=PIPE, text=True)
        assert self.process.stdout is not None
        return self.process, self.process.stdout.readline().strip()

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()


def be_gateway(road: KafkaRoad | WorkerRoad) -> None:
    """Serve on any free port and print the address, until killed."""
    settings = GatewaySettings(port=0, answer_timeout_ms=ANSWER_MS)
    gateway = StampedGateway(road, settings) if isinstance(road, KafkaRoad) else Gateway(road, settings)
    settle()  # as the command does
    asyncio.run(serve(gateway, lambda at: print(at, flush=True), asyncio.Event()))


def settings_for(servers: str, folder: str, fetch_wait_ms: str) -> Settings:
    """Return the settings of the worker, the gateway and the client."""
    return Settings(
        bootstrap_servers=servers, state_dir=Path(folder), partitions=4, session_timeout_s=6.0,
        heartbeat_interval_s=1.0, fetch_max_wait_ms=int(fetch_wait_ms), answer_within_ms=0,
    )  # fmt: skip


def measure(servers: str, fetch_wait_ms: int, rate: float, seconds: float, rounds: int) -> Compared:
    """Start a worker and a gateway, wait until the worker answers, and compare."""
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        about = servers, folder, str(fetch_wait_ms)
        settings = settings_for(*about)
        asyncio.run(prepare_topics(settings))
        log = stack.enter_context((Path(folder) / "worker.log").open("w+"))
        worker = Popen([executable, "-m", "benchmarks.gateway", "--be-worker", *about], stdout=log, stderr=log)
        stack.callback(worker.wait)
        stack.callback(worker.kill)
        deadline_s = monotonic() + START_S
        while "Worker ready" not in Path(log.name).read_text():
            if monotonic() > deadline_s or worker.poll() is not None:
                raise SystemExit(f"the worker is not ready: {Path(log.name).read_text()[-2000:]}")
            sleep(0.1)
        _, address = stack.enter_context(gateway_process("--be-gateway", *about))
        return asyncio.run(compare(settings, address, rate, seconds, rounds))


def main() -> None:
    """Measure and print, or be one of the processes."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kafka-home", type=Path)
    options.add_argument("--rate", type=float, default=50.0)
    options.add_argument("--seconds", type=float, default=10.0, help="of a round")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--burst", type=int, default=5000)
    add_json(options)
    options.add_argument("--be-worker", nargs=3, help=argparse.SUPPRESS)
    options.add_argument("--be-gateway", nargs=3, help=argparse.SUPPRESS)
    options.add_argument("--be-in-process", action="store_true", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.be_worker:
        application = create_app(settings_for(*chosen.be_worker), LiveRanker.without_bundle(VOCABULARY))
        application.Worker(loglevel="INFO").execute_from_commandline()
    elif chosen.be_gateway:
        be_gateway(KafkaRoad(settings_for(*chosen.be_gateway), ANSWER_MS / 1000))
    elif chosen.be_in_process:
        be_gateway(WorkerRoad(LiveRanker.without_bundle(VOCABULARY), MemoryStore()))
    else:
        kafka = chosen.kafka_home
        with RealKafka(kafka) if kafka else EmbeddedBroker() as broker:
            waits_ms = FETCH_WAIT_MS if kafka else EMBEDDED_FETCH_WAIT_MS
            rounds, steps = measure(broker.bootstrap_servers, waits_ms, chosen.rate, chosen.seconds, chosen.rounds)
        report(rounds, steps, chosen.rate, "Apache Kafka" if kafka else "embedded broker")
        wall, cpu = asyncio.run(flood(chosen.burst))
        print(f"in-process worker, ConstantBackend: {wall:,.0f} requests/s, {cpu:,.0f} a second of the gateway's CPU")
        flooded = Figure.of("in-process worker, ConstantBackend", "requests/s of CPU", [cpu])
        loops = cpu_ms_of_a_call(chosen.burst)
        calls = [Figure.of(f"a call, CPU of the {name}", MS, took) for name, took in loops.items()]
        print("\n".join(f"{one.name}: {one.median:.2f} ms" for one in calls))
        write_figures(chosen.json, [*figures_of(rounds, steps), flooded, *calls])


def figures_of(rounds: list[Round], steps: dict[str, float]) -> list[Figure]:
    """Return percentiles of each way, what the gateway adds in each round, and the steps of a call."""
    cuts = [{way: quantiles(took, n=100) for way, took in ways.items()} for ways in rounds]
    percentiles = [(way, at) for way in (DIRECT, GATEWAY) for at in (49, 98)]
    found = [Figure.of(f"{way}, p{at + 1}", MS, [one[way][at] for one in cuts]) for way, at in percentiles]
    pairs = [(one[DIRECT][49], one[GATEWAY][49]) for one in cuts]
    return [
        *found,
        Figure.of("the gateway's part, p50", MS, [gateway - direct for direct, gateway in pairs]),
        Figure.of("gateway to Kafka direct, p50", TIMES, [gateway / direct for direct, gateway in pairs]),
        *(Figure.of(f"a call: {name}", MS, [took]) for name, took in steps.items()),
    ]


def report(rounds: list[Round], steps: dict[str, float], rate: float, broker: str) -> None:
    """Print both ways, their difference by rounds, and where the time of a call went."""
    print(f"{broker}, {rate:g} requests/s, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for one in figures_of(rounds, steps):
        spread = f" ({one.low:.2f} to {one.high:.2f})" if one.rounds > 1 else ""
        print(f"  {one.name}: {one.median:.2f} {one.unit}{spread}")


if __name__ == "__main__":
    main()
