"""Send three actions and ask for a feed by HTTP; no Kafka here, `rankstream gateway` has it.

    python examples/gateway_client.py [ADDRESS]

The token, where the gateway wants one, is in the environment variable TOKEN.
"""

import os
import sys
import time

from rankstream.events.action_event import ActionEvent
from rankstream.gateway.client import GatewayClient, GatewayError
from rankstream.gateway.intake import AskedRequest

address = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080"
now_ms = int(time.time() * 1000)
actions = [ActionEvent(7, 10, "view", now_ms - 60_000), ActionEvent(7, 11, "click", now_ms - 30_000)]
actions.append(ActionEvent(7, 11, "save", now_ms))
with GatewayClient(address, os.environ.get("TOKEN")) as client:
    try:
        print(f"sent {client.send_actions(actions).accepted} actions of user 7")
        asked_at = time.perf_counter()
        feed = client.rank(AskedRequest(user_id=7, candidates=(10, 11, 12, 13), top_k=3))
    except GatewayError as exc:
        sys.exit(str(exc))
    print(f"answered after {1000 * (time.perf_counter() - asked_at):.1f} ms; {feed.actions_used} actions used")
    for rank, item in enumerate(feed.items, start=1):
        print(rank, item.item_id, item.score)
