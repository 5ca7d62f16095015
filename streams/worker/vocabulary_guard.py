"""Which names the codes in users' states stand for, so that they are never read as another model's names.

States keep an action's type as a code of the bundle's vocabulary. A later bundle may add names behind the old ones; one
that gives a code another name would silently turn saves into hides. So the names stand beside the states: in a file of
the state folder, and as a header of each position in the changelog. They are there before a state that holds their
codes, also where a bundle with more names was swapped in meanwhile.
"""

from collections.abc import Callable
from pathlib import Path

import msgspec

from rankstream.features.actions import Vocabulary
from rankstream.features.decoding import UNREADABLE
from rankstream.features.files import whole_file

FILE = "vocabulary.json"


class VocabularyRefusedError(RuntimeError):
    """The bundle's names don't fit the states that there are; the message is one sentence and says what to do."""


class Names(msgspec.Struct, frozen=True):
    """Names of actions and surfaces, by their codes."""

    actions: tuple[str, ...] = ()
    surfaces: tuple[str, ...] = ()

    def longer(self, other: "Names", why_not: Callable[[str, str, str], str]) -> "Names":
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

    def packed(self) -> bytes:
        """Return them as they are kept."""
        return msgspec.json.encode(self)


NO_NAMES = Names()


class KeptVocabulary:
    """The names whose codes a worker's states may hold; no state is written before they are kept."""

    def __init__(self, folder: Path, serving: Callable[[], Vocabulary]) -> None:
        """Keep names in a folder; ``serving`` returns the vocabulary that actions are decoded by now."""
        self._folder, self._serving = folder, serving
        self._kept_of: Vocabulary | None = None
        self.names = NO_NAMES

    def keep(self) -> None:
        """Keep the names that serve now, where they are others than before. Raises ``VocabularyRefusedError``."""
        now = self._serving()
        if now is not self._kept_of:
            self.names, self._kept_of = keep_vocabulary(self._folder, now), now

    def join(self, logged: Names, changelog: str, number: int) -> None:
        """Keep the names that a changelog's states were written with, too. Raises ``VocabularyRefusedError``."""
        self.keep()

        def why_not(what: str, was: str, becomes: str) -> str:
            return (
                f"the users of partition {number} in the changelog {changelog} were written with the {what} {was}, but "
                f"here they are {becomes}: train with the old names in their order, new ones behind them, or end all "
                f"workers, move {self._folder} away and delete the topic {changelog} to build the users again from "
                "their actions"
            )

        names = logged.longer(self.names, why_not)
        if names != self.names:
            self.names = names
            _write(self._folder / FILE, names)

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


def keep_vocabulary(folder: Path, vocabulary: Vocabulary) -> Names:
    """Compare with the vocabulary that the folder's states were written with; store the longer one, and return it.

    Raises ``VocabularyRefusedError`` if a code would change its meaning.
    """

    def why_not(what: str, was: str, becomes: str) -> str:
        return (
            f"the users in {folder} were written with the {what} {was}, but the bundle has {becomes}: train with the "
            "old names in their order, new ones behind them, or end all workers, move their folders away and delete "
            "the changelog to build the users again from their actions"
        )

    path = folder / FILE
    names = _read(path).longer(Names(vocabulary.actions, vocabulary.surfaces), why_not)
    folder.mkdir(parents=True, exist_ok=True)
    _write(path, names)
    return names


def _write(path: Path, names: Names) -> None:
    with whole_file(path) as beside:
        beside.write_bytes(names.packed())


def _read(path: Path) -> Names:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Names)
    except FileNotFoundError:
        return NO_NAMES
    except UNREADABLE as exc:
        raise VocabularyRefusedError(
            f"{path} is damaged ({exc}): delete it if the bundle is the one that its users were written with"
        ) from exc
