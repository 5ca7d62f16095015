"""How a log is to be read: what the flags of every command that reads one say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rankstream.events.arrivals import LogError
from rankstream.events.log_kind import WIRE_FORMAT
from rankstream.events.public import PUBLIC
from rankstream.events.readers.dates import AUTO, DATE_ORDERS
from rankstream.events.readers.json_lines import FIELDS, LISTED_FIELDS
from rankstream.events.readers.times import TIME_UNITS


@dataclass(frozen=True)
class LogOptions:
    """How a log is to be read, where its files do not say it themselves."""

    columns: Mapping[str, str] = field(default_factory=dict)  # field (of ``FIELDS``) -> the column that holds it
    constants: Mapping[str, str] = field(default_factory=dict)  # field -> its value in all rows
    time_unit: str = AUTO  # of the columns of times; told by the first rows
    dates: str = AUTO  # whether the day or the month comes first where the year does not; told by the first rows
    max_skipped: float = 1.0  # share of rows; a log of which more are skipped is refused, at its end
    delimiter: str | None = None  # of text; told by its first lines
    heading: tuple[str, ...] | None = None  # names of the columns of text without a heading
    kind: str | None = None  # ``events`` or a name of ``public.PUBLIC``; told by the columns
    sort: bool = False  # by time of arrival, which holds the whole log in memory; else as it lies in the files
    # KuaiRand's folder holds something of the time before its impressions, at estimated times: good enough to fill a
    # user's history, not to learn from.
    history: bool = True
    shown: str | None = None  # the action whose rows are impressions, which are no actions
    impressions: Path | None = None  # a file of impressions beside the log

    @property
    def lists(self) -> bool:
        """Whether it is said what was shown."""
        return self.shown is not None or self.impressions is not None

    @property
    def all_shown(self) -> bool:
        """Whether every row is an impression."""
        return self.shown is not None and self.constants.get("action") == self.shown

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of a row."""
        return LISTED_FIELDS if self.lists else FIELDS

    def check(self) -> None:
        """Raise ``LogError`` for what is no field, no time unit, no order of dates or no delimiter."""
        for name in (*self.columns, *self.constants):
            if name in LISTED_FIELDS and name not in self.fields:
                raise LogError(f"{name} is of impressions; name those with --shown ACTION or --impressions FILE")
            if name not in self.fields:
                raise LogError(f"{name} is no field of an action; it has {', '.join(self.fields)}")
        if self.time_unit not in TIME_UNITS:
            raise LogError(f"the time unit {self.time_unit!r} is not known; it is one of {', '.join(TIME_UNITS)}")
        if self.dates not in DATE_ORDERS:
            raise LogError(f"the order of dates {self.dates!r} is not known; it is one of {', '.join(DATE_ORDERS)}")
        if self.kind not in (None, WIRE_FORMAT, *PUBLIC):
            raise LogError(f"the format {self.kind!r} is not known; it is one of {', '.join((*PUBLIC, WIRE_FORMAT))}")


AS_IT_IS = LogOptions()
