"""Files: logs of every kind, manifests, golden cases, tables, item counts, pointers, settings."""

import gzip
import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
import numpy as np
import pyarrow as pa
import xxhash
from pyarrow import parquet

from fuzz.law import Target, same
from fuzz.targets.records import ACTIONS, DUMPED, FEEDS, ITEMS, SHOWN, lines_of
from rankstream.bundles import manifest
from rankstream.bundles.golden import read_golden, write_golden
from rankstream.bundles.signature import SignatureError, signer_of, trusted_keys
from rankstream.content.catalogue import Catalogue
from rankstream.content.item_files import ItemOptions, read_items
from rankstream.content.items import Item
from rankstream.content.user_files import UserOptions, read_users
from rankstream.events.arrivals import LogError
from rankstream.events.open import AS_IT_IS, LogOptions, open_log
from rankstream.events.readers.rows import open_rows
from rankstream.features.attributes.table import no_attributes, open_attributes, write_attributes
from rankstream.features.decoding import UNREADABLE
from rankstream.features.described import DescribedItems
from rankstream.features.embeddings.files import HEADER, BrokenTableError
from rankstream.features.embeddings.table import EmbeddingTable, publish
from rankstream.features.files import CURRENT, PointerError, current_name
from rankstream.features.ids import id_keys
from rankstream.features.item_counts.files import open_counts, publish_counts
from rankstream.features.matches.tables import no_matches, open_matches, write_matches
from rankstream.features.profiles import no_profiles, open_profiles, write_profiles
from rankstream.graph.item_graph import ItemGraph
from rankstream.graph.walks import WalkConfig, walk
from rankstream.models.items.attributes import attributes_of_new
from rankstream.models.users.profiles import user_profiles
from rankstream.ranking.deployment import DEPLOYMENT, Deployment, DeploymentError, read_deployment
from rankstream.streams.kafka_options import options_in, text_of
from rankstream.streams.setting_fields import SettingsError
from rankstream.streams.settings import read_settings
from tests.builders.actions import MORNING_MS
from tests.builders.attributes import shop_attributes
from tests.builders.bundle import a_bundle
from tests.builders.catalogue import a_catalogue, an_item, published
from tests.builders.graph import publish_boards
from tests.builders.item_counts import some_counts

CSV = f"user_id,item_id,action,timestamp_ms\nu1,a,view,{MORNING_MS}\n7,9,save,{MORNING_MS}\n".encode()
ODD_CSV = b'uid;sku;event;ts;note\n1;"a;b";view;2023-11-14 22:13:20;"x ""y"""\n2;c;buy;2023-11-15;\n'
ITEMS_CSV = b"sku;name;breadcrumb;price;currency;brand\na7;Trail X;Shoes > Running;59,90;eur;nike\n8;Cap;Hats;9;EUR;\n"
RATINGS = b"1::1193::5::978300760\n1::661::3::978302109\n"
SETTINGS = b"""\
bootstrap_servers = "k:9092"
partitions = 3
commit_interval_s = 2.5
changelog = true
[kafka]
client_rack = "a"
[train]
epochs = 3
"""
KAFKA_OPTIONS = b"client_rack=eu-1a,fetch_min_bytes=7,check_crcs=no"
PUBLIC_KEY = b"""\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
"""  # of RFC 8410, section 10.1
SHOWN_OPTIONS = LogOptions(shown="impression")
Decode = Callable[[bytes], None]


