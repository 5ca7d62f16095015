"""A disk that hangs, or is slow, holds nobody who is served: looking for what was published is no part of an answer."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rankstream.features.files import CURRENT
from rankstream.features.user_state import UNKNOWN_USER
from rankstream.ranking.bundle import use_bundle
from rankstream.ranking.serving import LiveRanker
from tests.builders.bundle import a_bundle, a_user_table
from tests.builders.catalogue import an_item, published
from tests.builders.graph import publish_boards
from tests.builders.patience import PATIENCE_S
from tests.builders.threads import wait_for_threads
from tests.ranking.test_serving import NOW, REQUEST, Clock

FOLLOWED = ("bundles", "users", "graph", "catalogue")


@contextmanager
def hanging(*roots: Path) -> Iterator[None]:
    """Let each read of a CURRENT wait, as that of a file on a disk that does not answer, until the end of the block."""
    for root in roots:
        (root / CURRENT).rename(root / "was")
        os.mkfifo(root / "held")
        (root / CURRENT).hardlink_to(root / "held")
    try:
        yield
    finally:
        for root in roots:
            (root / "was").replace(root / CURRENT)
            os.close(os.open(root / "held", os.O_RDWR | os.O_NONBLOCK))


def answer_in_time(serving: LiveRanker) -> tuple[str, str | None]:
    """Return model and graph of an answer. Fails where a request waits."""
    answers: list[tuple[str, str | None]] = []

    def ask() -> None:
        ranker = serving.current
        answers.append((ranker.rank(REQUEST, UNKNOWN_USER, NOW).model_version, ranker.graph))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE_S)
    assert answers, "the request waits for a look at what was published"
    return answers[0]


LOOKS = "rankstream-bundle", "rankstream-table", "rankstream-catalogue"  # the threads that look


def looking() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name in LOOKS]


def test_requests_are_answered_while_looks_at_what_was_published_hang_and_what_is_new_serves_afterwards(tmp_path):
    clock, (bundles, users, graph, items) = Clock(), [tmp_path / name for name in FOLLOWED]
    for name in ("one", "two"):
        a_bundle(bundles / name, model_version=name)
    use_bundle(bundles, "one")
    a_user_table(users, ["u1"])
    old = publish_boards(graph, [("b1", 5), ("b1", 6)])
    published(items, an_item(1))
    serving = LiveRanker.open(bundles, users, graph=graph, catalogue=items, clock=clock)
    use_bundle(bundles, "two")
    new = publish_boards(graph, [("b1", 5), ("b1", 7)])
    with hanging(bundles, users, graph, items):
        for clock.now in range(2, 20, 2):
            assert answer_in_time(serving) == ("one", old)
        assert len(looking()) <= len(FOLLOWED), "a look that hangs is waited for before the next one"
    for clock.now in (22, 24):
        wait_for_threads(*LOOKS)
        answered = answer_in_time(serving)
    assert answered == ("two", new)
