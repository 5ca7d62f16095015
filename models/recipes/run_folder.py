"""What a training leaves in its folder: written, read again, and locked against another training.

::

    work/
        run.json            what was trained on what: the folder refuses another training
        items.npz           item ids, vectors, dense features
        matches/            which items go together
        attributes/         what items are, where a catalogue was given
        profiles/           what users are, where a file of them was given
        pinnerformer.pt  hiertcn.pt  ranker.pt
        trained.json        written last: vocabulary, utility, end of training, metrics
        checkpoints/        of each model, with TensorBoard's events
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from xxhash import xxh3_64_hexdigest

from rankstream.bundles.item_counts import CountsRecipe
from rankstream.events.ids import plain_ids
from rankstream.events.log import EventLog
from rankstream.features.actions import Vocabulary
from rankstream.features.attributes.table import (
    ItemAttributes,
    attributes_tag,
    no_attributes,
    open_attributes,
    write_attributes,
)
from rankstream.features.embeddings.memory import ItemTable
from rankstream.features.files import read_arrays, whole_file
from rankstream.features.join import DAY_MS
from rankstream.features.matches.tables import MatchTables, no_matches, open_matches, write_matches
from rankstream.features.profiles import UserProfiles, no_profiles, open_profiles, profiles_tag, write_profiles
from rankstream.features.schema import Floats
from rankstream.models.ranker.hybrid import HybridRanker, RankerConfig
from rankstream.models.sessions.hiertcn import HierTCN, HierTCNConfig
from rankstream.models.training.checkpoints import WeightsRefusedError, fingerprint_of, load_weights, save_weights
from rankstream.models.training.old_names import current_fields
from rankstream.models.users.pinnerformer import PinnerFormer, PinnerFormerConfig

PINNERFORMER_WEIGHTS = "pinnerformer.pt"
HIERTCN_WEIGHTS = "hiertcn.pt"
RANKER_WEIGHTS = "ranker.pt"
ITEMS_FILE = "items.npz"
MATCHES = "matches"
ATTRIBUTES = "attributes"
PROFILES = "profiles"
ABOUT = "trained.json"
RUN = "run.json"
FORMAT = 1


class OtherRunError(ValueError):
    """A folder holds another training; the message names what differs."""


@dataclass(frozen=True)
class RunMetadata:
    """What is known of a training besides its weights."""

    vocabulary: Vocabulary
    heads: Mapping[str, tuple[str, ...]]  # what is predicted -> the actions any of which makes it true
    utility: Mapping[str, float]  # weight of each head in the score
    positives: tuple[str, ...]
    negatives: tuple[str, ...]
    exclude_seen: bool  # are items that a user acted on before left out, when measuring?
    until_ms: int  # nothing from then on was seen in training
    actions: int  # trained on
    feature_names: tuple[str, ...]
    metrics: Mapping[str, Any]  # of each model while it was trained, on what it held out
    impressions: bool = False  # were the ranker's requests logged impressions? Else actions among sampled negatives
    calibrated: tuple[str, ...] | None = None  # heads whose numbers are probabilities; None: it was not asked
    matched: tuple[str, ...] | None = None  # actions that make items of a session go together; None: not kept
    rates: Mapping[str, Sequence[str]] = field(default_factory=dict)  # of what was shown; the actions that count
    lists: bool = False  # did the log say what was shown, list by list?
    counted_every_ms: int = DAY_MS  # see ``CountsRecipe``
    newcomers: bool = False  # likewise


@dataclass(frozen=True)
class TrainedModels:
    """All that serving needs, in torch; models in eval mode on the CPU."""

    about: RunMetadata
    item_table: ItemTable
    features: Floats  # (items, F)
    matches: MatchTables
    pinnerformer: PinnerFormer
    hiertcn: HierTCN
    ranker: HybridRanker
    attributes: ItemAttributes = field(default_factory=no_attributes)
    profiles: UserProfiles = field(default_factory=no_profiles)

    @property
    def item_space(self) -> str:
        """Name the items' vector space."""
        return f"items-{fingerprint_of(self.item_table.vectors)}"

    @property
    def counts_recipe(self) -> CountsRecipe | None:
        """Return how the item counts are made; None for a training that did not keep it."""
        about = self.about
        if about.matched is None:
            return None
        width = self.ranker.config.sizes.match_features
        return CountsRecipe(
            self.item_space,
            about.feature_names,
            about.matched,
            width,
            about.actions,
            about.rates,
            about.lists,
            about.counted_every_ms,
            about.newcomers,
        )


def save_models(models: TrainedModels, work: Path) -> None:
    """Write everything; ``trained.json`` comes last, so where it is, all is."""
    save_weights(work / RANKER_WEIGHTS, models.ranker, models.ranker.config)
    write_matches(work / MATCHES, models.matches)
    if len(models.attributes):
        write_attributes(work / ATTRIBUTES, models.attributes)
    if models.profiles.width:
        write_profiles(work / PROFILES, models.profiles)
    ids = models.item_table.ids
    named = ids.astype(np.str_) if ids.dtype == object else ids
    with whole_file(work / ITEMS_FILE) as beside, beside.open("wb") as file:
        np.savez(file, ids=named, vectors=models.item_table.vectors, features=models.features)
    _write_json(work / ABOUT, {"format": FORMAT, **asdict(models.about)})


