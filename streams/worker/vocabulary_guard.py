"""Which names the codes in a state folder stand for, so that no other model's names are ever read into them.

States keep an action's type as a code of the bundle's vocabulary. A later bundle may add names behind the old ones; one
that gives a code another name would turn saves into hides without anybody noticing.
"""

from pathlib import Path

import msgspec

from rankstream.features.actions import Vocabulary
from rankstream.features.files import whole_file

FILE = "vocabulary.json"


class VocabularyRefusedError(RuntimeError):
    """The bundle's names don't fit the states on disk; the message is one sentence and says what to do."""


def keep_vocabulary(folder: Path, vocabulary: Vocabulary) -> None:
    """Compare with what the folder's states were written with, and write down the longer one.

    Raises ``VocabularyRefusedError`` if a code would change its meaning.
    """
    path = folder / FILE
    held = _read(path)
    for what, was, becomes in (
        ("actions", held.actions, vocabulary.actions),
        ("surfaces", held.surfaces, vocabulary.surfaces),
    ):
        shared = min(len(was), len(becomes))
        if was[:shared] != becomes[:shared]:
            raise VocabularyRefusedError(
                f"the users in {folder} were written with the {what} {', '.join(was)}, but the bundle has "
                f"{', '.join(becomes)}: train with the old names in their order, new ones behind them, or give an "
                "empty --state-dir and another --app-id"
            )
    actions = max(held.actions, vocabulary.actions, key=len)
    surfaces = max(held.surfaces, vocabulary.surfaces, key=len)
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as beside:
        beside.write_bytes(msgspec.json.encode(_Held(actions, surfaces)))


class _Held(msgspec.Struct, frozen=True):
    actions: tuple[str, ...] = ()
    surfaces: tuple[str, ...] = ()


def _read(path: Path) -> _Held:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Held)
    except FileNotFoundError:
        return _Held()
    except msgspec.DecodeError as exc:
        raise VocabularyRefusedError(
            f"{path} is damaged ({exc}): delete it if the bundle is the one that its users were written with"
        ) from exc
