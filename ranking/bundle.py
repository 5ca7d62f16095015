"""A model bundle as serving trusts it: every checksum and every golden output holds, or it is refused.

A worker is given a path: a bundle's folder, or a folder of bundles whose file ``CURRENT`` names one of them
(``use_bundle`` writes it, once the bundle is there whole). Refusals are one sentence that names the file and the
remedy.

Where the worker is told whom to trust, the manifest must be signed too (``bundles/signature.py``), before a byte of it
is parsed. Its tables are read into memory: files that are copied over while they serve must not reach what serves.

A bundle is a list of parts, and each is opened by its kind (``OPENERS``). A part of a kind that this version does not
know is refused, as the ranker was trained on what it makes; but one that the exporter declared optional is left alone,
as no request needs it: user encoders, which a batch job runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rankstream.bundles.attributes import ATTRIBUTES, COLUMNS
from rankstream.bundles.golden import Golden, read_golden
from rankstream.bundles.graphs import CPU, time_limit
from rankstream.bundles.item_tables import ITEM_FEATURES, ITEMS
from rankstream.bundles.manifest import GOLDEN, MANIFEST, Manifest, ManifestError, manifest_of, wrong_files
from rankstream.bundles.matches import MATCHES
from rankstream.bundles.parts import Part
from rankstream.bundles.profiles import PROFILES
from rankstream.bundles.ranker import RANKER
from rankstream.bundles.sessions import SESSIONS
from rankstream.bundles.signature import SignatureError, signer_of
from rankstream.features.attributes.columns import attribute_width
from rankstream.features.attributes.table import ItemAttributes, no_attributes, open_attributes
from rankstream.features.embeddings.base import NoVectors, VectorTable
from rankstream.features.embeddings.table import EmbeddingTable
from rankstream.features.files import CURRENT, PointerError, current_name, is_pointer, make_current
from rankstream.features.item_counts.counts import ItemCounts
from rankstream.features.join import OfflineFeatures
from rankstream.features.matches.columns import match_width
from rankstream.features.matches.tables import MatchTables, no_matches, open_matches
from rankstream.features.profiles import UserProfiles, no_profiles, open_profiles
from rankstream.features.sessions import NoSessions, SessionEncoder
from rankstream.ranking.backends.base import Backend, OpenedPart, Opener, worst_difference
from rankstream.ranking.backends.fastest import open_fastest
from rankstream.ranking.backends.onnx_sessions import open_sessions
from rankstream.ranking.backends.scorers import AUTO, ONNXRUNTIME, ScorerRefusedError, open_scorer

EXPORT_AGAIN = "export the bundle again"
IN_RUN = "bundle"  # of the folder that a training writes
NEEDED = (ITEMS, RANKER)  # kinds without which there is no feed


class BundleRefusedError(ValueError):
    """A bundle that must not serve; one sentence, which names the file and the remedy."""


@dataclass(frozen=True)
class Bundle:
    """A model and its tables, verified."""

    folder: Path
    manifest: Manifest
    parts: Mapping[str, OpenedPart]  # by kind
    items: EmbeddingTable
    item_features: VectorTable
    matches: MatchTables
    backend: Backend
    sessions: SessionEncoder
    attributes: ItemAttributes = field(default_factory=no_attributes)
    profiles: UserProfiles = field(default_factory=no_profiles)
    scorer: str = ONNXRUNTIME  # what ``backend`` runs the graphs with

    def offline_features(
        self, users: VectorTable, counts: ItemCounts | None = None, items: VectorTable | None = None
    ) -> OfflineFeatures:
        """Return the offline side of the join, with what is refreshed apart: user vectors, item counts, item vectors.

        None are the bundle's own. Recurrent states are folded with the bundle's in any case: they are kept, and must
        not depend on a version.
        """
        features, matches = (self.item_features, self.matches)
        if counts is not None:
            features, matches = counts.item_features, counts.matches
        sizes, vectors = self.manifest.sizes, self.items if items is None else items
        return OfflineFeatures(
            sizes,
            vectors,
            features,
            users,
            self.sessions,
            matches,
            self.attributes,
            folded_items=self.items,
            profiles=self.profiles,
        )


def bundle_folder(path: Path) -> Path:
    """Return the bundle's folder: ``path`` itself, or the one that its CURRENT names."""
    try:
        return path / current_name(path)
    except PointerError as exc:
        raise BundleRefusedError(f"{exc}; write the name of a bundle there") from exc
    except (FileNotFoundError, NotADirectoryError):
        return path
    except OSError as exc:
        raise _unreadable(path / CURRENT, exc) from exc


