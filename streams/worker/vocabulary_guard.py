"""Which names the codes in a state folder stand for, so that they are never read as another model's names.

States keep an action's type as a code of the bundle's vocabulary. A later bundle may add names behind the old ones; one
that gives a code another name would silently turn saves into hides.
"""

from pathlib import Path

import msgspec

from rankstream.features.actions import Vocabulary
from rankstream.features.decoding import UNREADABLE
from rankstream.features.files import whole_file

FILE = "vocabulary.json"


class VocabularyRefusedError(RuntimeError):
    """The bundle's names don't fit the states on disk; the message is one sentence and says what to do."""


def keep_vocabulary(folder: Path, vocabulary: Vocabulary) -> None:
    """Compare with the vocabulary that the folder's states were written with, and store the longer one.

    Raises ``VocabularyRefusedError`` if a code would change its meaning.
    """
    path = folder / FILE
    stored = _read(path)
    for what, was, becomes in (
        ("actions", stored.actions, vocabulary.actions),
        ("surfaces", stored.surfaces, vocabulary.surfaces),
    ):
        shared = min(len(was), len(becomes))
        if was[:shared] != becomes[:shared]:
            raise VocabularyRefusedError(
                f"the users in {folder} were written with the {what} {', '.join(was)}, but the bundle has "
                f"{', '.join(becomes)}: train with the old names in their order, new ones behind them, or give an "
                "empty --state-dir and another --app-id"
            )
    actions = max(stored.actions, vocabulary.actions, key=len)
    surfaces = max(stored.surfaces, vocabulary.surfaces, key=len)
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as beside:
        beside.write_bytes(msgspec.json.encode(_StoredVocabulary(actions, surfaces)))


class _StoredVocabulary(msgspec.Struct, frozen=True):
    actions: tuple[str, ...] = ()
    surfaces: tuple[str, ...] = ()


def _read(path: Path) -> _StoredVocabulary:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_StoredVocabulary)
    except FileNotFoundError:
        return _StoredVocabulary()
    except UNREADABLE as exc:
        raise VocabularyRefusedError(
            f"{path} is damaged ({exc}): delete it if the bundle is the one that its users were written with"
        ) from exc
