"""Which topics a worker's states come from and are logged to; states of other topics are refused.

An offset is no identity. A topic may have been deleted and created anew under its name, have been given partitions, or
have lost its newest records, and have grown past an old position in each case.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from faust.types import TP

from rankstream.streams.settings import Settings
from rankstream.streams.topics import ACTIONS, CHANGELOG, REQUESTS, TopicNames
from rankstream.streams.worker.offsets import Bounds, begins_of
from rankstream.streams.worker.source import UNKNOWN, Described, Source, describe
from rankstream.streams.worker.truncation import replaced_records


class OwnershipError(RuntimeError):
    """The partitions can't be opened; the message is one sentence and says what to do."""


class TopicIdentity:
    """The topics, as of when they were last looked at, and what positions in them are worth."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.names = TopicNames(settings.topic_prefix)
        self.source = UNKNOWN  # the topic user-actions
        self.changelog_id = ""
        self.changelog_begins: dict[TP, int] = {}  # of partitions that were opened, as of when they were whole
        self.leaders: Mapping[TP, int] = {}  # their epochs
        self.leaderless: Collection[TP] = ()  # all replicas of these are away

    async def look(self, in_use: bool) -> None:
        """Note which topics actions come from and states are logged to, and who leads them.

        ``in_use`` says whether partitions of those that were noted before are open. Raises ``OwnershipError`` if one of
        them is another by now, ``ClientError`` where no broker tells.
        """
        actions, changelogs = self.names.of(ACTIONS), [self.names.of(CHANGELOG)] if self.settings.changelog else []
        requests = self.names.of(REQUESTS)
        found = await describe(self.settings, [actions, requests, *changelogs])
        self.leaders = leaders_of(found)
        self.leaderless = {TP(topic, number) for topic, one in found.items() for number in one.leaderless}
        self._check_source(actions, found[actions].source, in_use)
        self._check_requests(requests, found[requests].source)
        for changelog in changelogs:
            self._check_changelog(changelog, found[changelog].source.topic_id, in_use)

    async def check_changelog_begins(self, open_: Collection[int]) -> None:
        """Refuse to go on where the changelog of an open partition lost its oldest records, and with them users.

        Those that nobody leads are left for another time. Raises ``OwnershipError``; ``TimeoutError`` or ``KafkaError``
        where brokers are away.
        """
        begins = self.changelog_begins.items()
        known = {tp: began for tp, began in begins if tp.partition in open_ and tp not in self.leaderless}
        now = await begins_of(self.settings, known) if known else {}
        for tp, began in known.items():
            if now[tp] > began:
                raise OwnershipError(
                    f"the changelog {tp.topic} partition {tp.partition} began at offset {began} and begins at "
                    f"{now[tp]} now: records were deleted from it, or it is not compacted, so it lacks users who did "
                    "not act since: start the worker again, and it writes them"
                )

    def sources_of(self, numbers: Collection[int]) -> list[TP]:
        """Return these partitions of both topics that are read."""
        topics = (self.names.of(ACTIONS), self.names.of(REQUESTS))
        return [TP(topic, number) for number in numbers for topic in topics]

    def folder(self, number: int) -> Path:
        """Return the folder of a partition's users."""
        return self.settings.state_dir / self.settings.app_id / f"{self.names.of(ACTIONS)}-{number}"

    def check_position(self, number: int, position: int | None, was: Source, source: Bounds, whose: str) -> None:
        """Refuse a position in another topic of the same name, and one that the topic has never reached."""
        if position is None:
            return
        topic = self.names.of(ACTIONS)
        to = "to start without the users of the old topic"
        if not was.is_another(self.source):
            self.check_split(was, f"{whose} has users of partition {number}")
        if was.is_another(self.source):
            why = f"was created anew since (its id was {was.topic_id} and is {self.source.topic_id})"
        elif position <= source.written:
            return
        elif was.topic_id and was.topic_id == self.source.topic_id:
            why = f"ends at offset {source.written}, though it is the same topic: it has lost its newest records"
            to = "to build the users again from those that it holds"
        else:
            why = f"ends at offset {source.written}, so it was recreated"
        raise OwnershipError(
            f"{whose} has users up to offset {position} of {topic} partition {number}, but that topic {why}: "
            f"{self._moved_away(number)} {to}"
        )

    def _moved_away(self, number: int) -> str:
        changelog = f" and delete the topic {self.names.of(CHANGELOG)}" if self.settings.changelog else ""
        return f"move {self.folder(number)} away{changelog}"

    async def check_last_records(self, kept: Mapping[int, Source], sources: Mapping[TP, Bounds], whose: str) -> None:
        """Refuse positions where the topic holds another record than the last one applied."""
        topic = self.names.of(ACTIONS)
        known = {TP(topic, number): source for number, source in kept.items()}
        for tp in sorted(await replaced_records(self.settings, known, sources)):
            raise OwnershipError(
                f"{whose} has users with the action at offset {known[tp].last_offset} of {topic} partition "
                f"{tp.partition}, but that topic holds another record there, though it is the same topic: it has "
                f"lost its newest records since; {self._moved_away(tp.partition)} to build the users again from "
                "those that it holds"
            )

    def check_split(self, was: Source, what: str) -> None:
        """Refuse states that were made while the topic had another number of partitions."""
        if not was.is_split_otherwise(self.source):
            return
        raise OwnershipError(
            f"{what}, as of when {self.names.of(ACTIONS)} had {was.partitions} partitions, but now it has "
            f"{self.source.partitions}, so users' new actions lie on other partitions than their states: end all "
            "workers and move the users to topics of their own with `rankstream repartition`, or build them again from "
            'the actions that the topic holds (docs/operations.md, "Scale")'
        )

    def _check_source(self, topic: str, now: Source, in_use: bool) -> None:
        if in_use and self.source.is_another(now):
            raise OwnershipError(
                f"the topic {topic} was created anew while its records were applied (its id was "
                f"{self.source.topic_id} and is {now.topic_id}): start the worker again, and do what it says then"
            )
        if self.source.is_split_otherwise(now):
            raise OwnershipError(
                f"the topic {topic} had {self.source.partitions} partitions and was given {now.partitions}, so users' "
                "new actions lie on other partitions than their states: start the worker again, and do what it says "
                "then"
            )
        if now != UNKNOWN:
            self.source = now

    def _check_requests(self, topic: str, now: Source) -> None:
        """Refuse to go on where requests lie on other partitions than their users: nobody reads some of them."""
        if self.source.is_split_otherwise(now):
            raise OwnershipError(
                f"the topic {topic} has {now.partitions} partitions, but {self.names.of(ACTIONS)} has "
                f"{self.source.partitions}, so requests lie on other partitions than their users' states, and some on "
                "those that no worker reads: give both the same number (delete the wrong topic, and start the worker "
                "again, which creates it if it may)"
            )

    def _check_changelog(self, topic: str, now: str, in_use: bool) -> None:
        before = self.changelog_id
        if in_use and before and now and before != now:
            raise OwnershipError(
                f"the changelog {topic} was created anew while states were logged to it (its id was {before} and is "
                f"{now}), so it lacks all users who did not act since: start the worker again, and it writes them"
            )
        self.changelog_id = now or before


def leaders_of(found: Mapping[str, Described]) -> dict[TP, int]:
    """Return the epoch of each partition's leader."""
    return {TP(topic, number): epoch for topic, one in found.items() for number, epoch in one.leader_epochs.items()}
