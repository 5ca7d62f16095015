"""A recorded log in files: each with its reader, read one after the other; ``open.py`` opens one."""

import hashlib
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np

from rankstream.events.action_event import FORGET
from rankstream.events.arrivals import UNSORTED, Arrivals, LogError, concatenated, late
from rankstream.events.guess import fitting
from rankstream.events.impressions import Impressions, grouped
from rankstream.events.log_kind import WIRE_FORMAT
from rankstream.events.readers.json_lines import BATCH_ROWS, NEEDED, TOO_EARLY, Reading
from rankstream.events.readers.nested import a_row_each
from rankstream.events.readers.rows import Row, Shape
from rankstream.events.readers.text import Layout
from rankstream.events.skipped import Skipped
from rankstream.features.actions import Vocabulary
from rankstream.features.files import sha256

SAMPLE_FILES = 50  # of a log, whose first rows tell what holds for all: the unit of its times, the scale of its ratings


class LogReader(Protocol):
    """Reads one file."""

    def read(self, reading: Reading) -> Iterator[Arrivals]:
        """Yield the arrivals, in batches, and count what is skipped."""
        ...

    def names(self, shape: Shape) -> tuple[set[str], set[str]]:
        """Return the names of actions and of surfaces that occur."""
        ...

    def rows(self) -> Generator[Row, None, None]:
        """Yield the rows one by one, as they lie in the file; those of a public log as the wire has them."""
        ...


@dataclass(frozen=True)
class LogFile:
    """One file of a log."""

    layout: Layout
    reader: LogReader
    shape: Shape  # how a row becomes an action
    written: Vocabulary | None = None  # where the file, or its kind, names the actions
    times: str = ""  # the column of a public log's times, which its reader renames
    dumped: bool = False  # are its rows records of a topic? All that they say is the wire's then

    @property
    def path(self) -> Path:
        """Return its path."""
        return self.layout.path


