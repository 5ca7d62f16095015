"""The wire: bytes to requests; feeds, served features and dead letters to bytes.

The formats are the structs below, ``RankingRequest`` and ``FeedItem`` (``ranking/request.py``) and ``ActionEvent``
(``events/action_event.py``); ``docs/schemas`` is generated from them. What can't be decoded raises ``Rejected`` with a
reason for machines and a sentence for people. Decoding depends on the record alone, so a log decodes today as it did
when it was live; the worker's clock is asked for a record without a time only.
"""

from base64 import b64encode
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import replace

from rankstream.events.action_event import (
    NOT_JSON,
    RECORDS_TIME,
    TOO_LARGE,
    Record,
    Rejected,
    Unread,
    check_time,
    decoded,
    produced_ms,
    sent_value,
    wrong_key,
)
from rankstream.features.decoding import UNREADABLE
from rankstream.features.ids import MAX_ID_BYTES, Id, id_bytes
from rankstream.features.user_state import UserState
from rankstream.ranking.request import FeedItem, Ranking, RankingRefusedError, RankingRequest, Variant, check_request

WORKERS_CLOCK = "the worker's clock"
MAX_REQUEST_BYTES = 2 * 1024 * 1024
MAX_DEAD_LETTER_BYTES = 512 * 1024  # original bytes kept in a dead letter: brokers take records of 1 MB
MAX_UNREADABLE_BYTES = 16 * 1024  # of what can't be read
UNREADABLE_REASONS = (NOT_JSON, "schema", TOO_LARGE)
REASONS = (  # of all dead letters, as docs/topics.md explains them
    *UNREADABLE_REASONS, "empty", "damaged-batch", "key-mismatch", "wrong-partition", "unknown-action", "timestamp",
    "currency", "internal", "killed-worker", "skipped", "unknown-schema", "unusable-schema", "undecodable",
)  # fmt: skip


class FeedError(Struct, frozen=True):
    """Why there is no feed."""

    reason: str
    message: str


class RankedFeed(Struct, frozen=True):
    """The answer to a request: items, best first, or an error. Topic ranked-feeds, keyed like the request."""

    request_id: Id
    user_id: Id
    ranked_at_ms: int
    items: list[FeedItem] | UnsetType = UNSET
    model_version: str | UnsetType = UNSET
    actions_used: int | UnsetType = UNSET
    newest_action_age_ms: int | UnsetType | None = UNSET
    user_vector_found: bool | UnsetType = UNSET
    unknown_items: int | UnsetType = UNSET
    timings_ms: dict[str, float] | UnsetType = UNSET
    policy: (
        Annotated[str, Meta(description="with exploration: what chose the order, its parameters and seed")] | UnsetType
    ) = UNSET
    num_candidates: (
        Annotated[int, Meta(description="with exploration: items that were ranked, more than items if some were cut")]
        | UnsetType
    ) = UNSET
    calibrated: (
        Annotated[
            list[str],
            Meta(
                description="heads whose numbers are probabilities, calibrated on what came after training; the "
                "others' are scores. Absent: the bundle does not say, take all for scores"
            ),
        ]
        | UnsetType
    ) = UNSET
    surface: Annotated[str, Meta(description="of the request, where it named one")] | UnsetType = UNSET
    fallback: (
        Annotated[
            str,
            Meta(
                description="where there was no time to score the items: what ordered them instead, `popularity`; "
                "their scores are that, and they have no probabilities"
            ),
        ]
        | UnsetType
    ) = UNSET
    variant: (
        Annotated[
            str,
            Meta(description="in an experiment: `control` or `treatment`, whose model ranked it, or refused to"),
        ]
        | UnsetType
    ) = UNSET
    variant_share: (
        Annotated[
            float,
            Meta(
                ge=0,
                le=1,
                description="in an experiment: the share of all users that the treatment has; 0 while its model can't "
                "serve beside the other",
            ),
        ]
        | UnsetType
    ) = UNSET
    error: FeedError | UnsetType = UNSET