def _in_folder(decode: Callable[[Path, bytes], None]) -> Decode:
    """Hand on a new folder with each input."""

    def run(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            decode(Path(folder), data)

    return run


def _log(name: str, options: LogOptions = AS_IT_IS) -> Decode:
    """Read a log in whole, as training does, and row by row, as `rankstream produce` does."""

    def read(folder: Path, data: bytes) -> None:
        path = folder / name
        path.write_bytes(data)
        for rows in open_rows(path).rows:
            same(type(rows), dict)
        log = open_log(path, options)
        vocabulary = log.vocabulary
        for arrivals in log.batches(vocabulary):
            same({len(one) for one in arrivals.packed}, {16})
        if options.shown:
            log.impressions(vocabulary)

    return _in_folder(read)


def _parquet(metadata: dict[str, str] | None = None, **columns: Any) -> bytes:
    file = io.BytesIO()
    table = pa.table({"user_id": ["u1", "u2"], "item_id": [1, 2], "action": ["view", "save"],
                      "timestamp_ms": [MORNING_MS, MORNING_MS + 9], **columns})  # fmt: skip
    parquet.write_table(table.replace_schema_metadata(metadata), file)
    return file.getvalue()


def _manifest(folder: Path, data: bytes) -> None:
    """Read a manifest as it is, or sealed again where it can be: what lies behind the checksum is reached too."""
    try:
        if crc32(data) % 4:
            data = manifest._encode(manifest._sealed(msgspec.json.decode(data, type=manifest.Manifest)))
    except UNREADABLE:
        pass
    (folder / manifest.MANIFEST).write_bytes(data)
    found = manifest.read_manifest(folder)
    manifest.wrong_files(folder, found.files)
    same(manifest.read_manifest(folder), found)


def _signature(folder: Path, data: bytes) -> None:
    (folder / manifest.SIGNATURE).write_bytes(data)
    (folder / "key.pub").write_bytes(PUBLIC_KEY)
    signer_of(folder, b"{}", folder / "key.pub")


def _trusted_keys(folder: Path, data: bytes) -> None:
    (folder / "key.pub").write_bytes(data)
    trusted_keys(folder)


def _golden(folder: Path, data: bytes) -> None:
    (folder / manifest.GOLDEN).write_bytes(data)
    read_golden(folder / manifest.GOLDEN)


def _matches(folder: Path, data: bytes) -> None:
    """Every array of the match tables is this one."""
    write_matches(folder, no_matches())
    for path in folder.iterdir():
        path.write_bytes(data)
    open_matches(folder, in_memory=True)


def _version(root: Path, header: bytes, columns: dict[str, bytes]) -> None:
    """Write a version whose folder has the name that its header wants."""
    folder = root / f"000001-{xxhash.xxh3_64_hexdigest(header)}"
    folder.mkdir()
    (folder / HEADER).write_bytes(header)
    for name, column in columns.items():
        (folder / name).write_bytes(column)
    (root / CURRENT).write_text(folder.name)


def _table(columns: dict[str, bytes]) -> Callable[[Path, bytes], None]:
    """Open a table with this header, and one whose columns hold these bytes."""

    def read(root: Path, data: bytes) -> None:
        header, _, more = data.partition(b"\n")
        changed = {name: (more + column)[: len(column)] if more else column for name, column in columns.items()}
        _version(root, header, changed)
        table = EmbeddingTable.open(root, in_memory=True)
        vectors, found = table.look_up(np.array([1, 2, 1 << 63], np.uint64))
        same((vectors.shape, found.shape), ((3, table.dim), (3,)))
        table.verify()
        table.ids(np.arange(len(table)))

    return read


def _described(columns: dict[str, bytes]) -> Callable[[Path, bytes], None]:
    """Join what a version with this header says of new items, and one whose columns hold these bytes."""
    trained = shop_attributes()

    def read(root: Path, data: bytes) -> None:
        header, _, more = data.partition(b"\n")
        changed = {name: (more + column)[: len(column)] if more else column for name, column in columns.items()}
        _version(root, header, changed)
        found = DescribedItems.in_table(EmbeddingTable.open(root))
        same(found.features.shape[0], len(found.keys))
        known = found.known_to(trained)
        same(known.labels[:, known.rows(known.keys)].shape, known.labels[:, :-1].shape)

    return read


def _counts(columns: dict[str, bytes]) -> Callable[[Path, bytes], None]:
    def read(root: Path, data: bytes) -> None:
        _version(root, data, columns)
        counts = open_counts(root)
        counts.item_features.look_up(np.array([1, 2], np.uint64))
        counts.matches.rows(np.array([1, 2], np.uint64))

    return read


def _catalogue(columns: dict[str, bytes]) -> Callable[[Path, bytes], None]:
    def read(root: Path, data: bytes) -> None:
        _version(root, data, columns)
        catalogue = Catalogue.open(root)
        same(len(catalogue.keys), len(catalogue))
        catalogue.changed({5: Item(5)}, catalogue.as_of_ms)

    return read


def _graph(columns: dict[str, bytes]) -> Callable[[Path, bytes], None]:
    def read(root: Path, data: bytes) -> None:
        _version(root, data, columns)
        graph = ItemGraph.open(root)
        query, found = graph.rows(graph.keys[:1])
        visits = walk(graph.graph, query, np.ones(len(query)), np.random.default_rng(0), WalkConfig(steps=100))
        same((bool(found.all()), bool((visits.items < len(graph)).all())), (True, True))

    return read


def _items(name: str) -> Decode:
    def read(folder: Path, data: bytes) -> None:
        (folder / name).write_bytes(data)
        found = read_items(folder / name, ItemOptions(), MORNING_MS)
        same(len(found.catalogue.items(range(len(found.catalogue)))), len(found.catalogue))

    return _in_folder(read)


def _users(name: str) -> Decode:
    def read(folder: Path, data: bytes) -> None:
        (folder / name).write_bytes(data)
        profiles = user_profiles(read_users(folder / name, UserOptions())).profiles
        for key in profiles.keys.tolist():
            same(len(profiles.columns(key)), profiles.width)

    return _in_folder(read)


def _profiles(folder: Path, data: bytes) -> None:
    """Read profiles of which one file, the facets or an array, is this one."""
    write_profiles(folder, no_profiles())
    names = sorted(path.name for path in folder.iterdir())
    (folder / names[crc32(data) % len(names)]).write_bytes(data)
    open_profiles(folder)


def _attributes(folder: Path, data: bytes) -> None:
    """Read attributes of which one file, the names or an array, is this one."""
    write_attributes(folder, no_attributes())
    names = sorted(path.name for path in folder.iterdir())
    (folder / names[crc32(data) % len(names)]).write_bytes(data)
    open_attributes(folder)


def _deployment(folder: Path, data: bytes) -> None:
    (folder / DEPLOYMENT).write_bytes(data)
    read_deployment(folder)


def _pointer(folder: Path, data: bytes) -> None:
    (folder / CURRENT).write_bytes(data)
    same("/" in current_name(folder), False)


def _settings(folder: Path, data: bytes) -> None:
    (folder / "rankstream.toml").write_bytes(data)
    read_settings({}, {}, folder / "rankstream.toml")


def _kafka_options(data: bytes) -> None:
    found = options_in(data.decode(errors="replace"), "--kafka")
    same(options_in(text_of(found), "--kafka"), found)


def _published(write: Callable[[Path], object]) -> tuple[bytes, dict[str, bytes]]:
    """Return the header and the columns of a version."""
    with tempfile.TemporaryDirectory() as name:
        write(Path(name))
        files = {path.name: path.read_bytes() for path in (Path(name) / current_name(Path(name))).iterdir()}
    return files.pop(HEADER), files


def _of_bundle(names: Sequence[str]) -> list[bytes]:
    with tempfile.TemporaryDirectory() as name:
        folder = a_bundle(Path(name) / "bundle", num_items=9)
        return [(folder / one).read_bytes() for one in names]


def _npz() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        write_golden(Path(name, "golden.npz"), {"ranker": [{"x": np.ones((2, 3), np.float32)}]})
        return Path(name, "golden.npz").read_bytes()


def _npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.arange(3))
    return file.getvalue()


