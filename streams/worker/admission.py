"""Which bundles may serve beside the states that there are: by the names in this worker's folder, and in the changelog.

::

    a bundle adds names that were not kept here
        -> the changelog of every partition is looked at: another worker's states may have these codes by other names,
           and this worker may be their heir by the next rebalance; where brokers fence, the names are claimed with
           that look, so that no two workers add different ones (``names_claim.py``)
        -> the names are kept, the bundle serves

One that adds none, as mostly, asks nobody, and so does a worker that starts again. While no broker answers, a swap
waits, and the old bundle serves.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from aiokafka.errors import KafkaError

from rankstream.features.actions import Vocabulary
from rankstream.streams.clients.connect import ClientError
from rankstream.streams.settings import Settings
from rankstream.streams.topics import CHANGELOG, TopicNames
from rankstream.streams.worker.changelog import logged_names
from rankstream.streams.worker.fence import FenceRefusedError
from rankstream.streams.worker.names_claim import claim
from rankstream.streams.worker.vocabulary_guard import NO_NAMES, KeptVocabulary, Names

AWAY = (ClientError, KafkaError, TimeoutError, FenceRefusedError)  # what is raised where brokers don't answer
ASK_AGAIN_S = 5.0

log = logging.getLogger(__name__)


@runtime_checkable
class Swaps(Protocol):
    """A serving state that swaps bundles, as ``ranking.serving.LiveRanker``."""

    @property
    def refused_swaps(self) -> int:
        """How many bundles did not come to serve."""
        ...

    def admit_by(self, admit: Callable[[Vocabulary], None]) -> None:
        """Have ``admit`` raise ``VocabularyRefusedError`` for what must not be swapped in."""
        ...


class Admission:
    """Compares a bundle's names with all states that this worker may come to own."""

    def __init__(self, settings: Settings, kept: KeptVocabulary, fencing: bool = False) -> None:
        self._settings, self._kept = settings, kept
        self._claims = fencing and settings.changelog
        self._changelog = TopicNames(settings.topic_prefix).of(CHANGELOG)

    async def at_start(self, vocabulary: Vocabulary) -> None:
        """Let the bundle serve that a worker starts with. Raises ``VocabularyRefusedError``, and ``AWAY``."""
        if not self._kept.knows(vocabulary):
            await self._ask_for(vocabulary)
        self._kept.keep()

    def admit(self, vocabulary: Vocabulary) -> None:
        """Let a bundle be swapped in. Raises ``VocabularyRefusedError``; in a thread that may wait for brokers."""
        if not self._kept.knows(vocabulary):
            self._ask_until_told(vocabulary)
        self._kept.admit(vocabulary)

    async def _ask_for(self, vocabulary: Vocabulary) -> None:
        """Compare with what the brokers know of names, and claim them. Raises ``VocabularyRefusedError``, ``AWAY``."""

        async def compared(claimed: Names) -> Names:
            for number, names in (await logged_names(self._settings)).items():
                self._kept.compare(vocabulary, names, self._changelog, number)
            return claimed.longer(Names.of(vocabulary), _why_not)

        if self._claims:
            await claim(self._settings, compared)
        else:
            await compared(NO_NAMES)

    def _ask_until_told(self, vocabulary: Vocabulary) -> None:
        """Ask until brokers answer."""
        told = False
        while True:
            try:
                return asyncio.run(self._ask_for(vocabulary))
            except AWAY as exc:
                if not told:
                    log.warning("the new bundle waits: its names are compared with the changelog's first, and %s", exc)
                told = True
                time.sleep(ASK_AGAIN_S)


def _why_not(what: str, was: str, becomes: str) -> str:
    return (
        f"a worker of this group was given a bundle with the {what} {was}, but here they are {becomes}: give all "
        "workers one bundle; to serve this one, end all of them, move their folders away and delete the changelog, and "
        "users are built again from their actions"
    )