class ServedFeatures(Struct, frozen=True):
    """What a feed was made from, for ``rankstream verify``. Topic served-features, keyed like the request."""

    request_id: Id
    user_id: Id
    at_ms: Annotated[int, Meta(description="the time that it was ranked as of, UTC")]
    state_offset: Annotated[
        int, Meta(description="of the user's last action that was known, in user-actions; -1: none")
    ]
    state_actions: Annotated[int, Meta(description="actions of the user ever applied, up to there")]
    partition: Annotated[int, Meta(description="of the request, hence of the user's actions too")]
    offset: Annotated[int, Meta(description="of the request in ranking-requests")]
    features: Annotated[str, Meta(description="digest of every byte that the model was given")]
    model_version: str
    user_vectors: Annotated[str | None, Meta(description="version of the table of user vectors; null without one")]
    items: Annotated[list[FeedItem], Meta(description="as in the feed")]
    item_counts: Annotated[str | None, Meta(description="version of the item counts; null for the bundle's own")] = None
    policy: Annotated[str, Meta(description="with exploration: as in the feed")] | UnsetType = UNSET
    interests: (
        Annotated[str, Meta(description="version of the interests that candidates were found by, where one was")]
        | UnsetType
    ) = UNSET
    graph: (
        Annotated[str, Meta(description="version of the published graph that walks went on, where one was")] | UnsetType
    ) = UNSET
    catalogue: (
        Annotated[str, Meta(description="version of the catalogue that candidates were found with, where one was")]
        | UnsetType
    ) = UNSET
    retrieval: (
        Annotated[str, Meta(description="the shares of sources that candidates were found by, with that")] | UnsetType
    ) = UNSET
    item_vectors: (
        Annotated[str, Meta(description="version of the table of item vectors; absent for the bundle's own")]
        | UnsetType
    ) = UNSET
    item_index: (
        Annotated[
            str,
            Meta(description="the index that candidates were found in; absent where they were given, or all compared"),
        ]
        | UnsetType
    ) = UNSET
    scorer: (
        Annotated[str, Meta(description="the setting `scorer` that it was scored with; absent for onnxruntime")]
        | UnsetType
    ) = UNSET
    variant: Annotated[str, Meta(description="in an experiment: as in the feed")] | UnsetType = UNSET
    variant_share: Annotated[float, Meta(ge=0, le=1, description="in an experiment: as in the feed")] | UnsetType = (
        UNSET
    )
    variant_salt: (
        Annotated[str, Meta(description="in an experiment: the salt of the hash that assigned the user")] | UnsetType
    ) = UNSET


class DeadLetter(Struct, frozen=True):
    """A record that could not be decoded or answered, and its offset. Topic dead-letters, with the record's own key."""

    reason: str
    message: str
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key_base64: str | None
    value_base64: str | None
    value_bytes: int  # of the whole original; more than value_base64 holds when it was cut
    key_bytes: Annotated[int, Meta(description="of the whole key, where key_base64 holds a part")] | UnsetType = UNSET


class _Ids(Struct):
    """What an invalid request may still hold, for its error feed."""

    request_id: Any = None
    user_id: Any = None


_decode_request: Callable[[bytes], RankingRequest] = msgspec.json.Decoder(RankingRequest).decode
_encode = msgspec.json.Encoder().encode


def decode_request(record: Record, now_ms: int | None = None) -> RankingRequest:
    """Return the request of a record, with the record's time where it has none of its own. Raises ``Rejected``.

    ``now_ms``, the worker's clock, stands for the time of a record that has none either, and no request is of a time
    far after it; without it the request stays without, and is not compared: it was, when it was served.
    """
    request = decoded(record.value, _decode_request, MAX_REQUEST_BYTES, "a ranking request")
    if record.key != id_bytes(request.user_id):
        raise wrong_key(record, request.user_id)
    try:
        check_request(request)
    except RankingRefusedError as exc:
        raise Rejected("schema", str(exc)) from None
    if request.deadline_ms is not None:
        check_time("deadline_ms", request.deadline_ms, None)  # it may be as late as it likes
    produced = produced_ms(record, now_ms)
    if request.timestamp_ms is not None:
        check_time("timestamp_ms", request.timestamp_ms, produced)
        check_time("timestamp_ms", request.timestamp_ms, now_ms, WORKERS_CLOCK)
        return request
    if produced is None:
        return request
    check_time(RECORDS_TIME, produced, now_ms, WORKERS_CLOCK)
    return replace(request, timestamp_ms=produced)


def ids_of(value: bytes | None) -> tuple[Id, Id] | None:
    """Return request_id and user_id of an invalid request, if it has both."""
    try:
        found = msgspec.json.decode(value or b"", type=_Ids)
    except UNREADABLE:
        return None
    ids = (found.request_id, found.user_id)
    if all(type(one) in (int, str) for one in ids) and all(len(str(one)) <= MAX_ID_BYTES for one in ids):
        return ids
    return None


