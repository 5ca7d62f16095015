"""Weights in files, with the configuration that they belong to, and the hashes that name weights and vectors.

A file is written whole or not at all and holds tensors and plain values only, so reading one runs no code. It does not
know what its weights were trained on.
"""

import json
import pickle
from collections.abc import Callable
from dataclasses import asdict, fields, is_dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import numpy as np
import torch
from torch import nn
from xxhash import xxh3_64_hexdigest

from rankstream.features.files import whole_file
from rankstream.features.schema import Floats
from rankstream.models.training.old_names import current_fields, model_name

FORMAT = 1

Model = TypeVar("Model", bound=nn.Module)
Config = TypeVar("Config")


class WeightsRefusedError(ValueError):
    """A file holds no weights for this model; the message says what it holds."""


def save_weights(path: Path, model: nn.Module, config: Any) -> None:
    """Save a model's weights and its config, whole or not at all."""
    content = {
        "format": FORMAT,
        "model": type(model).__name__,
        "config": json.dumps(asdict(config)),
        "weights": {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()},
    }
    write_whole(path, content)


def load_weights(path: Path, build: Callable[[Config], Model], config_type: type[Config]) -> Model:
    """Build the model that ``save_weights`` saved, in eval mode.

    Raises ``WeightsRefusedError`` for a file of another model, another config or other sizes.
    """
    content = read_whole(path)
    if content.get("format") != FORMAT:
        raise WeightsRefusedError(f"{path} is of format {content.get('format')}, wanted {FORMAT}; train again")
    wanted, found = getattr(build, "__name__", str(build)), model_name(content["model"])
    if found != wanted:
        raise WeightsRefusedError(f"{path} holds weights of {found}, wanted {wanted}; give the right file")
    model = build(_config(path, current_fields(json.loads(content["config"])), config_type))
    try:
        model.load_state_dict(content["weights"])
    except RuntimeError as exc:
        detail = " ".join(str(exc).split())
        raise WeightsRefusedError(f"{path} does not fit this version of {wanted} ({detail}); train again") from exc
    return model.eval()


def _config(path: Path, saved: dict[str, Any], config_type: type[Config]) -> Config:
    known = {spec.name for spec in fields(config_type)}  # type: ignore[arg-type]
    if set(saved) - known:
        unknown = ", ".join(sorted(set(saved) - known))
        raise WeightsRefusedError(f"{path} has settings that {config_type.__name__} does not know: {unknown}")
    kinds = get_type_hints(config_type)
    values = {name: _value(path, value, kinds[name]) for name, value in saved.items()}
    try:
        return config_type(**values)
    except TypeError as exc:
        raise WeightsRefusedError(f"{path} lacks a setting of {config_type.__name__} ({exc}); train again") from exc


def _value(path: Path, saved: Any, kind: Any) -> Any:
    """Return a setting in its own type: JSON has no tuples and no nested configs."""
    config = next((one for one in (*get_args(kind), kind) if isinstance(one, type) and is_dataclass(one)), None)
    if isinstance(saved, dict) and config is not None:
        return _config(path, saved, config)
    return tuple(saved) if isinstance(saved, list) else saved


def write_whole(path: Path, content: dict[str, Any]) -> None:
    """Write a file that is there whole or not at all, also after a crash or a loss of power."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as beside:
        torch.save(content, beside)


def read_whole(path: Path) -> dict[str, Any]:
    """Read what ``write_whole`` wrote: tensors and plain values only, nothing that runs code."""
    if not path.exists():
        raise WeightsRefusedError(f"there is no file {path}; train first, or give the right path")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as exc:
        raise WeightsRefusedError(f"{path} is no file of weights, or was cut off ({type(exc).__name__})") from exc
    if not isinstance(content, dict):
        raise WeightsRefusedError(f"{path} holds a {type(content).__name__}, no weights with their config")
    return content


def fingerprint(model: nn.Module) -> int:
    """Return 64 bits that name the weights, never 0: the same for the same numbers, on any machine."""
    digest = blake2b(digest_size=8)
    for name, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return int.from_bytes(digest.digest(), "big") or 1


def weights_tag(model: nn.Module) -> int:
    """Return 64 bits that name a model's weights: equal weights, equal tags.

    It hashes other bytes than ``fingerprint`` does and must go on doing so: users' states hold the tag of the encoder
    that made them, and a state with another tag is reset.
    """
    digest = blake2b(digest_size=8)
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return int.from_bytes(digest.digest(), "big")


def fingerprint_of(vectors: Floats) -> str:
    """Return a hash of the vectors' bytes, as text."""
    return xxh3_64_hexdigest(np.ascontiguousarray(vectors).tobytes())
