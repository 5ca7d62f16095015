"""What the first answers of a version would have to find out, found out before it serves.

Orders of all items, indexes of their keys, means: each is found out once, when it is first needed. Of a million items
the order by popularity takes half a second, and the first who needs it would be a worker under overload, on its event
loop.
"""

import logging

from rankstream.features.actions import pack_action
from rankstream.features.ids import id_key
from rankstream.features.user_state import UNKNOWN_USER
from rankstream.ranking.bundle import Bundle
from rankstream.ranking.ranker import Ranker
from rankstream.ranking.request import RankingRefusedError, RankingRequest

WARM_UP = RankingRequest("warm-up", "nobody", limit=100)

log = logging.getLogger(__name__)


def warm_up(ranker: Ranker, bundle: Bundle) -> None:
    """Answer a made-up request by the model and by popularity; an error is logged, and left to the requests to come."""
    at_ms, any_items = bundle.manifest.trained_until_ms, bundle.items.ids(range(len(bundle.items))[:1])
    actions = [pack_action(at_ms - 1, 1, id_key(item), 0, 0) for item in any_items]
    try:
        ranker.rank_by_popularity(WARM_UP)
        ranker.rank(WARM_UP, UNKNOWN_USER.apply(actions, 0).state, at_ms)
    except RankingRefusedError as exc:
        log.debug("a request before model %s serves is refused: %s", ranker.model_version, exc)
    except Exception as exc:  # of a scorer, whatever it is: the version was verified, and is not refused for this
        log.warning("model %s could not answer before it serves: %r", ranker.model_version, exc)
