"""Files of vectors, an item a row: JSON lines, Parquet or .npz, told by the file's ending."""

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import numpy as np

from rankstream.cli.errors import Refusal
from rankstream.features.decoding import UNREADABLE
from rankstream.features.files import read_arrays
from rankstream.features.ids import Id
from rankstream.features.schema import Floats

ID, VECTOR = "item_id", "vector"
Read = tuple[list[Id], Floats]


class Row(msgspec.Struct):
    """A line of JSON."""

    item_id: Id
    vector: list[float]


def read_vectors(path: Path) -> Read:
    """Return ids, and vectors ``(n, d)``. Raises ``Refusal``."""
    reader = READERS.get(path.suffix)
    if reader is None:
        raise Refusal(f"{path} ends in {path.suffix or 'nothing'}; wanted one of {', '.join(READERS)}")
    if not path.is_file():
        raise Refusal(f"there is no file {path}; wanted one with {ID} and {VECTOR} of each item")
    ids, vectors = reader(path)
    if not ids:
        raise Refusal(f"{path} holds no item; wanted {ID} and {VECTOR} of at least one")
    widths = sorted({len(vector) for vector in vectors})
    if len(widths) > 1:
        raise Refusal(f"{path} holds vectors of several widths ({', '.join(map(str, widths))}); wanted one width")
    return ids, np.asarray(vectors, np.float32)


def _json_lines(path: Path) -> tuple[list[Id], list[list[float]]]:
    ids: list[Id] = []
    vectors: list[list[float]] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = msgspec.json.decode(line, type=Row)
            except UNREADABLE as exc:
                raise Refusal(
                    f'line {number} of {path} can\'t be read ({exc}); wanted {{"{ID}": "a7", "{VECTOR}": [0.1, ...]}}'
                ) from exc
            ids.append(row.item_id)
            vectors.append(row.vector)
    return ids, vectors


def _npz(path: Path) -> tuple[list[Id], list[list[float]]]:
    try:
        arrays = read_arrays(path)
        return arrays[ID].tolist(), arrays[VECTOR].astype(np.float32).tolist()
    except (ValueError, KeyError, TypeError) as exc:
        raise Refusal(f"{path} can't be read ({exc}); wanted the arrays {ID} (n,) and {VECTOR} (n, d)") from exc


def _parquet(path: Path) -> tuple[list[Id], list[list[float]]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as exc:
        raise Refusal('Parquet needs pyarrow: pip install "rankstream[train]"') from exc
    try:
        table = pq.read_table(path, columns=[ID, VECTOR])
        return table[ID].to_pylist(), table[VECTOR].to_pylist()
    except (pa.ArrowException, OSError) as exc:
        raise Refusal(f"{path} can't be read ({exc}); wanted the columns {ID} and {VECTOR}, a list a row") from exc


READERS: Mapping[str, Callable[[Path], tuple[list[Id], list[list[float]]]]] = {
    ".jsonl": _json_lines,
    ".parquet": _parquet,
    ".npz": _npz,
}
