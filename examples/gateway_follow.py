"""Follow a user's feeds as they come, whoever asked for them, by HTTP and asyncio.

    python examples/gateway_follow.py USER [ADDRESS]

The token, where the gateway wants one, is in the environment variable TOKEN.
"""

import asyncio
import os
import sys

from rankstream.gateway.async_client import AsyncGatewayClient
from rankstream.gateway.client import GatewayError

user = sys.argv[1] if len(sys.argv) > 1 else "7"
address = sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8080"


async def main() -> None:
    """Print a line a feed."""
    async with AsyncGatewayClient(address, os.environ.get("TOKEN")) as client:
        print("ready" if await client.is_ready() else "not ready", flush=True)
        async for feed in client.feeds(user):
            print(feed.request_id, feed.error or [item.item_id for item in feed.items], flush=True)


try:
    asyncio.run(main())
except GatewayError as exc:
    sys.exit(str(exc))