def use_bundle(path: Path, name: str) -> None:
    """Make the bundle ``path/name`` the one to serve; workers swap between two requests.

    Raises ``BundleRefusedError`` for a name that no worker would follow.
    """
    check_bundle_name(path, name)
    make_current(path, name)


def check_bundle_name(path: Path, name: str) -> None:
    """Raise ``BundleRefusedError`` for a name that no worker would follow."""
    if not is_pointer(name):
        raise BundleRefusedError(
            f"{name!r} is no name of a folder in {path}, and workers follow no other: give the folder's name alone"
        )
    if not (path / name / MANIFEST).is_file():
        raise BundleRefusedError(f"{path / name} has no {MANIFEST}, so it is no bundle; export one there")


def open_items(folder: Path, part: Part, manifest: Manifest, providers: Sequence[str]) -> OpenedPart:
    """Open the item vectors, of the space that the ranker was trained on."""
    table, wanted = EmbeddingTable.open(folder / part.kind, in_memory=True), manifest.sizes.item_dim
    if (table.space, table.dim) != (manifest.item_space, wanted):
        raise ValueError(
            f"{folder / part.kind} is of the space {table.space!r} and {table.dim} wide, the model wants "
            f"{manifest.item_space!r} and {wanted}"
        )
    return OpenedPart(table, runs={})


def open_item_features(folder: Path, part: Part, manifest: Manifest, providers: Sequence[str]) -> OpenedPart:
    """Open the items' dense features."""
    table, wanted = EmbeddingTable.open(folder / part.kind, in_memory=True), manifest.sizes.item_features
    if table.dim != wanted:
        raise ValueError(f"{folder / part.kind} is {table.dim} wide, the model wants {wanted}")
    return OpenedPart(table, runs={})


def open_match_tables(folder: Path, part: Part, manifest: Manifest, providers: Sequence[str]) -> OpenedPart:
    """Open the tables of items that go together, for as many match features as this version computes."""
    described = sum(one.facts.get(COLUMNS, 0) for one in manifest.parts if one.kind == ATTRIBUTES)
    wanted, given = match_width(len(manifest.vocabulary.actions)) + described, manifest.sizes.match_features
    if given != wanted:
        raise ValueError(f"the model was trained with {given} match features, this version computes {wanted}")
    return OpenedPart(open_matches(folder / part.kind, in_memory=True), runs={})


def open_item_attributes(folder: Path, part: Part, manifest: Manifest, providers: Sequence[str]) -> OpenedPart:
    """Open what items are, for as many columns as this version makes of it."""
    attributes = open_attributes(folder / part.kind)
    wanted, given = attribute_width(attributes.names), part.facts.get(COLUMNS)
    if given != wanted:
        raise ValueError(f"the model was trained with {given} columns of attributes, this version computes {wanted}")
    return OpenedPart(attributes, runs={})


def open_user_profiles(folder: Path, part: Part, manifest: Manifest, providers: Sequence[str]) -> OpenedPart:
    """Open what users are, for as many columns of the context as the model was trained with."""
    profiles, wanted = open_profiles(folder / part.kind), manifest.sizes.profile_columns
    if profiles.width != wanted:
        raise ValueError(
            f"the model was trained with {wanted} columns of profiles, {folder / part.kind} has {profiles.width}"
        )
    return OpenedPart(profiles, runs={})


