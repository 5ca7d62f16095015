"""Follows what is published, also while nobody asks.

Who answers looks for new versions, too, but goes on at once, with what serves then. Were requests the only ones that
look, the first one after a quiet hour would be answered by what there was an hour ago.
"""

import asyncio
from typing import Protocol, runtime_checkable

EVERY_S = 1.0  # as often as requests look


@runtime_checkable
class FollowsTables(Protocol):
    """A serving state that follows what is published, as ``ranking.serving.LiveRanker``."""

    def keep_up(self) -> None:
        """Begin to look for what was published since; return at once."""
        ...


async def keep_up(serving: object) -> None:
    """Look for ever, where there is something to follow."""
    while isinstance(serving, FollowsTables):
        serving.keep_up()
        await asyncio.sleep(EVERY_S)
