"""Which names the codes in users' states stand for, so that they are never read as another model's names.

States keep an action's type as a code of the bundle's vocabulary. A later bundle may add names behind the old ones; one
that gives a code another name would silently turn saves into hides. So the names stand beside the states: in a file of
the state folder, and as a header of each position in the changelog. They are there before a state that holds their
codes, also where a bundle with more names was swapped in meanwhile.
"""

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from rankstream.features.actions import Vocabulary, VocabularyRefusedError
from rankstream.features.decoding import UNREADABLE
from rankstream.features.files import whole_file

FILE = "vocabulary.json"
FROM_THE_LOG = (
    "end all workers, move their folders away and delete the changelog to build the users again from their actions"
)
WITHOUT_A_LOG = "move it away to begin without its users, as there is no log here to build them from"

WhyNot = Callable[[str, str, str], str]  # what has other names, these, and the others: a sentence


class Names(msgspec.Struct, frozen=True):
    """Names of actions and surfaces, by their codes."""

    actions: tuple[str, ...] = ()
    surfaces: tuple[str, ...] = ()

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> "Names":
        """Return a vocabulary's."""
        return cls(vocabulary.actions, vocabulary.surfaces)

    def longer(self, other: "Names", why_not: WhyNot) -> "Names":
        """Return the longer names of two. Raises ``VocabularyRefusedError`` where a code has two meanings.

        ``why_not`` makes the sentence of what has other names, these, and the others.
        """
        for what, was, becomes in (
            ("actions", self.actions, other.actions),
            ("surfaces", self.surfaces, other.surfaces),
        ):
            shared = min(len(was), len(becomes))
            if was[:shared] != becomes[:shared]:
                raise VocabularyRefusedError(why_not(what, ", ".join(was), ", ".join(becomes)))
        return self.with_more_of(other)

    def with_more_of(self, other: "Names") -> "Names":
        """Return the longer ones, of names that differ in their number alone."""
        return Names(max(self.actions, other.actions, key=len), max(self.surfaces, other.surfaces, key=len))

    def covers(self, vocabulary: Vocabulary) -> bool:
        """Return whether these are a vocabulary's names and perhaps more behind them, so that it adds none."""
        actions, surfaces = vocabulary.actions, vocabulary.surfaces
        return (self.actions[: len(actions)], self.surfaces[: len(surfaces)]) == (actions, surfaces)

    def packed(self) -> bytes:
        """Return them as they are kept."""
        return msgspec.json.encode(self)


NO_NAMES = Names()


class KeptVocabulary:
    """The names whose codes a worker's states may hold; no state is written before they are kept.

    Safe to use from many threads: a bundle is admitted in the one that opened it, while partitions are opened.
    """

    def __init__(self, folder: Path, serving: Callable[[], Vocabulary], otherwise: str = FROM_THE_LOG) -> None:
        """Keep names in a folder; ``serving`` returns the vocabulary that actions are decoded by now.

        ``otherwise`` is how to serve a bundle that does not fit nevertheless.
        """
        self._folder, self._serving, self._otherwise = folder, serving, otherwise
        self._kept_of: Vocabulary | None = None
        self._changing = threading.Lock()
        self.names = NO_NAMES

    def keep(self) -> None:
        """Keep the names that serve now, where they are others than before. Raises ``VocabularyRefusedError``."""
        now = self._serving()
        if now is not self._kept_of:
            self.admit(now)
            self._kept_of = now

    def admit(self, vocabulary: Vocabulary) -> None:
        """Keep the names of a bundle that is about to serve. Raises ``VocabularyRefusedError`` where it must not."""
        with self._changing:
            self.names = keep_vocabulary(self._folder, vocabulary, self._otherwise)

    def knows(self, vocabulary: Vocabulary) -> bool:
        """Return whether all of a vocabulary's names are kept already. Raises ``VocabularyRefusedError`` for others."""
        return _added_by(vocabulary, self._folder, self._otherwise) is None

    def compare(self, vocabulary: Vocabulary, logged: Names, changelog: str, number: int) -> None:
        """Raise ``VocabularyRefusedError`` for one that gives codes in a changelog's states other names."""
        logged.longer(Names.of(vocabulary), self._why_not(changelog, number))

    def join(self, logged: Names, changelog: str, number: int) -> None:
        """Keep the names that a changelog's states were written with, too. Raises ``VocabularyRefusedError``."""
        self.keep()
        with self._changing:
            names = logged.longer(self.names, self._why_not(changelog, number))
            if names != self.names:
                self.names = names
                _write(self._folder / FILE, names)

    def _why_not(self, changelog: str, number: int) -> WhyNot:
        return lambda what, was, becomes: (
            f"the users of partition {number} in the changelog {changelog} were written with the {what} {was}, but "
            f"here they are {becomes}: train with the old names in their order, new ones behind them, or end all "
            f"workers, move {self._folder} away and delete the topic {changelog} to build the users again from their "
            "actions"
        )

    @property
    def packed(self) -> bytes:
        """Return the names as they stand beside a position."""
        return self.names.packed()


def names_in(raw: bytes | None) -> Names:
    """Return the names that a header of a position holds; none where an older version wrote it."""
    try:
        return NO_NAMES if raw is None else msgspec.json.decode(raw, type=Names)
    except UNREADABLE:
        return NO_NAMES


def keep_vocabulary(folder: Path, vocabulary: Vocabulary, otherwise: str = FROM_THE_LOG) -> Names:
    """Compare with the vocabulary that the folder's states were written with; store the longer one, and return it.

    Raises ``VocabularyRefusedError`` if a code would change its meaning.
    """
    added = _added_by(vocabulary, folder, otherwise)
    if added is None:
        return _read(folder / FILE)
    _write(folder / FILE, added)
    return added


def check_vocabulary(folder: Path, vocabulary: Vocabulary) -> None:
    """Raise ``VocabularyRefusedError`` for one that does not fit the folder's states; keep nothing."""
    _added_by(vocabulary, folder, FROM_THE_LOG)


def _added_by(vocabulary: Vocabulary, folder: Path, otherwise: str) -> Names | None:
    """Return the names that are to be kept; None where they are already. Raises ``VocabularyRefusedError``."""
    kept = _read(folder / FILE)
    if kept.covers(vocabulary):
        return None

    def why_not(what: str, was: str, becomes: str) -> str:
        return (
            f"the users in {folder} were written with the {what} {was}, but the bundle has {becomes}: train with the "
            f"old names in their order, new ones behind them, or {otherwise}"
        )

    return kept.longer(Names.of(vocabulary), why_not)


def _write(path: Path, names: Names) -> None:
    """Write names. Raises ``VocabularyRefusedError`` where they can't be: states with their codes must not be, then."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as beside:
            beside.write_bytes(names.packed())
    except OSError as exc:
        raise VocabularyRefusedError(
            f"the names of the bundle can't be written to {path} ({exc.strerror}): set that right first, as users' "
            "states hold codes of them"
        ) from exc


def _read(path: Path) -> Names:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Names)
    except FileNotFoundError:
        return NO_NAMES
    except OSError as exc:
        raise VocabularyRefusedError(f"{path} can't be read ({exc.strerror}): set that right and start again") from exc
    except UNREADABLE as exc:
        raise VocabularyRefusedError(
            f"{path} is damaged ({exc}): delete it if the bundle is the one that its users were written with"
        ) from exc
