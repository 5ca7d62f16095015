"""What a pipeline has counted, as metrics: the same of a worker's partitions and of a gateway that ranks by itself."""

from rankstream.streams.codec import REASONS
from rankstream.streams.counters import SOURCES, Counters
from rankstream.streams.exposition import Kind, Watched

COUNTER, HISTOGRAM = Kind.COUNTER, Kind.HISTOGRAM

PIPELINE_METRICS: tuple[Watched[Counters], ...] = (
    Watched(
        "rankstream_actions_total",
        COUNTER,
        "Actions read, by what became of them: applied in order, late (applied behind a newer one), duplicate, too_old "
        "for the history, redelivered (applied before a restart), forgotten (of before an erasure of the "
        "user that came earlier).",
        lambda seen: {
            "applied": seen.actions - seen.late,
            "late": seen.late,
            "duplicate": seen.duplicates,
            "too_old": seen.too_old,
            "redelivered": seen.redelivered,
            "forgotten": seen.forgotten,
        },
        ("result",),
    ),
    Watched(
        "rankstream_users_expired_total",
        COUNTER,
        "Users forgotten, as nothing came of them for forget_after_days.",
        lambda seen: seen.expired,
    ),
    Watched("rankstream_erasures_total", COUNTER, "Users erased.", lambda seen: seen.erasures),
    Watched(
        "rankstream_actions_ahead_total",
        COUNTER,
        "Actions stamped later than their records: a client's clock is ahead.",
        lambda seen: seen.ahead,
    ),
    Watched(
        "rankstream_dead_letters_total",
        COUNTER,
        "Records rejected, actions and requests, by reason.",
        # All reasons from the start: Prometheus sees no rise from a series that was not there to one that stands at 1.
        lambda seen: dict.fromkeys(REASONS, 0) | seen.rejected,
        ("reason",),
    ),
    Watched(
        "rankstream_unread_records_total",
        COUNTER,
        "Records that their topic deleted before they were read, actions and requests; counted by offsets, so ends of "
        "transactions are among them.",
        lambda seen: dict.fromkeys(SOURCES, 0) | seen.unread,
        ("source",),
    ),
    Watched(
        "rankstream_sessions_ended_total",
        COUNTER,
        "Sessions of users that ended and were folded into their recurrent state.",
        lambda seen: seen.sessions_ended,
    ),
    Watched(
        "rankstream_requests_total",
        COUNTER,
        "Requests answered: ranked by the model, by popularity (fallback) or with an error (refused).",
        lambda seen: {"ranked": seen.ranked, "fallback": seen.fallbacks, "refused": sum(seen.refused.values())},
        ("result",),
    ),
    Watched(
        "rankstream_requests_refused_total",
        COUNTER,
        "Requests answered with an error, by its reason.",
        lambda seen: seen.refused,
        ("reason",),
    ),
    Watched(
        "rankstream_requests_shed_total",
        COUNTER,
        "Requests that there was no time to rank: answered by popularity, or with an error where that failed too.",
        lambda seen: seen.shed,
    ),
    Watched(
        "rankstream_request_seconds",
        HISTOGRAM,
        "Time to rank a request, by stage: retrieve, join, score, blend, and total.",
        lambda seen: seen.stage_s,
        ("stage",),
    ),
    Watched(
        "rankstream_answer_seconds",
        HISTOGRAM,
        "Time from a request's record to its ranked answer, by the clocks of who wrote the record and of the worker.",
        lambda seen: seen.answer_s,
    ),
    Watched(
        "rankstream_newest_action_age_seconds",
        HISTOGRAM,
        "Age of the newest action that a ranking saw, of users with a history: how fresh feeds are.",
        lambda seen: seen.newest_action_age_s,
    ),
    Watched(
        "rankstream_requests_without_history_total",
        COUNTER,
        "Requests ranked for users of whom no action is known.",
        lambda seen: seen.without_history,
    ),
    Watched("rankstream_candidates_total", COUNTER, "Candidates ranked.", lambda seen: seen.candidates),
    Watched(
        "rankstream_unknown_items_total",
        COUNTER,
        "Candidates ranked without a vector, as the item table does not have them.",
        lambda seen: seen.unknown_items,
    ),
)
