"""Does the log reproduce what was served? Each answer is recomputed and compared, to the bit.

::

    served-features  ---- what was served, and which state it was made from ---\
    ranking-requests ---- the request ---------------------------------------- >  identical, different, or not
    user-actions     ---- Pipeline, up to that state's offset, Ranker --------/   verifiable, with the reason

The log of actions is read once: answers wait, in the order of their states' offsets, until it has come that far. Only
users who were served are kept in memory, besides the raw bytes of requests and answers. Of an experiment there are two
bundles: each answer is held against the one whose model it names, and its user's sessions are folded by that model from
the log's beginning, as they were live.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import msgspec
from msgspec import UnsetType

from rankstream.evaluation.audit.diff import STATE, Difference, compare, difference_of, in_words
from rankstream.evaluation.point_in_time import (
    NotRetainedError,
    PartitionStates,
    RankersAsServed,
    as_served,
    rankers_of_model,
)
from rankstream.events.action_event import TIMESTAMP, Record
from rankstream.features.decoding import UNREADABLE
from rankstream.features.history import DEFAULT_LIMIT
from rankstream.features.ids import id_bytes
from rankstream.features.user_state import NEVER, NO_OFFSET, UserState
from rankstream.ranking.request import Variant
from rankstream.streams.codec import RankedFeed, ServedFeatures, variant_of
from rankstream.streams.records import Channel, Outgoing

RequestOffset = tuple[int, int]  # partition and offset of a request
Served = tuple[int, str, Variant | None]  # partition, model and variant of an answer

ANSWER = "answer"  # a difference: there is no answer now
NO_REQUEST = "its request is not in the log any more"
NO_ACTIONS = "the log of actions starts after the user's first action (retention)"
LOG_ENDS = "the log of actions ends before the user's state"
REFUSED_NOW = "a request with such a timestamp_ms is refused now; an older version answered it"
FOLDED_BY_ANOTHER = "sessions of the user were folded by another model before"

_decode = msgspec.json.Decoder(ServedFeatures).decode
_decode_feed = msgspec.json.Decoder(RankedFeed).decode


class VerifyError(ValueError):
    """Records that can't be verified at all; one sentence with what to do."""


@dataclass(frozen=True)
class Due:
    """An answer that waits for its state."""

    state_offset: int
    key: bytes  # of the user
    request: Record
    served_bytes: bytes
    models_before: bool  # did another model answer in this partition before?


@dataclass
class Report:
    """What came of it; ``as_dict`` is the same for machines."""

    model_version: str
    tolerance: float
    variant_model_version: str | None = None  # of the other bundle; None where one alone is looked at
    answers: int = 0  # records of served-features; a request that was answered twice has two
    requests: int = 0  # different ones among them
    verified: int = 0
    other_features: int = 0  # of these, with other bytes of features, but scores within a tolerance above 0
    differences: list[Difference] = field(default_factory=list)
    unverified: Counter[str] = field(default_factory=Counter)  # by reason
    user_vectors: set[str | None] = field(default_factory=set)
    item_counts: set[str | None] = field(default_factory=set)  # None: the bundle's own
    catalogues: set[str] = field(default_factory=set)
    item_vectors: set[str | None] = field(default_factory=set)  # None: the bundle's own
    interests: set[str] = field(default_factory=set)
    graphs: set[str] = field(default_factory=set)
    scorers: set[str] = field(default_factory=set)  # besides ONNX Runtime, the default
    actions_read: int = 0
    seconds: float = 0.0
    ranking_seconds: float = 0.0  # of these

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as ``--json`` prints them."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        found: dict[str, set[Any]] = {
            "user_vectors": self.user_vectors, "item_counts": self.item_counts, "catalogues": self.catalogues,
            "item_vectors": self.item_vectors, "interests": self.interests, "graphs": self.graphs,
            "scorers": self.scorers,
        }  # fmt: skip
        return values | {name: sorted(version for version in of if version) for name, of in found.items()}


