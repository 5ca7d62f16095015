"""What the live page sends: visits with all that a visitor did, questions about items, lists of items."""

import msgspec

from fuzz.law import Target, same
from fuzz.targets.records import lines_of
from rankstream.events.action_event import Rejected
from rankstream.ranking.request import RankingRefusedError
from rankstream.web.cards import Cards, read_cards
from rankstream.web.comparison import Comparer
from rankstream.web.visit import Replica, read_stale_visit, read_why
from tests.builders.actions import MORNING_MS, SomeLiveRanker

DID = ({"item_id": "a", "action": "view", "timestamp_ms": MORNING_MS - 5},
       {"item_id": 9, "action": "save", "timestamp_ms": MORNING_MS - 4})  # fmt: skip
VISIT = {"user_id": "u1", "request_id": "r1", "timestamp_ms": MORNING_MS, "limit": 9, "top_k": 3, "actions": DID}
COMPARED = (VISIT | {"older_than_ms": 4}, VISIT | {"older_than_ms": 0, "user_id": 7, "actions": []})
ASKED = (VISIT | {"item_id": "a"}, VISIT | {"item_id": 9})
CARDS: tuple[dict[str, list[int | str]], ...] = ({"ids": ["a", 9, "<b>"]}, {"ids": []})


def _compared(data: bytes) -> None:
    visit = read_stale_visit(data, MORNING_MS)
    same(read_stale_visit(msgspec.json.encode(visit), MORNING_MS), visit)
    Comparer(Replica(SomeLiveRanker())).compare(visit)


def _asked(data: bytes) -> None:
    asked = read_why(data, MORNING_MS)
    same(read_why(msgspec.json.encode(asked), MORNING_MS), asked)
    Replica(SomeLiveRanker()).state(asked, asked.actions)


def _cards(data: bytes) -> None:
    ids = read_cards(data).ids
    same([one.item_id for one in Cards(images="https://host/{id}.jpg").of(ids)], list(ids))


def targets() -> list[Target]:
    """Return the targets."""
    return [
        Target("visit", lines_of(COMPARED), _compared, (Rejected, RankingRefusedError)),
        Target("why", lines_of(ASKED), _asked, (Rejected,)),
        Target("cards", lines_of(CARDS), _cards, (Rejected,)),
    ]
