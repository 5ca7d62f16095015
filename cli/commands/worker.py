"""`rankstream worker`: one worker process, the Faust app of ``streams.app``."""

import sys

import click

from rankstream.cli.errors import Refusal, refusing
from rankstream.cli.options.settings import settings_options
from rankstream.features.actions import VocabularyRefusedError
from rankstream.features.embeddings.files import BrokenTableError
from rankstream.features.stores.base import StoreRefusedError
from rankstream.ranking.bundle import BundleRefusedError
from rankstream.streams.app import check_states, create_app
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.engine import EngineRefusedError, open_engine
from rankstream.streams.settings import Section, Settings
from rankstream.streams.topics import TopicsRefusedError
from rankstream.streams.tracing import TracesRefusedError
from rankstream.streams.worker.fence import FenceRefusedError
from rankstream.streams.worker.open_serving import open_serving
from rankstream.streams.worker.rights import require_rights
from rankstream.streams.worker.topic_identity import OwnershipError

ENDED = 1  # not 2: another worker, or this one once it is started again, may well go on


@click.command()
@settings_options(*Section)
@refusing(
    ClientError,
    TopicsRefusedError,
    FenceRefusedError,
    BundleRefusedError,
    BrokenTableError,
    EngineRefusedError,
    TracesRefusedError,
    VocabularyRefusedError,
)
def command(settings: Settings) -> None:
    """Apply actions and answer ranking requests, until Ctrl-C or SIGTERM.

    Start as many as there are partitions, on one machine or many: they share the work as one consumer group and
    nothing else. A user's actions and requests meet on the same worker, so a request sees the newest actions.

    \b
    Reads:  user-actions, ranking-requests; the bundle folder; user_vectors,
            item_counts, item_vectors and catalogue, swapped when a new version
            is published
    Writes: ranked-feeds, dead-letters, user-state-changelog; state_dir;
            with --served-features that topic too

    \b
    Examples:
      rankstream worker --bundle bundle --user-vectors vectors/users
      rankstream worker --bootstrap-servers kafka:9092 --bundle bundles \\
        --group-instance-id worker-1 --state-dir /var/lib/rankstream

    People who know Faust start the same worker with `faust -A rankstream.streams.app worker -l info`, settings from the
    environment or rankstream.toml.
    """
    if not settings.bundle.is_dir():
        raise Refusal(
            f"there is no bundle folder {settings.bundle}; make one with `rankstream train` and `rankstream export`, "
            "or name another with --bundle"
        )
    serving = open_serving(settings, open_engine(settings.engine).join)
    with refusing(StoreRefusedError):
        check_states(settings, serving)
    require_rights(settings)  # refuses within seconds if no broker answers, too; Faust would retry for ever
    app = create_app(settings, serving)
    try:
        app.Worker(loglevel=settings.log_level).execute_from_commandline()
    except (StoreRefusedError, OwnershipError):  # of a partition while it runs: the log has the sentence
        sys.exit(ENDED)
