"""The product as a user has it: `rankstream train LOG --until CUT`, with its defaults, in a process of its own."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path

import click

from rankstream.experiments.feed.logs import FeedLog
from rankstream.experiments.options import RefusedError

ROOMS = Path(__file__).parents[2]
TRAINS = ("features", "events", "metrics", "bundles", "content", "models", "cli/options", "cli/commands/train.py")
RANKS = (*TRAINS, "retrieval", "ranking", "streams", "evaluation")
DONE = "seconds_and_memory.json"


@dataclass(frozen=True)
class Product:
    """A folder that `rankstream train` wrote, and what that took; nothing is known of a training done elsewhere."""

    folder: Path
    seconds: float | None = None
    peak_rss_mb: float | None = None

    @property
    def bundle(self) -> Path:
        """Return the folder of its bundle."""
        return self.folder / "bundle"

    @property
    def users(self) -> Path:
        """Return the folder of its user vectors."""
        return self.folder / "vectors" / "users"


def sources(names: tuple[str, ...]) -> str:
    """Return a digest of the code of these rooms or files: what was made by other code is made again."""
    digest = blake2b(digest_size=6)
    for name in names:
        path = ROOMS / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.relative_to(ROOMS).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


def trained(log: FeedLog, data: Path, until_ms: int, folder: Path, told: Sequence[str] = ()) -> Product:
    """Train with nothing but the log and its positives, or return what is there; a training that was killed goes on.

    ``told`` are further flags: `--items`, `--users`.
    Neither settings of the environment nor those of a file are read. Raises ``RefusedError`` if the training fails.
    """
    done = folder / DONE
    if done.exists():
        return Product(folder, **json.loads(done.read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "rankstream.cli.main", "train", str(log.at(data.resolve())), "--out", "."]
    command += [f"--until={until_ms}", *log.flags(), *told]
    click.echo(f"{log.name}: rankstream {' '.join(command[3:])}", err=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RANKSTREAM_")}
    started = time.monotonic()
    ended = subprocess.run(command, cwd=folder, env=environment, stdout=sys.stderr.fileno(), check=False)
    if ended.returncode:
        raise RefusedError(f"the training on {log.at(data)} ended with code {ended.returncode}; what it wrote says why")
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    product = Product(folder, round(time.monotonic() - started, 1), round(peak_mb))
    taken = {name: value for name, value in asdict(product).items() if name != "folder"}
    done.write_text(json.dumps(taken))
    return product
