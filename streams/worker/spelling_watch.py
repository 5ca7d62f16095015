"""Whether producers send fields that nothing reads: a look at one record a second, and a line in the log for each name.

Decoders pass over such fields at no cost, and so they shall: what is misspelt is misspelt in each record, so one of
many shows it. Only those that look like a field that is not there are told; others are a producer's own.
"""

import logging
from collections.abc import Callable, Sequence
from time import monotonic

from rankstream.events.action_event import ActionEvent, Record
from rankstream.events.misspelt import misspelt, names_in
from rankstream.ranking.request import RankingRequest
from rankstream.streams.topics import ACTIONS, REQUESTS, Topic

EVERY_S = 1.0
MAX_TOLD = 20  # names: whoever makes them up shall not fill the log
MAX_VALUE_BYTES = 64 * 1024  # of a value that is looked at
KINDS = {ACTIONS: ActionEvent, REQUESTS: RankingRequest}

log = logging.getLogger(__name__)


class SpellingWatch:
    """Looks at the records of one topic."""

    def __init__(self, topic: Topic, clock: Callable[[], float] = monotonic) -> None:
        self._topic, self._kind, self._clock = topic.name, KINDS[topic], clock
        self._due_at = clock()
        self._told: set[str] = set()

    def look(self, records: Sequence[Record]) -> None:
        """Look at the first of some records, if it is time."""
        if not records or self._clock() < self._due_at:
            return
        self._due_at = self._clock() + EVERY_S
        value = records[0].value
        if value is None or len(value) > MAX_VALUE_BYTES or len(self._told) >= MAX_TOLD:
            return
        for name, meant in misspelt(self._kind, names_in(value)).items():
            if name not in self._told and len(self._told) < MAX_TOLD:
                self._told.add(name)
                log.warning("%s has records with a field %r, which nothing reads: %r?", self._topic, name, meant)
