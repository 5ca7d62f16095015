"""A live page that runs in a thread of the test, over the pipeline in its process and a tiny bundle."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rankstream.content.live import LiveCatalogue
from rankstream.features.stores.memory import MemoryStore
from rankstream.gateway.settings import GatewaySettings
from rankstream.gateway.worker_road import WorkerRoad
from rankstream.ranking.serving import LiveRanker
from rankstream.web.cards import Cards
from rankstream.web.page import LivePage, PageOptions
from tests.builders.bundle import a_bundle
from tests.builders.catalogue import an_item, published
from tests.builders.gateway import RunningGateway

ITEMS = range(1, 201)  # those of the bundle
HOSTILE = "<img src=x onerror=\"document.title='broken'\"></li><script>document.title='broken'</script>"


@contextmanager
def a_live_page(
    folder: Path, titles: dict[int, str] | None = None, images: str | None = None, **settings: Any
) -> Iterator[RunningGateway]:
    """Run a page on a tiny bundle, of random weights that make the order follow, with a catalogue of its items."""
    named = {item: f"Item {item}" for item in ITEMS} | (titles or {})
    categories = {item: "Odd" if item % 2 else "Even" for item in ITEMS}
    published(folder / "items", *(an_item(item, title=named[item], category=categories[item]) for item in ITEMS))
    serving = LiveRanker.open(a_bundle(folder / "bundle"), catalogue=folder / "items")
    options = PageOptions(cards=Cards(LiveCatalogue(folder / "items"), images), candidates=100)
    page = LivePage(WorkerRoad(serving, MemoryStore()), serving, GatewaySettings(port=0, **settings), options)
    with RunningGateway(gateway=page) as running:
        yield running


class APageVisitor:
    """Does what the page does: keeps its actions, sends each, asks for feeds and for what stands beside them."""

    def __init__(self, running: RunningGateway, user_id: str, actions: list[dict[str, Any]] | None = None) -> None:
        self.running, self.user_id, self.actions = running, user_id, actions or []
        self.asked = 0
        if self.actions:
            self._send(self.actions)

    def _send(self, actions: list[dict[str, Any]]) -> None:
        answer = self.running.call("POST", "/actions", [{"user_id": self.user_id} | one for one in actions])
        assert answer.document == {"accepted": len(actions), "rejected": []}

    def act(self, item_id: int, action: str = "save", ago_ms: int = 0) -> None:
        at_ms = int(time.time() * 1000) - ago_ms + len(self.actions)  # no two have one time
        self.actions.append({"item_id": item_id, "action": action, "timestamp_ms": at_ms})
        self._send(self.actions[-1:])

    def undone(self, user_id: str) -> "APageVisitor":
        """Another visitor that did all but the last action, as the page undoes one."""
        return APageVisitor(self.running, user_id, self.actions[:-1])

    def question(self, **more: Any) -> dict[str, Any]:
        self.asked += 1
        now = {"request_id": f"r{self.asked}", "timestamp_ms": int(time.time() * 1000) + 100}
        return {"user_id": self.user_id, "limit": 100, "top_k": 20} | now | more

    def feed(self, **more: Any) -> dict[str, Any]:
        answer = self.running.call("POST", "/rank", self.question(**more))
        assert answer.status == 200, answer.document
        return answer.document  # type: ignore[no-any-return]

    def compare(self, older_than_ms: int = 30_000, **more: Any) -> dict[str, Any]:
        asked = self.question(actions=self.actions, older_than_ms=older_than_ms, **more)
        answer = self.running.call("POST", "/page/compare", asked)
        assert answer.status == 200, answer.document
        return answer.document  # type: ignore[no-any-return]

    def why(self, item_id: int, **more: Any) -> dict[str, Any]:
        answer = self.running.call("POST", "/page/why", self.question(actions=self.actions, item_id=item_id, **more))
        assert answer.status == 200, answer.document
        return answer.document  # type: ignore[no-any-return]


def order(feed: dict[str, Any]) -> list[int]:
    return [item["item_id"] for item in feed["items"]]
