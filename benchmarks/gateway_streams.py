"""What clients that follow feeds cost a gateway: memory and descriptors, and what one client too many sees.

    python -m benchmarks.gateway_streams [--clients 10000] [--json FILE]

A gateway with its own worker is a process of its own; this one opens so many ``GET /feeds/{user}``, each of another
user, and leaves them open; so many again come until the gateway says that there is no descriptor left. Figures are the
gateway's own resident memory and open files, of /proc: what they take does not depend on who else uses the cores.
"""

import argparse
import asyncio
import os
import resource
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE, Popen

from benchmarks.figures import Figure, add_json, write_figures
from benchmarks.workload import VOCABULARY
from rankstream.features.stores.memory import MemoryStore
from rankstream.gateway.app import Gateway
from rankstream.gateway.descriptors import KEPT, SPARE, raised_limit
from rankstream.gateway.server import serve
from rankstream.gateway.settings import GatewaySettings
from rankstream.gateway.worker_road import WorkerRoad
from rankstream.ranking.serving import LiveRanker

AT_ONCE = 200  # connections that are being opened
TOO_MANY = 100  # connections more than the gateway has descriptors for
BE_GATEWAY = "--be-gateway"


def be_gateway(descriptors: int) -> None:
    """Serve until killed, with so many descriptors."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, min(descriptors, hard)))
    road = WorkerRoad(LiveRanker.without_bundle(VOCABULARY), MemoryStore())
    settings = GatewaySettings(port=0, max_streams=descriptors)

    async def main() -> None:
        await serve(Gateway(road, settings), lambda address: print(address, flush=True), asyncio.Event())

    asyncio.run(main())


async def follow(port: int, user: str, opening: asyncio.Semaphore) -> tuple[bytes, asyncio.StreamWriter]:
    """Open a stream; return the status line, and what keeps it open."""
    async with opening:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /feeds/{user} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " in head:
                await reader.readuntil(b"from now on")
        except (asyncio.IncompleteReadError, ConnectionError):
            head = b"closed\r\n"
        return head.partition(b"\r\n")[0], writer


async def opened(port: int, clients: int, opening: asyncio.Semaphore) -> list[tuple[bytes, asyncio.StreamWriter]]:
    """Open all streams; on a busy machine a gateway may hang up on some, as their head came late."""
    streams: list[tuple[bytes, asyncio.StreamWriter]] = []
    while len(streams) < clients:
        numbers = range(len(streams), clients)
        came = await asyncio.gather(*(follow(port, f"u{number}", opening) for number in numbers))
        streams += [one for one in came if b" 200 " in one[0]]
    return streams


async def answer_of(port: int, path: str) -> bytes:
    """Return the whole answer to a GET."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


async def measure(process: int, port: int, clients: int) -> dict[str, float]:
    """Open the streams, and return what the gateway has of memory and descriptors before and then."""
    opening, found = asyncio.Semaphore(AT_ONCE), {"before MB": resident_mb(process), "before": open_files(process)}
    streams = await opened(port, clients, opening)
    served = sum(b" 200 " in status for status, _ in streams)
    found |= {"streams": served, "with MB": resident_mb(process), "with": open_files(process)}
    more = [await follow(port, f"v{number}", opening) for number in range(TOO_MANY)]
    statuses = [status.decode() for status, _ in more]
    print("those behind them:", {one: statuses.count(one) for one in sorted(set(statuses))})
    for path in ("/openapi.json", "/live", "/metrics"):
        print(path, (await answer_of(port, path)).partition(b"\r\n")[0].decode())
    print((await answer_of(port, "/metrics")).rpartition(b"\r\n")[2].decode()[:300])
    for _, writer in (*streams, *more):
        writer.close()
    return found


def resident_mb(process: int) -> float:
    """Return the resident memory of a process."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000


def open_files(process: int) -> int:
    """Return how many descriptors a process has open."""
    return len(os.listdir(f"/proc/{process}/fd"))


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument(BE_GATEWAY, type=int, metavar="DESCRIPTORS", help=argparse.SUPPRESS)
    add_json(parser)
    chosen = parser.parse_args()
    if chosen.be_gateway:
        be_gateway(chosen.be_gateway)
        return
    wanted, own = chosen.clients + KEPT + SPARE + TOO_MANY // 2, raised_limit().limit
    if own < wanted + TOO_MANY:
        sys.exit(f"{own:,} descriptors are fewer than {wanted + TOO_MANY:,}: ulimit -n, or fewer --clients")
    command = [sys.executable, "-m", "benchmarks.gateway_streams", BE_GATEWAY, str(wanted)]
    with Popen(command, stdout=PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        port = int((process.stdout.readline() if process.stdout else "").rpartition(":")[2])
        try:
            found = asyncio.run(measure(process.pid, port, chosen.clients))
        finally:
            process.kill()
    each_kb = 1000 * (found["with MB"] - found["before MB"]) / max(1, found["streams"])
    print(f"{found['streams']:,} streams: {found['before MB']:.0f} -> {found['with MB']:.0f} MB, {each_kb:.1f} kB each")
    print(f"descriptors: {found['before']:,.0f} -> {found['with']:,.0f} of {wanted:,}")
    write_figures(chosen.json, [Figure.of("a stream, memory of the gateway", "kB", [each_kb])])


if __name__ == "__main__":
    main()