def ranker_opener(scorer: str) -> Opener:
    """Return what opens the ranker with the scorer of this name (``backends/scorers.py``)."""

    def open_ranker(folder: Path, part: Part, manifest: Manifest, providers: Sequence[str]) -> OpenedPart:
        if scorer == AUTO:
            return open_fastest(folder, manifest, providers)
        return open_scorer(scorer, folder, manifest, providers)

    return open_ranker


OPENERS: Mapping[str, Opener] = {
    ITEMS: open_items,
    ITEM_FEATURES: open_item_features,
    MATCHES: open_match_tables,
    ATTRIBUTES: open_item_attributes,
    PROFILES: open_user_profiles,
    RANKER: ranker_opener(ONNXRUNTIME),
    SESSIONS: open_sessions,
}


def open_bundle(
    path: Path,
    providers: Sequence[str] = CPU,
    openers: Mapping[str, Opener] = OPENERS,
    trusted_keys: Path | None = None,
    scorer: str = ONNXRUNTIME,
) -> Bundle:
    """Open and verify a bundle. Raises ``BundleRefusedError`` if anything in it is not what was exported.

    With ``trusted_keys``, public keys as ``bundles.signature`` reads them, one of these must have signed it. The ranker
    is run by ``scorer``, and held to the golden cases within its bound; by ONNX Runtime first in any case, as that
    alone is bounded in time and memory.
    """
    folder = bundle_folder(path)
    manifest = _trusted_manifest(folder, openers, trusted_keys)
    parts = {
        part.kind: _opened(folder, part, manifest, providers, openers[part.kind])
        for part in manifest.parts
        if part.kind in openers
    }
    _verify(folder / GOLDEN, parts)
    sizes = manifest.sizes
    bundle = Bundle(
        folder,
        manifest,
        parts,
        items=parts[ITEMS].serves,
        item_features=parts[ITEM_FEATURES].serves if ITEM_FEATURES in parts else NoVectors(sizes.item_features),
        matches=parts[MATCHES].serves if MATCHES in parts else no_matches(),
        backend=parts[RANKER].serves,
        sessions=parts[SESSIONS].serves if SESSIONS in parts else NoSessions(sizes.session_dim),
        attributes=parts[ATTRIBUTES].serves if ATTRIBUTES in parts else no_attributes(),
        profiles=parts[PROFILES].serves if PROFILES in parts else no_profiles(),
        scorer=parts[RANKER].scorer or ONNXRUNTIME,
    )
    return bundle if scorer == ONNXRUNTIME else with_scorer(bundle, scorer)


def with_scorer(bundle: Bundle, scorer: str) -> Bundle:
    """Return a bundle whose ranker is run by another scorer. Raises ``BundleRefusedError``."""
    if scorer == bundle.scorer:
        return bundle
    folder, manifest = bundle.folder, bundle.manifest
    described = next(part for part in manifest.parts if part.kind == RANKER)
    part = _opened(folder, described, manifest, CPU, ranker_opener(scorer))
    _verify(folder / GOLDEN, {RANKER: part})
    parts = {**bundle.parts, RANKER: part}
    return replace(bundle, parts=parts, backend=part.serves, scorer=part.scorer or ONNXRUNTIME)


def _trusted_manifest(folder: Path, openers: Mapping[str, Opener], trusted_keys: Path | None) -> Manifest:
    path = folder / MANIFEST
    try:
        data = path.read_bytes()  # once: what is parsed below is what was signed
        if trusted_keys is not None:
            signer_of(folder, data, trusted_keys)
        manifest = manifest_of(data)
        wrong = wrong_files(folder, manifest.files)
    except (FileNotFoundError, NotADirectoryError) as exc:
        below = folder / IN_RUN
        remedy = f"the bundle is {below}" if (below / MANIFEST).exists() else "export a bundle there"
        raise BundleRefusedError(f"{exc.filename or path} can't be read ({exc.strerror}); {remedy}") from exc
    except OSError as exc:
        raise _unreadable(path, exc) from exc
    except SignatureError as exc:
        raise BundleRefusedError(str(exc)) from exc
    except ManifestError as exc:
        raise BundleRefusedError(f"{path} is refused: {exc}; {EXPORT_AGAIN}") from exc
    _check_parts(path, manifest, openers)
    if wrong:
        raise BundleRefusedError(f"{folder}/{wrong[0]}; copy the bundle again, or {EXPORT_AGAIN}")
    return manifest