def _text_table(root: Path) -> None:
    publish(root, [1, "b", "c"], np.ones((3, 2), np.float32), space="s", as_of_ms=5)


def _described_table(root: Path) -> None:
    keys, scarf = id_keys(["scarf"]), a_catalogue(an_item("scarf", category="Hats", price=9.0))
    new = DescribedItems.of(keys, attributes_of_new(scarf, shop_attributes()), np.ones((1, 2), np.float32))
    publish(root, ["scarf"], np.ones((1, 2)), space="s", as_of_ms=5, meta=new.meta, beside=new.beside)


def targets() -> list[Target]:
    """Return the targets."""
    table_header, table_columns = _published(_text_table)
    new_header, new_columns = _published(_described_table)
    counts_header, counts_columns = _published(lambda root: publish_counts(root, some_counts(1)))
    graph_header, graph_columns = _published(
        lambda root: publish_boards(root, [("b", 1), ("b", 2), ("c", 2), ("c", 3)])
    )
    shop_header, shop_columns = _published(
        lambda root: published(root, an_item("a", category="A>B", price=9.0), an_item(7, group="g"))
    )
    lines = b"\n".join(lines_of(ACTIONS))
    dumps = [b"\n".join(lines_of(one)) for one in (DUMPED, FEEDS, SHOWN)]
    tables = [
        _parquet(),
        _parquet(value=[1.5, None], surface=["home", None]),
        _parquet({"rankstream.vocabulary": '{"actions": ["view", "save"]}'}),
    ]
    refused, broken = (LogError,), (BrokenTableError,)
    return [
        Target("text", [CSV, ODD_CSV, RATINGS], _log("log.csv"), refused),
        Target("text-packed", [gzip.compress(CSV), gzip.compress(ODD_CSV)], _log("log.csv.gz"), refused),
        Target("json-lines", [lines, *dumps], _log("log.jsonl"), refused),
        Target("shown-lists", dumps[1:], _log("log.jsonl", SHOWN_OPTIONS), refused),
        Target("parquet", tables, _log("log.parquet"), refused),
        Target("manifest", _of_bundle([manifest.MANIFEST]), _in_folder(_manifest), (manifest.ManifestError, OSError)),
        Target("signature", [b"0011223344556677 " + b"A" * 86 + b"==\n"], _in_folder(_signature), (SignatureError,)),
        Target("trusted-keys", [PUBLIC_KEY], _in_folder(_trusted_keys), (SignatureError,)),
        Target("golden", [_npz()], _in_folder(_golden), (ValueError, OSError)),
        Target("matches", [_npy()], _in_folder(_matches), (ValueError, OSError)),
        Target("table", [table_header, table_header + b"\n" + b"\x01" * 40], _in_folder(_table(table_columns)), broken),
        Target(
            "described", [new_header, new_header + b"\n" + b"\x01" * 8], _in_folder(_described(new_columns)), broken
        ),
        Target("item-counts", [counts_header], _in_folder(_counts(counts_columns)), broken),
        Target("catalogue", [shop_header], _in_folder(_catalogue(shop_columns)), broken),
        Target("graph", [graph_header], _in_folder(_graph(graph_columns)), broken),
        Target(
            "attributes", [_npy(), b'{"levels":1,"collections":[]}'], _in_folder(_attributes), (ValueError, OSError)
        ),
        Target(
            "profiles", [_npy(), b'[{"name":"sex","labels":["F","M"]}]'], _in_folder(_profiles), (ValueError, OSError)
        ),
        Target(
            "deployment",
            [msgspec.json.encode(Deployment("ab", "new", "old", "shadow", MORNING_MS))],
            _in_folder(_deployment),
            (DeploymentError,),
        ),
        Target("items-text", [ITEMS_CSV], _items("items.csv"), refused),
        Target("items-json", [b"\n".join(lines_of(ITEMS))], _items("items.jsonl"), refused),
        Target("users-text", [b"user,sex,age\n7,F,31\n8,M,\n9,M,40\n"], _users("users.csv"), refused),
        Target("users-json", [b'{"user": 7, "sex": "F"}\n{"user": "u8", "age": 31.5}'], _users("users.jsonl"), refused),
        Target("pointer", [b"one\n"], _in_folder(_pointer), (PointerError,)),
        Target("kafka-options", [KAFKA_OPTIONS], _kafka_options, (SettingsError,)),
        Target("settings", [SETTINGS], _in_folder(_settings), (SettingsError,)),
    ]
