"""Public logs as they are published: each is recognised by its columns and translated in its own file, once."""

from collections.abc import Sequence

from rankstream.events.public.batches import PublicLog
from rankstream.events.public.kuairand import KUAIRAND
from rankstream.events.public.movielens import MOVIELENS
from rankstream.events.public.music30 import MUSIC30
from rankstream.events.public.taobao import TAOBAO

PUBLIC: dict[str, PublicLog] = {"kuairand": KUAIRAND, "taobao": TAOBAO, "movielens": MOVIELENS, "30music": MUSIC30}


def public_log_with(columns: Sequence[str]) -> str | None:
    """Return the name of the public log with these columns; None if there is none."""
    return next((name for name, log in PUBLIC.items() if set(log.columns) <= set(columns)), None)