def sampled(files: Sequence[LogFile]) -> Sequence[LogFile]:
    """Return at most ``SAMPLE_FILES`` of the files, evenly spread."""
    return files[:: max(1, -(-len(files) // SAMPLE_FILES))]


@dataclass(frozen=True)
class FileLog:
    """A recorded log in one or several files, read one after the other; see ``arrivals.RecordedLog``."""

    path: Path
    kind: str  # ``events`` or a name of ``public.PUBLIC``
    files: tuple[LogFile, ...]  # in the order that they are read
    sort: bool  # by time of arrival; holds the whole log in memory
    now_ms: int
    notes: tuple[str, ...] = ()  # what is to be said of how it is read, a line each
    max_skipped: float = 1.0  # share of rows; where more are skipped, reading ends with ``LogError``
    skipped: Skipped = field(default_factory=Skipped)
    shown: str | None = None  # the action whose rows are impressions: what was shown, no actions
    shown_in: "FileLog | None" = None  # a log of nothing but impressions, beside this one

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    @property
    def untyped(self) -> bool:
        """Whether ids come from a file of text, in which the number 7 and the text 7 look alike."""
        return any(file.layout.type == "text" for file in self.files)

    def lies_anyhow(self, vocabulary: Vocabulary) -> bool:
        """Return whether its first rows are in no order of time, and nothing says in which one they arrived.

        Rows may come late, and are replayed so. Those of a file that lies by user or by item never came in its order.
        """
        first = next(self._read(self._with_shown(vocabulary)), None)
        if first is None or np.any(first.arrived_ms != first.times_ms):
            return False
        return float(np.mean(late(first.times_ms, int(first.times_ms[0])))) >= UNSORTED

    def checksum(self) -> str:
        """Return the sha256 of the file; of several, that of their checksums, one a line, the log's own file first."""
        files = (*self.files, *(() if self.shown_in is None else self.shown_in.files))
        sums = [sha256(file.path) for file in sorted(files, key=lambda file: file.path != self.path)]
        return sums[0] if len(sums) == 1 else hashlib.sha256("".join(f"{one}\n" for one in sums).encode()).hexdigest()

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The names in the log: as its file has them, else all that occur, sorted, which takes a pass over it.

        Impressions are no action of it; their surfaces come after the actions' own.
        """
        found = self._names
        actions = tuple(name for name in found.actions if name != self.shown)
        if self.shown is not None and actions == found.actions:
            raise LogError(self._why_not_shown(found.actions))
        if not actions:
            raise LogError(f"{self.path} holds nothing but {self.shown}, which is no action; give a log of actions too")
        others = () if self.shown_in is None else self.shown_in._names.surfaces
        more = tuple(name for name in others if name not in found.surfaces)
        return Vocabulary(actions, (*found.surfaces, *more))

    @cached_property
    def _names(self) -> Vocabulary:
        if (len(self.files) == 1 or self.kind != WIRE_FORMAT) and self.files[0].written is not None:
            return self.files[0].written
        actions, surfaces = set[str](), set[str]()
        for file in self.files:
            known = file.written
            found = (known.actions, known.surfaces) if known is not None else file.reader.names(file.shape)
            actions.update(set(found[0]) - {file.shape.column("action")})  # a heading that comes again in joined files
            surfaces.update(set(found[1]) - {file.shape.column("surface")})
        actions.discard(FORGET)  # the name of erasures
        if not actions:
            raise LogError(self._why_no_names())
        try:
            return Vocabulary(tuple(sorted(actions)), tuple(sorted(surfaces)))
        except ValueError as exc:
            raise LogError(f"{self.path}: {exc}; is --map action=COLUMN the right column?") from exc

    def batches(self, vocabulary: Vocabulary, erasures: bool = False) -> Iterator[Arrivals]:
        """Read the actions from the start, by the codes of this vocabulary; ``erasures`` too where they are asked for.

        Raises ``LogError``, also for a log without any.
        """
        self.skipped.clear()
        known = self._with_shown(vocabulary)
        offset = read = 0
        for arrivals in self._sorted(known) if self.sort else self._read(known):
            read += len(arrivals)
            arrivals = arrivals if erasures else arrivals.without_erasures()
            done = arrivals if self.shown is None else _of_code(arrivals, known.action_codes[self.shown], False)
            if len(done):
                yield done.numbered(offset)
            offset += len(done)
        if not offset:
            raise LogError(self._why_nothing())
        self.check_skipped(read)

    def impressions(self, vocabulary: Vocabulary) -> Impressions | None:
        """Return what users were shown, by the codes of this vocabulary's surfaces; None if the log does not say.

        Raises ``LogError`` where it is to say it, and holds no impression.
        """
        if self.shown_in is None and self.shown is None:
            return None
        untyped = self.untyped if self.shown_in is None else self.shown_in.untyped
        return grouped(self.shown_batches(vocabulary), untyped)

    def shown_batches(self, vocabulary: Vocabulary) -> Iterator[Arrivals]:
        """Read the impressions, of the log or beside it, a row each. Raises ``LogError``, also where there is none.

        What is skipped of a log's own is counted with its actions.
        """
        if self.shown_in is not None:
            yield from self.shown_in._shown_batches(vocabulary, self.shown_in.skipped)
        else:
            yield from self._shown_batches(vocabulary, Skipped())

    def _shown_batches(self, vocabulary: Vocabulary, skipped: Skipped) -> Iterator[Arrivals]:
        skipped.clear()
        known, found = self._with_shown(vocabulary), False
        code = known.action_codes[self.shown or ""]
        for arrivals in replace(self, skipped=skipped)._read(known):
            rows = _of_code(arrivals, code, True)
            found |= bool(len(rows))
            yield rows
        if not found:
            raise LogError(self._why_no_lists(skipped))

    def _why_no_lists(self, skipped: Skipped) -> str:
        if skipped:
            return self._why_nothing()
        if not any(file.dumped for file in self.files):
            return self._why_not_shown(self._names.actions)
        left = ", ".join(f"{count:,} for being {kind}" for kind, count in skipped.most_common_ignored())
        return f"{self.path} shows nothing; it holds {f'records left out: {left}' if left else 'no records'}"

    def _with_shown(self, vocabulary: Vocabulary) -> Vocabulary:
        """Return the vocabulary with a code for impressions, where it has none."""
        if self.shown is None or self.shown in vocabulary.action_codes:
            return vocabulary
        return replace(vocabulary, actions=(*vocabulary.actions, self.shown))

    def _why_not_shown(self, actions: Collection[str]) -> str:
        return (
            f"{self.path} has no action {self.shown}, only {', '.join(actions)}; --shown names the action of the rows "
            "that say what was shown"
        )

    def check_skipped(self, kept: int) -> None:
        """Raise ``LogError`` where too many rows were skipped up to here; ``kept`` were not."""
        if self.skipped.exceeds(self.max_skipped, kept):
            raise LogError(f"{self.skipped.refusal(self.name, kept)}{self._another_column()}")

    def _read(self, vocabulary: Vocabulary) -> Iterator[Arrivals]:
        positions = self.shown is not None
        readings = (
            (file, Reading(vocabulary, file.shape, self.now_ms, self.skipped, positions=positions))
            for file in self.files
        )
        return chain.from_iterable(file.reader.read(reading) for file, reading in readings)

    def _sorted(self, vocabulary: Vocabulary) -> Iterator[Arrivals]:
        parts = list(self._read(vocabulary))
        if not parts:
            return
        whole = concatenated(parts)
        order = np.argsort(whole.arrived_ms, kind="stable")
        for at in range(0, len(whole), BATCH_ROWS):
            yield whole.taken(order[at : at + BATCH_ROWS])

    def _why_no_names(self) -> str:
        for _ in self._read(Vocabulary(("none",))):
            pass
        if any(kind.startswith("schema") and kind.endswith("action") for kind in self.skipped.rows):
            return (
                f"{self.path} holds no action with a name; give the column of the names with --map action=COLUMN, or, "
                "if all rows are of one kind, say which with --set action=view"
            )
        return self._why_nothing()

    def _why_nothing(self) -> str:
        if not self.skipped:
            return f"{self.path} holds no rows; give a log of actions"
        none = f"none of the {self.skipped.total():,} rows of {self.path} can be read; {self.skipped.reasons()}"
        return f"{none}{self._of_another_clock()}{self._another_column()}"

    def _of_another_clock(self) -> str:
        """Return what makes times of numbers that count from a log's own beginning, as in the logs of JODIE."""
        if set(self.skipped.by_kind()) != {f"timestamp: {TOO_EARLY}"}:
            return ""
        column = self.files[0].shape.column("timestamp_ms")
        return f"; if {column} counts from when the log began, add that time to each"

    def _another_column(self) -> str:
        """Return which other column may hold the ids that most rows lack: who has no account has a session."""
        most = next(iter(self.skipped.most_common()), ("", 0))[0]
        file = self.files[0]
        for name in ("user_id", "item_id"):
            if most.startswith(f"schema: no {name} "):
                taken = {file.shape.column(field) for field in NEEDED}
                if columns := fitting(file.layout.columns, [name], taken).get(name):
                    return f"; {columns[0]} may say it instead: --map {name}={columns[0]}"
                return "" if "jq -c" in most or "--map" in most else _of_a_list(file)
        return ""


def _of_a_list(file: LogFile) -> str:
    """Return how rows that hold a list of items each become a row an item; nothing where the first one holds none."""
    row = next(file.reader.rows(), {}) if file.layout.type == "json" else {}
    for name, value in row.items():
        first = value[0] if isinstance(value, list) and value else None
        if isinstance(first, dict) and ("item_id" in first or fitting(first, ["item_id"])):
            path = file.path
            each = f"{a_row_each(name)} {path.name} > {path.stem}-rows.jsonl"
            return f"; {name} holds a list of {', '.join(first)}: write a row each, as with {each}"
    return ""


def _of_code(arrivals: Arrivals, code: int, wanted: bool) -> Arrivals:
    """Return the rows of this code, or those of all others."""
    chosen = (arrivals.codes == code) == wanted
    return arrivals if chosen.all() else arrivals.taken(np.flatnonzero(chosen))
