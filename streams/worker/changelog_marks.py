"""What stands beside a position in the changelog, so that whoever restores from it knows what it holds.

::

    source       what the position counts in (``source.py``)
    changelog    id of the topic that it stands in: one that was created anew holds a part of the users
    begin        offset at which that log began: one that begins later now has lost users
    vocabulary   names of the codes in the states before it (``vocabulary_guard.py``)

Compaction moves no log's beginning. Where ``cleanup.policy`` is not ``compact`` alone for a while, retention does, and
who deletes records: the states of users who did not act since are gone then, and a position behind them would say that
they are there. Versions of before wrote fewer of these; what is not there is not compared.
"""

from dataclasses import dataclass

from rankstream.streams.worker.vocabulary_guard import KeptVocabulary

LOG_HEADER, BEGIN_HEADER, NAMES_HEADER = "changelog", "begin", "vocabulary"


@dataclass(frozen=True)
class ChangelogMarks:
    """What is known of the changelog of a partition that is written to."""

    topic_id: str = ""  # "" where it is not known
    begin: int | None = None  # as of when it was whole
    vocabulary: KeptVocabulary | None = None

    def headers(self) -> list[tuple[str, bytes]]:
        """Return what stands beside a position."""
        begin = [] if self.begin is None else [(BEGIN_HEADER, b"%d" % self.begin)]
        names = [] if self.vocabulary is None else [(NAMES_HEADER, self.vocabulary.packed)]
        return [(LOG_HEADER, self.topic_id.encode()), *begin, *names]


NO_MARKS = ChangelogMarks()


def begin_in(raw: bytes | None) -> int | None:
    """Return where the log began, as a header says; None where none does."""
    return int(raw) if raw is not None and raw.isdigit() else None
