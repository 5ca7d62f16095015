"""The law: a decoder returns or raises its own error, in time, within its memory, and what it decodes round-trips."""

import resource
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

MOST_S = 5.0
MOST_MB = 256  # beyond what the process took before; a batch may unpack to 64 MB, three times for a while
ROOT = Path(__file__).parents[1]
CLEAR_PEAK, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class TooSlow(BaseException):
    """Raised by the clock; no decoder catches it."""


@dataclass(frozen=True)
class Target:
    """A decoder with what it is driven by."""

    name: str
    corpus: Sequence[bytes]  # sound inputs, which are mutated
    decode: Callable[[bytes], None]  # decodes, uses what was decoded, and compares it after a round trip
    declared: tuple[type[Exception], ...]  # what it may raise


@dataclass(frozen=True)
class Finding:
    """An input that breaks the law."""

    target: str
    what: str  # exception and message, on one line
    where: str  # innermost line of this repository, by which findings are told apart
    data: bytes


def broken_by(target: Target, data: bytes) -> Finding | None:
    """Return how an input breaks the law; None where it does not."""
    before = _peak_mb(afresh=True)
    try:
        with _within(MOST_S):
            target.decode(data)
    except target.declared:
        pass
    except TooSlow as exc:
        return Finding(target.name, f"takes more than {MOST_S:g} s", _where(exc), data)
    except Exception as exc:
        return Finding(target.name, f"{type(exc).__name__}: {str(exc)[:200]!r}", _where(exc), data)
    took = _peak_mb() - before
    return (
        Finding(target.name, f"takes {took} MB, at most {MOST_MB} are allowed", "memory", data)
        if took > MOST_MB
        else None
    )


def same(one: object, other: object) -> None:
    """Raise ``AssertionError`` where a round trip changed something."""
    if one != other:
        raise AssertionError(f"a round trip made {str(other)[:80]} of {str(one)[:80]}")


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _peak_mb(afresh: bool = False) -> int:
    """Return the most memory that the process has had; since the last time that it was asked ``afresh``."""
    try:
        if afresh:
            CLEAR_PEAK.write_text("5")
        (peak,) = [line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM")]
        return int(peak.split()[1]) >> 10
    except (OSError, ValueError):  # another system: a smaller peak hides behind a larger one there
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def _where(exc: BaseException) -> str:
    own = [frame for frame in traceback.extract_tb(exc.__traceback__) if frame.filename.startswith(str(ROOT))]
    product = [frame for frame in own if "fuzz" not in Path(frame.filename).relative_to(ROOT).parts] or own
    last = product[-1]
    return f"{Path(last.filename).relative_to(ROOT)}:{last.lineno}"