def _unreadable(path: Path, exc: OSError) -> BundleRefusedError:
    """Return what is wrong with a file that is there."""
    told = "give the user that runs this the right to read it" if isinstance(exc, PermissionError) else "set that right"
    return BundleRefusedError(f"{exc.filename or path} can't be read ({exc.strerror}); {told}")


def _check_parts(path: Path, manifest: Manifest, openers: Mapping[str, Opener]) -> None:
    """Refuse a manifest that lacks what serving needs, or holds what it can't open."""
    kinds = {part.kind for part in manifest.parts}
    sizes = manifest.sizes
    made_by = {ITEM_FEATURES: sizes.item_features, MATCHES: sizes.match_features, PROFILES: sizes.profile_columns}
    needed = [*NEEDED, *(kind for kind, width in made_by.items() if width)]
    for kind in needed:
        if kind not in kinds:
            raise BundleRefusedError(f"{path} lists no part {kind!r}, which serving needs; {EXPORT_AGAIN}")
    for part in manifest.parts:
        if part.kind not in openers and not part.optional:
            raise BundleRefusedError(
                f"{path} lists a part {part.kind!r}, which this version of rankstream can't open; serve the bundle "
                "with the version that exported it, or export one without that part"
            )
    for name in [GOLDEN, *(name for part in manifest.parts for name in part.files)]:
        if name not in manifest.files:
            raise BundleRefusedError(f"{path} does not name {name}, which serving needs; {EXPORT_AGAIN}")


def _opened(folder: Path, part: Part, manifest: Manifest, providers: Sequence[str], opener: Opener) -> OpenedPart:
    try:
        return opener(folder, part, manifest, providers)
    except ScorerRefusedError as exc:
        raise BundleRefusedError(f"the {part.kind} of {folder} can't be opened: {exc}") from exc
    except Exception as exc:  # ONNX Runtime's errors have no common type
        raise BundleRefusedError(f"the {part.kind} of {folder} can't be opened ({exc}); {EXPORT_AGAIN}") from exc


def _verify(path: Path, parts: Mapping[str, OpenedPart]) -> None:
    """Run every golden case and compare."""
    try:
        golden = read_golden(path)
    except (ValueError, OSError) as exc:
        raise BundleRefusedError(f"{path} can't be read ({exc}); {EXPORT_AGAIN}") from exc
    for kind, part in parts.items():
        if missing := [case for case in part.runs if not golden.get(case)]:
            raise BundleRefusedError(f"{path} has no cases {missing[0]!r} of the {kind}; {EXPORT_AGAIN}")
    with time_limit():
        for part in parts.values():
            _verify_part(path, part, golden)


def _verify_part(path: Path, part: OpenedPart, golden: Golden) -> None:
    """Run the golden cases of a part and compare. Raises ``BundleRefusedError``."""
    try:
        worst = worst_difference(part, golden)
    except Exception as exc:  # of a wrong shape, or from within ONNX Runtime
        raise BundleRefusedError(f"{path} can't be run through the graphs ({exc}); {EXPORT_AGAIN}") from exc
    if not worst <= part.tolerance:
        scorer, remedy = "", EXPORT_AGAIN
        if part.scorer not in (None, ONNXRUNTIME):
            scorer, remedy = f" with the scorer {part.scorer}", f"set scorer = {ONNXRUNTIME}, or {EXPORT_AGAIN}"
        raise BundleRefusedError(
            f"{path}: the graphs' outputs{scorer} are up to {worst:.2g} off the golden ones, wanted {part.tolerance}; "
            f"{remedy}"
        )
