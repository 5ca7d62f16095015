"""Which code applies actions and joins requests: plain Python, the reference, or the same compiled to machine code.

Both keep the same users and give rankers the same inputs, to the byte, and everything above and below them is one:
checkpoints, stores, scoring. The compiled one (``compiled/``, ``features/compiled/``) needs numba, which is imported
here and nowhere else, and only if it is chosen.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from rankstream.events.action_event import Record
from rankstream.features.join import Join, join
from rankstream.features.stores.cache import UserCache
from rankstream.streams import settings
from rankstream.streams.columns import RecordColumns
from rankstream.streams.pipeline import Pipeline

INDEX = "*.nbi"  # numba's, of what it compiled of one function
INSTALL = "pip install 'rankstream[fast]'"

log = logging.getLogger(__name__)


class EngineRefusedError(RuntimeError):
    """The engine can't be used; the message is one sentence and says what to do."""


# of records of a changelog: the offset and the newest state of each user, and the records that are no sound states
SoundStates = Callable[[RecordColumns], tuple[dict[bytes, int], dict[bytes, bytes], Sequence[Record]]]


@dataclass(frozen=True)
class Engine:
    """How the users of a partition are kept, actions applied to them, and requests joined with them."""

    name: str
    users: Callable[..., UserCache]  # of a store, with so many actions a user
    pipeline: type[Pipeline]
    join: Join = join
    reads_columns: bool = False  # whether fetched batches are best handed on as they lie
    sound_states: SoundStates | None = None  # of a changelog that is read so


PLAIN = Engine(settings.PLAIN, UserCache, Pipeline)


def open_engine(name: str) -> Engine:
    """Return the engine of this name, ready to use; ``auto`` is the compiled one where numba can be imported.

    Compiling takes twenty seconds, once: the machine code is kept (``features/compiled/code_cache.py``). Raises
    ``EngineRefusedError``.
    """
    if name == settings.PLAIN or (name == settings.AUTO and find_spec("numba") is None):
        return PLAIN
    try:
        from rankstream.features.compiled.jit import CACHE as JOINS
        from rankstream.streams.compiled.jit import CACHE as ACTIONS

        # these compile, or load what was compiled: before the first record
        with ACTIONS.one_at_a_time(), JOINS.one_at_a_time():
            for cache in (ACTIONS, JOINS):
                if cache.folder is not None and not any(cache.folder.rglob(INDEX)):
                    log.warning("compiling %s, once a version and machine: this start takes longer", cache.room)
            from rankstream.features.compiled.join import compiled_join
            from rankstream.streams.compiled.logged_states import sound_states
            from rankstream.streams.compiled.pipeline import CompiledPipeline
            from rankstream.streams.compiled.users import ArenaUsers
    except ImportError as exc:  # not installed, or not with this numpy
        if name != settings.AUTO:
            raise EngineRefusedError(
                f"engine is compiled, but numba can't be imported ({exc}): {INSTALL}, or set engine = plain"
            ) from exc
        log.warning("numba is installed but can't be imported (%s), so actions are applied by plain Python", exc)
        return PLAIN
    kernels = ArenaUsers, CompiledPipeline, compiled_join
    return Engine(settings.COMPILED, *kernels, reads_columns=True, sound_states=sound_states)