def verify(
    served: Iterable[Record],
    requests: Iterable[Record],
    actions: Iterable[Record],
    rankers: RankersAsServed,
    history_limit: int = DEFAULT_LIMIT,
    tolerance: float = 0.0,
    forget_after_ms: int = NEVER,
    variant: RankersAsServed | None = None,
) -> Report:
    """Recompute what was served; the three logs are read one after the other. Raises ``VerifyError``.

    ``variant`` are the rankers of the other bundle of an experiment.
    """
    several, started = [rankers, *([variant] if variant else [])], perf_counter()
    versions = [one.bundle.manifest.model_version for one in several]
    report = Report(versions[0], tolerance, versions[1] if variant else None)
    checks: dict[int, list[_Check]] = {}
    for (number, model), dues in _due(_Answers.read(served, report), requests, report).items():
        check = _Check(number, dues, rankers_of_model(several, model), (history_limit, forget_after_ms), report)
        checks.setdefault(number, []).append(check)
    every = [check for of_partition in checks.values() for check in of_partition]
    for record in actions:
        if record.partition in checks:
            report.actions_read += 1
            for check in checks[record.partition]:
                check.apply(record)
            if all(one.done for one in checks[record.partition]) and all(one.done for one in every):
                break
    for check in every:
        check.end()
    report.differences.sort(key=lambda one: (one.partition, one.request_offset))
    report.seconds = perf_counter() - started
    return report


@dataclass
class _Answers:
    """The served records, by the request that they answer."""

    by_request: dict[RequestOffset, list[bytes]] = field(default_factory=dict)
    first_of_model: dict[Served, int] = field(default_factory=dict)  # offset of the first request

    @classmethod
    def read(cls, records: Iterable[Record], report: Report) -> "_Answers":
        read = cls()
        for record in records:
            if record.value is None:
                continue
            served = read_served(record)
            read.by_request.setdefault((served.partition, served.offset), []).append(record.value)
            by = served.partition, served.model_version, variant_of(served)
            read.first_of_model[by] = min(served.offset, read.first_of_model.get(by, served.offset))
            report.answers += 1
        report.requests = len(read.by_request)
        return read

    def models_before(self, served: ServedFeatures) -> bool:
        """Return whether another model, which may have been the user's, has answered in the partition before."""
        return any(
            number == served.partition
            and version != served.model_version
            and first < served.offset
            and not _are_two_sides(variant, variant_of(served))
            for (number, version, variant), first in self.first_of_model.items()
        )


def _are_two_sides(one: Variant | None, other: Variant | None) -> bool:
    """Return whether two variants are those of one assignment, so that no user can have been on both."""
    if one is None or other is None:
        return False
    return one.name != other.name and (one.share, one.salt) == (other.share, other.salt)


def read_served(record: Record) -> ServedFeatures:
    """Return what a record of served-features holds. Raises ``VerifyError``."""
    try:
        return _decode(record.value or b"")
    except UNREADABLE as exc:
        raise VerifyError(
            f"the record at offset {record.offset} of {record.topic}, partition {record.partition}, is not one of "
            f"served-features ({exc}); was another topic or file given?"
        ) from exc


def _due(answers: _Answers, requests: Iterable[Record], report: Report) -> dict[tuple[int, str], list[Due]]:
    """Return the answers by partition and model, and count those without a request.

    They are in the order of their states, last first.
    """
    due: dict[tuple[int, str], list[Due]] = {}
    for request in requests:
        for value in answers.by_request.pop((request.partition, request.offset), ()):
            served = _decode(value)
            record = as_served(request, served)
            waits = Due(served.state_offset, id_bytes(served.user_id), record, value, answers.models_before(served))
            due.setdefault((served.partition, served.model_version), []).append(waits)
        if not answers.by_request:
            break
    lost = sum(len(values) for values in answers.by_request.values())
    if lost:
        report.unverified[NO_REQUEST] += lost
    for dues in due.values():
        dues.sort(key=lambda one: one.state_offset, reverse=True)
    return due