def load_models(work: Path) -> TrainedModels:
    """Read what ``save_models`` and the encoders' training wrote. Raises ``WeightsRefusedError``."""
    if not (work / ABOUT).exists():
        raise WeightsRefusedError(
            f"{work} has no {ABOUT}, so no training has come to its end there; run `rankstream train` (again)"
        )
    with _damage_refused(work / ABOUT):
        about = _read_metadata(work / ABOUT)
    with _damage_refused(work / ITEMS_FILE):
        arrays = read_arrays(work / ITEMS_FILE)
        item_table = ItemTable(plain_ids(arrays["ids"].tolist()), arrays["vectors"])
        features = arrays["features"]
    with _damage_refused(work / MATCHES):
        matches = open_matches(work / MATCHES) if (work / MATCHES).exists() else no_matches()
    with _damage_refused(work / ATTRIBUTES):
        known = (work / ATTRIBUTES).exists()
        attributes = open_attributes(work / ATTRIBUTES) if known else no_attributes()
    with _damage_refused(work / PROFILES):
        profiles = open_profiles(work / PROFILES) if (work / PROFILES).exists() else no_profiles()
    return TrainedModels(
        about,
        item_table,
        features,
        matches,
        load_weights(work / PINNERFORMER_WEIGHTS, PinnerFormer, PinnerFormerConfig),
        load_weights(work / HIERTCN_WEIGHTS, HierTCN, HierTCNConfig),
        load_weights(work / RANKER_WEIGHTS, HybridRanker, RankerConfig),
        attributes,
        profiles,
    )


def _read_metadata(path: Path) -> RunMetadata:
    saved = current_fields(json.loads(path.read_text(encoding="utf-8")))
    if saved.pop("format") != FORMAT:
        raise WeightsRefusedError(f"{path} is of another version of rankstream; train again")
    vocabulary = Vocabulary(*(tuple(saved["vocabulary"][name]) for name in ("actions", "surfaces")))
    heads = {name: tuple(actions) for name, actions in saved["heads"].items()}
    lists = {name: tuple(saved[name]) for name in ("positives", "negatives", "feature_names")}
    lists |= {name: tuple(saved[name]) for name in ("calibrated", "matched") if saved.get(name) is not None}
    return RunMetadata(**{**saved, **lists, "vocabulary": vocabulary, "heads": heads})


@contextmanager
def _damage_refused(path: Path) -> Iterator[None]:
    """Refuse a file that is damaged or holds something else, instead of what reading it raises."""
    try:
        yield
    except WeightsRefusedError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise WeightsRefusedError(f"{path} is damaged ({exc}); restore it, or train again in a new folder") from exc


@contextmanager
def one_at_a_time(work: Path) -> Iterator[None]:
    """Keep other trainings out of ``work`` for as long as this one runs; it is let go when the process ends, too.

    Raises ``OtherRunError`` where one runs there: two of the same command would write each other's checkpoints.
    """
    work.mkdir(parents=True, exist_ok=True)
    folder = os.open(work, os.O_RDONLY)  # a folder can be locked itself, so that nothing is left in it
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise OtherRunError(
                f"another process is training in {work}; wait until it has ended, or name another folder"
            ) from exc
        yield
    finally:
        os.close(folder)


def lock_run(
    work: Path,
    log: EventLog,
    recipe: Any,
    attributes: ItemAttributes | None = None,
    profiles: UserProfiles | None = None,
) -> None:
    """Make ``work`` the folder of this recipe (a dataclass) on this log. Raises ``OtherRunError`` if it is another's.

    So is one with other ``attributes`` or ``profiles``. Checkpoints know their model's sizes and schedule, not the log
    they come of.
    """
    wanted = {"log": _named(log), "recipe": json.loads(json.dumps(asdict(recipe), default=_name))}
    wanted["recipe"].pop("threads", None)  # they change no result beyond rounding
    wanted["recipe"].get("encoders", {}).pop("seconds", None)  # time ends a training, as --minutes does: no other one
    if attributes is not None and len(attributes):
        wanted["items"] = f"{attributes_tag(attributes):x}"
    if profiles is not None and profiles.width:
        wanted["users"] = f"{profiles_tag(profiles):x}"
    if not (work / RUN).exists():
        _write_json(work / RUN, wanted)
        return
    with _damage_refused(work / RUN):
        found = current_fields(json.loads((work / RUN).read_text(encoding="utf-8")))
    if found != wanted:
        differing = ", ".join(_differences(found, wanted)) or "its log"
        raise OtherRunError(
            f"{work} holds a training with other settings ({differing}); go on with the same ones, or name a new folder"
        )


def _named(log: EventLog) -> str:
    """Name a log by its content."""
    items = np.unique(log.item_ids, return_inverse=True)[1]
    columns: list[Any] = [log.actions, log.times_ms, log.by_user.user_of_row, items]
    if (shown := log.impressions) is not None:
        columns += [shown.user_keys, shown.times_ms, shown.starts, shown.item_keys]
    return f"{len(log)} actions {xxh3_64_hexdigest(b''.join(np.ascontiguousarray(one).tobytes() for one in columns))}"


def _name(value: object) -> str:
    return getattr(value, "__qualname__", str(value))


def _differences(found: Any, wanted: Any, name: str = "") -> list[str]:
    """Return the names of the innermost settings that differ."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = sorted(set(found) | set(wanted))
        return [one for key in keys for one in _differences(found.get(key), wanted.get(key), key)]
    return [] if found == wanted else [name]


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as beside:
        beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
