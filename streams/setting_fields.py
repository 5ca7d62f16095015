"""What a setting is, and where its value is looked up: a flag, the environment, a file, its default, in this order.

Settings are the fields of a frozen dataclass, declared with ``setting``; ``streams/settings.py`` has those of workers
and tools, ``gateway/settings.py`` those of the gateway, ``cli/options/train_settings.py`` those of training. Options of
commands and documentation are made from them.
"""

import os
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

ENVIRONMENT_PREFIX = "RANKSTREAM_"
CONFIG_VARIABLE = "RANKSTREAM_CONFIG"
DEFAULT_FILE = Path("rankstream.toml")
TABLES = ("train", "gateway")  # of the file; what stands above them belongs to workers and tools
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")

T = TypeVar("T")


class SettingsError(ValueError):
    """A setting that can't be used; the message is one sentence and names where it came from."""


@dataclass(frozen=True)
class About:
    """What is known of a setting besides its name, type and default."""

    section: Enum
    help: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    secret: bool = False  # never a flag (other users see a process's flags), never printed
    formerly: tuple[str, ...] = ()  # names of older versions, still read
    as_text: Callable[[Mapping[str, object]], str] | None = None  # of a table, where the file may hold one instead


def setting(
    default: T,
    section: Enum,
    help: str,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    secret: bool = False,
    formerly: tuple[str, ...] = (),
    as_text: Callable[[Mapping[str, object]], str] | None = None,
) -> T:
    """Declare a field of a dataclass of settings."""
    about = About(section, help, unit, minimum, maximum, choices, secret, formerly, as_text)
    return field(default=default, repr=not secret, metadata={"about": about})


@dataclass(frozen=True)
class Origins(Generic[T]):
    """Settings, and the source of each value that is not a default."""

    settings: T
    sources: dict[str, str]


def about(known: "Field[Any]") -> About:
    """Return what was declared about a field."""
    return cast(About, known.metadata["about"])


def names_of(known: "Field[Any]") -> tuple[str, ...]:
    """Return a setting's name, and behind it those of older versions."""
    return (known.name, *about(known).formerly)


def flag(name: str) -> str:
    """Return the flag of a setting: ``--state-dir``."""
    return "--" + name.replace("_", "-")


def variable(name: str, table: str = "") -> str:
    """Return the environment variable of a setting: ``RANKSTREAM_STATE_DIR``, ``RANKSTREAM_TRAIN_STEPS``."""
    return ENVIRONMENT_PREFIX + (f"{table}_" if table else "").upper() + name.upper()


def find_values(
    kind: Callable[..., T],
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
    *,
    table: str = "",
    check: Callable[["Field[Any]", object, str], None] = lambda known, value, source: None,
) -> Origins[T]:
    """Read all settings of a dataclass, with their sources; a flag of ``None`` and an empty variable are not given.

    ``table`` is theirs in the file, ``check`` raises ``SettingsError`` for what limits and choices can't express.
    """
    environment = os.environ if environment is None else environment
    from_file, file_name = _read_file(kind, file, environment, table)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for known in fields(kind):  # type: ignore[arg-type]  # a dataclass is also what makes one
        name, names = known.name, names_of(known)
        offers = (
            (flag(name), (flags or {}).get(name)),
            *((f"the environment variable {variable(one, table)}", environment.get(variable(one, table)) or None)
              for one in names),
            *((f"{one} in {file_name}", from_file.get(one)) for one in names),
        )  # fmt: skip
        for source, raw in offers:
            if raw is not None:
                values[name] = _convert(known, raw, source)
                check_value(known, values[name], source)
                check(known, values[name], source)
                sources[name] = source
                break
    return Origins(kind(**values), sources)


def _read_file(
    kind: Callable[..., T], file: Path | None, environment: Mapping[str, str], table: str
) -> tuple[dict[str, object], str]:
    named = file or (Path(environment[CONFIG_VARIABLE]) if environment.get(CONFIG_VARIABLE) else None)
    path = named or DEFAULT_FILE
    if named is None and not path.is_file():
        return {}, str(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise SettingsError(f"the settings file {path} can't be read: {exc.strerror or exc}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(f"the settings file {path} is not TOML: {exc}") from exc
    values = values.get(table, {}) if table else {name: values[name] for name in values if name not in TABLES}
    where = f"[{table}] of {path}" if table else str(path)
    if not isinstance(values, dict):
        raise SettingsError(f"{table} in {path} is {values!r}; wanted a table [{table}] of settings")
    known = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    read = {name for each in fields(kind) for name in names_of(each)}  # type: ignore[arg-type]
    for name in values:
        if name not in read:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else "; docs/configuration.md lists all settings"
            raise SettingsError(f"{where} sets {name!r}, which is no setting{hint}")
    return values, where


def kind_of(known: "Field[Any]") -> type:
    """Return the type of a setting's value, ``None`` left out: str, int, float, bool or Path."""
    hint = known.type
    if isinstance(hint, types.UnionType):
        hint = next(each for each in typing.get_args(hint) if each is not type(None))
    return cast(type, hint)


KIND_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}


def _convert(known: "Field[Any]", raw: object, source: str) -> object:
    kind, as_text = kind_of(known), about(known).as_text
    if as_text is not None and isinstance(raw, dict):
        return as_text(raw)
    value = _as_kind(kind, raw)
    if value is None:
        shown = "that" if about(known).secret else repr(raw)
        raise SettingsError(f"{source} is {shown}; wanted {KIND_NAMES[kind]}")
    return value


def _as_kind(kind: type, raw: object) -> object | None:
    """Return the value of ``raw`` as a ``kind``, or None where it isn't one."""
    if kind is bool:
        if isinstance(raw, bool):
            return raw
        text = str(raw).strip().lower()
        return True if text in TRUE else False if text in FALSE else None
    if isinstance(raw, bool):
        return None
    if kind in (int, float):
        try:
            number = float(str(raw).replace("_", ""))
        except ValueError:
            return None
        if kind is float:
            return number
        return int(number) if number.is_integer() else None
    return cast(object, kind(raw)) if isinstance(raw, str | Path) else None


def check_value(known: "Field[Any]", value: object, source: str) -> None:
    """Raise ``SettingsError`` for a value beyond the limits or the choices that were declared."""
    declared = about(known)
    unit = f" {declared.unit}" if declared.unit else ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        too_small = declared.minimum is not None and not value >= declared.minimum
        too_large = declared.maximum is not None and not value <= declared.maximum
        if too_small or too_large:
            raise SettingsError(f"{source} is {value:g}{unit}; wanted {limits(declared)}")
    if declared.choices and value not in declared.choices:
        raise SettingsError(f"{source} is {value!r}; wanted one of {', '.join(declared.choices)}")


def limits(declared: About) -> str:
    """Return in words what values are allowed: ``1 to 60 s``."""
    unit = f" {declared.unit}" if declared.unit else ""
    if declared.choices:
        return "one of " + ", ".join(declared.choices)
    if declared.minimum is None:
        return ""
    if declared.maximum is None:
        return f"at least {declared.minimum:,g}{unit}"
    return f"{declared.minimum:,g} to {declared.maximum:,g}{unit}"