class _Check:
    """One partition and model: the users it has served as the log goes on, and the answers that wait for them."""

    def __init__(
        self, number: int, due: list[Due], rankers: RankersAsServed, kept: tuple[int, int], report: Report
    ) -> None:
        self.number = number
        self.report = report
        self._due = due  # the next one last
        self._rankers = rankers
        self._states = PartitionStates(rankers.serving(), {one.key for one in due}, *kept)
        self._first: int | None = None  # offset that the log starts at
        self._reached = NO_OFFSET

    @property
    def done(self) -> bool:
        """Return whether no answer waits any more."""
        return not self._due

    def apply(self, record: Record) -> None:
        """Apply the next action, after the answers that were made from those before it."""
        if self._first is None:
            self._first = record.offset
        self._reached = record.offset
        while self._due and self._due[-1].state_offset < record.offset:
            self._answer(self._due.pop())
        self._states.apply(record)

    def end(self) -> None:
        """Answer what is left: there are no more actions."""
        while self._due:
            self._answer(self._due.pop())

    def _answer(self, due: Due) -> None:
        """Recompute one answer, and count it in the report."""
        served, state = _decode(due.served_bytes), self._states.state(due.key)
        try:
            if state.offset != due.state_offset:
                return self._without_state(due, served, state)
            computed = self._rank(due, served)
        except NotRetainedError as exc:
            self.report.unverified[str(exc)] += 1
            return None
        self.report.user_vectors.add(served.user_vectors)
        self.report.item_counts.add(served.item_counts)
        if not isinstance(served.catalogue, UnsetType):
            self.report.catalogues.add(served.catalogue)
        self.report.item_vectors.add(None if isinstance(served.item_vectors, UnsetType) else served.item_vectors)
        if not isinstance(served.interests, UnsetType):
            self.report.interests.add(served.interests)
        if not isinstance(served.graph, UnsetType):
            self.report.graphs.add(served.graph)
        if not isinstance(served.scorer, UnsetType):
            self.report.scorers.add(served.scorer)
        if computed == due.served_bytes:
            self.report.verified += 1
        else:
            self._compare(due, served, computed, state)
        return None

    def _without_state(self, due: Due, served: ServedFeatures, state: UserState) -> None:
        """Report why the log does not lead to the state that was served."""
        if self._first is None or self._reached < due.state_offset:
            raise NotRetainedError(LOG_ENDS)
        if due.state_offset < self._first:
            raise NotRetainedError(NO_ACTIONS)
        last = "has none yet" if state.offset == NO_OFFSET else f"has the last one at offset {state.offset}"
        message = f"the log has no action of the user at offset {due.state_offset}; the replayed state {last}"
        self.report.differences.append(difference_of(served, (STATE,), message))

    def _rank(self, due: Due, served: ServedFeatures) -> bytes | str:
        """Return the record that the pipeline writes now, or why it answers with an error."""
        started = perf_counter()
        self._states.serving.current = self._rankers.ranker(served)
        outgoing = self._states.pipeline.on_requests([due.request]).answer()
        self.report.ranking_seconds += perf_counter() - started
        return next((one.value for one in outgoing if one.channel is Channel.SERVED), _why_not(outgoing))

    def _compare(self, due: Due, served: ServedFeatures, answer: bytes | str, state: UserState) -> None:
        if isinstance(answer, str) and answer.startswith(TIMESTAMP):
            self.report.unverified[REFUSED_NOW] += 1
            return
        if isinstance(answer, str):
            self.report.differences.append(difference_of(served, (ANSWER,), f"the replay refuses: {answer}"))
            return
        computed, tolerance = _decode(answer), self.report.tolerance
        fields, largest = compare(served, computed, tolerance)
        if not fields:
            self.report.verified += 1
            self.report.other_features += served.features != computed.features
        elif self._first and state.total < served.state_actions:
            self.report.unverified[NO_ACTIONS] += 1
        elif due.models_before and state.tail.state:
            self.report.unverified[FOLDED_BY_ANOTHER] += 1
        else:
            self.report.differences.append(
                difference_of(served, fields, in_words(served, computed, fields, largest), largest)
            )


def _why_not(outgoing: list[Outgoing]) -> str:
    """Return the message of the error feed among the answers."""
    for one in outgoing:
        if one.channel is Channel.FEEDS:
            feed = _decode_feed(one.value)
            return "" if isinstance(feed.error, UnsetType) else f"{feed.error.reason}, {feed.error.message}"
    return "there is no answer"
