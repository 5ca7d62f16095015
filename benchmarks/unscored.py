"""A worker without a scorer, to be asked in turns with one that has a model: what an answer takes beside ranking.

    python -m benchmarks.unscored BUNDLE HOST:PORT PREFIX STATE_DIR WEB_PORT

``benchmarks.latency --unscored`` starts it. It keeps the users of the bundle's vocabulary and answers with the
candidates as they came.
"""

import sys
from pathlib import Path

from rankstream.ranking.bundle import open_bundle
from rankstream.ranking.serving import LiveRanker
from rankstream.streams.app import create_app
from rankstream.streams.settings import Settings


def main(bundle: str, servers: str, prefix: str, state_dir: str, web_port: str) -> None:
    """Serve until the process is ended."""
    settings = Settings(
        bootstrap_servers=servers,
        topic_prefix=prefix,
        app_id=prefix,
        partitions=4,
        answer_within_ms=0,
        state_dir=Path(state_dir),
        web_port=int(web_port),
    )
    ranker = LiveRanker.without_bundle(open_bundle(Path(bundle)).manifest.vocabulary)
    create_app(settings, ranker).Worker(loglevel="WARNING").execute_from_commandline()


if __name__ == "__main__":
    main(*sys.argv[1:])