def encode_feed(request: RankingRequest, ranking: Ranking, ranked_at_ms: int) -> bytes:
    """Return the bytes of a feed."""
    feed = RankedFeed(
        request_id=request.request_id,
        user_id=request.user_id,
        ranked_at_ms=ranked_at_ms,
        items=list(ranking.items),
        model_version=ranking.model_version,
        actions_used=ranking.actions_used,
        newest_action_age_ms=ranking.newest_action_age_ms,
        user_vector_found=ranking.user_vector_found,
        unknown_items=ranking.unknown_items,
        timings_ms=ranking.timings_ms,
        policy=UNSET if ranking.policy is None else ranking.policy,
        num_candidates=UNSET if ranking.policy is None else ranking.num_candidates,
        calibrated=UNSET if ranking.calibrated is None else list(ranking.calibrated),
        surface=UNSET if request.surface is None else request.surface,
        fallback=UNSET if ranking.fallback is None else ranking.fallback,
        variant=UNSET if ranking.variant is None else ranking.variant.name,
        variant_share=UNSET if ranking.variant is None else ranking.variant.share,
    )
    return _encode(feed)


def encode_served(record: Record, request: RankingRequest, state: UserState, ranking: Ranking) -> bytes:
    """Return the bytes of what a feed was made from; no clock is in them, so a replay writes the same."""
    served = ServedFeatures(
        request_id=request.request_id,
        user_id=request.user_id,
        at_ms=request.as_of(record.timestamp),
        state_offset=state.offset,
        state_actions=state.total,
        partition=record.partition,
        offset=record.offset,
        features="" if ranking.inputs is None else ranking.inputs.digest(),
        model_version=ranking.model_version,
        user_vectors=ranking.user_vectors,
        items=list(ranking.items),
        item_counts=ranking.item_counts,
        policy=UNSET if ranking.policy is None else ranking.policy,
        interests=UNSET if ranking.interests is None else ranking.interests,
        graph=UNSET if ranking.graph is None else ranking.graph,
        catalogue=UNSET if ranking.catalogue is None else ranking.catalogue,
        retrieval=UNSET if ranking.retrieval is None else ranking.retrieval,
        item_vectors=UNSET if ranking.item_vectors is None else ranking.item_vectors,
        item_index=UNSET if ranking.item_index is None else ranking.item_index,
        scorer=UNSET if ranking.scorer is None else ranking.scorer,
        variant=UNSET if ranking.variant is None else ranking.variant.name,
        variant_share=UNSET if ranking.variant is None else ranking.variant.share,
        variant_salt=UNSET if ranking.variant is None else ranking.variant.salt,
    )
    return _encode(served)


def variant_of(answer: RankedFeed | ServedFeatures) -> Variant | None:
    """Return the side of an experiment that an answer is of, None outside one; a feed does not say the salt."""
    if isinstance(answer.variant, UnsetType) or isinstance(answer.variant_share, UnsetType):
        return None
    salt = "" if isinstance(answer, RankedFeed) or isinstance(answer.variant_salt, UnsetType) else answer.variant_salt
    return Variant(answer.variant, answer.variant_share, salt)


def encode_error(
    request_id: Id, user_id: Id, reason: str, message: str, ranked_at_ms: int, variant: Variant | None = None
) -> bytes:
    """Return the bytes of an answer that reports why there is no feed; in an experiment, of the user's ``variant``."""
    feed = RankedFeed(
        request_id,
        user_id,
        ranked_at_ms,
        variant=UNSET if variant is None else variant.name,
        variant_share=UNSET if variant is None else variant.share,
        error=FeedError(reason, message),
    )
    return _encode(feed)


def encode_dead_letter(record: Record, reason: str, message: str) -> bytes:
    """Return the bytes of a dead letter; a large original is cut, and found whole at its offset.

    Of what can't be read 16 KB are enough to see what it is: sent again it would be rejected again.
    """
    sent = sent_value(record)
    value = None if isinstance(sent, Unread) else sent
    limit = MAX_UNREADABLE_BYTES if reason in UNREADABLE_REASONS else MAX_DEAD_LETTER_BYTES
    return _encode(
        DeadLetter(
            reason=reason,
            message=message,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            timestamp_ms=record.timestamp,
            key_base64=_base64(record.key, MAX_DEAD_LETTER_BYTES),
            value_base64=_base64(value, limit),
            value_bytes=len(value or b""),
        )
    )


def _base64(raw: bytes | None, limit: int) -> str | None:
    return None if raw is None else b64encode(raw[:limit]).decode()
