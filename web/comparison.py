"""The feeds beside the live one: the same visitor, ranked as if its newest actions had not come through yet.

::

    all that it did   a b c d        now
    older than 30 s   a b            what a pipeline that lags by 30 s would show
    frozen                           what a nightly batch alone would show
"""

from dataclasses import dataclass

from msgspec import Raw, Struct

from rankstream.features.ids import id_bytes
from rankstream.streams.codec import encode_feed
from rankstream.web.visit import Did, Replica, StaleVisit

FROZEN = "frozen"  # one name for all its requests: what sources sample for it stays the same


class Comparison(Struct, frozen=True):
    """Two feeds, each as a worker would have answered."""

    frozen: Raw  # no realtime action known; the batch vector is
    stale: Raw
    stale_actions: int  # that the stale one knows


@dataclass(frozen=True)
class Comparer:
    """Ranks what a visitor would be shown with fewer of its actions."""

    replica: Replica

    def compare(self, visit: StaleVisit) -> Comparison:
        """Return the feeds as of the visit's time. Raises ``Rejected`` and ``RankingRefusedError``."""
        known = old_enough(visit)
        return Comparison(
            frozen=self._feed(visit, (), FROZEN), stale=self._feed(visit, known, None), stale_actions=len(known)
        )

    def _feed(self, visit: StaleVisit, actions: tuple[Did, ...], request_id: str | None) -> Raw:
        request, state = visit.request(request_id), self.replica.state(visit, actions)
        ranker = self.replica.serving.for_user(id_bytes(visit.user_id))
        ranking = ranker.rank(request, state, visit.timestamp_ms)
        return Raw(encode_feed(request, ranking, visit.timestamp_ms))


def old_enough(visit: StaleVisit) -> tuple[Did, ...]:
    """Return the actions that are at least ``older_than_ms`` old."""
    until_ms = visit.timestamp_ms - visit.older_than_ms
    return tuple(one for one in visit.actions if one.timestamp_ms <= until_ms)
