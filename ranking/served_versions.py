"""Which versions serve: of the model, and of each table beside it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServedVersion:
    """One of them."""

    version: str | None  # None for a table: the bundle's own
    as_of_ms: int | None  # UTC: what happened until then is in it; None where it does not say
