"""The commands that the documentation names, and whether they could be typed: against the real click tree and files."""

import ast
import importlib.util
import re
import shlex
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path

import click

from rankstream.cli.errors import Refusal
from rankstream.cli.main import main
from rankstream.cli.options.train_settings import TrainSettings, read_train_settings
from rankstream.streams.setting_fields import SettingsError
from rankstream.streams.settings import Settings, read_settings

OF_READERS = ("confluent_kafka",)  # who reads the page has them, and a checkout has not
SECRETS = ("RANKSTREAM_SASL_PASSWORD", "RANKSTREAM_SCHEMA_REGISTRY_PASSWORD")
ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
SHELL = ("sh", "bash", "console", "shell")
VARIABLE = re.compile(r"[A-Za-z_]+=.*")
PLACEHOLDER = re.compile(r"\.\.\.|[A-Z]{2,}$")
OTHERS = (
    "jq",
    "tail",
    "echo",
    "head",
    "rsync",
    "cd",
    "docker",
    "kubectl",
    "tensorboard",
    "pytest",
    "bash",
    "curl",
    "kcat",
    "kafka-configs.sh",
)  # not ours: taken as they are
HEADS = ("rankstream", "python", "make", "faust", "pip", ".ci/run", *OTHERS)


@dataclass(frozen=True)
class Command:
    """One command of a page: its words without variables, comments and what stands behind a pipe."""

    words: tuple[str, ...]
    whole: bool  # from a block of code, to be typed as it stands; else named in a sentence, perhaps in part

    @property
    def text(self) -> str:
        return shlex.join(self.words)


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Yield the language and the text of each fenced block."""
    yield from FENCE.findall(text)


def lines_of(block: str) -> Iterator[str]:
    """Yield the lines of a shell block, continued ones joined, prompts and comments dropped."""
    for line in block.replace("\\\n", " ").splitlines():
        typed = line.strip().removeprefix("$ ")
        if typed and not typed.startswith("#"):
            yield typed


def commands_of_line(line: str, whole: bool = True) -> Iterator[Command]:
    """Yield the commands of one line: those joined by ``|``, ``&&`` and ``;``."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    parts: list[list[str]] = [[]]
    after_redirect = False  # is the next word a file's name?
    for word in lexer:
        if after_redirect:
            after_redirect = False
        elif word and set(word) <= set("<>"):
            after_redirect = True
        elif word and set(word) <= set("|&;"):
            parts.append([])
        else:
            parts[-1].append(word)
    for words in parts:
        while words and VARIABLE.fullmatch(words[0]):
            words = words[1:]
        if words:
            yield Command(tuple(words), whole)


def commands_of(text: str) -> Iterator[Command]:
    """Yield every command of a page, of its shell blocks and its sentences."""
    for language, block in blocks(text):
        for line in lines_of(block) if language in SHELL else ():
            yield from commands_of_line(line)
    for code in INLINE.findall(FENCE.sub("", text)):
        words = [word for word in code.split() if not VARIABLE.fullmatch(word)]
        if words and words[0] in HEADS:
            yield from commands_of_line(" ".join(code.split()), whole=False)


def problems_of(text: str) -> list[str]:
    """Return what is wrong with the commands, settings and Python of a page; each with what it is about."""
    found = [f"{one.text}: {problem}" for one in commands_of(text) if (problem := problem_of(one))]
    for language, block in blocks(text):
        check = {"toml": _of_settings, "python": _of_python}.get(language)
        problem = check(block) if check else None
        found += [f"{language} block: {problem}"] if problem else []
    return found


def problem_of(command: Command) -> str | None:
    """Return why a command could not be typed, or ``None``."""
    head, *rest = command.words
    if head == "rankstream":
        return _of_click(main, rest, command.whole)
    if head == "python":
        return _of_module(rest, command.whole) if rest[:1] == ["-m"] else _of_file(rest[0]) if rest else None
    if head == "make":
        return next((problem for word in rest if (problem := _of_target(word))), None)
    if head == "faust":
        return _of_spec(rest[rest.index("-A") + 1]) if "-A" in rest else None
    if head == "pip":
        return next((problem for word in rest if (problem := _of_extra(word))), None)
    if head == ".ci/run":
        return _of_file(head)
    return None if head in OTHERS else f"{head} is no command that this test knows"


def _of_click(command: click.Command, words: Sequence[str], whole: bool) -> str | None:
    context, words = click.Context(command, info_name="rankstream"), list(words)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        found = command.get_command(context, name)
        if found is None:
            return f"there is no command {name}"
        command, context = found, click.Context(found, parent=context, info_name=name)
    if not whole or isinstance(command, click.Group):
        return _of_flags(command, words)
    try:
        parsed = command.make_context(command.name, words, parent=context.parent).params
        for kind, read in ((Settings, read_settings), (TrainSettings, read_train_settings)):
            if "config" in parsed:  # the flag of those commands that have settings
                known = {one.name for one in fields(kind)}
                read({name: value for name, value in parsed.items() if name in known and not isinstance(value, tuple)})
    except click.exceptions.Exit:  # --help
        return None
    except click.BadParameter as exc:
        is_path = exc.param is not None and isinstance(exc.param.type, click.Path)
        is_missing = isinstance(exc, click.MissingParameter)
        return None if is_path and not is_missing else exc.format_message()  # a reader's own files need not lie here
    except (click.ClickException, Refusal, SettingsError) as exc:
        return exc.format_message() if isinstance(exc, click.ClickException) else str(exc)
    return None


def _of_flags(command: click.Command, words: Sequence[str]) -> str | None:
    offered = {"--help", "-h"} | {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    old = command.context_settings.get("token_normalize_func", str)
    flags = [word.split("=")[0] for word in words if word.startswith("--") and not PLACEHOLDER.search(word)]
    return next((f"there is no {flag}" for flag in flags if not {flag, f"--{old(flag[2:])}"} & offered), None)


def _of_module(words: Sequence[str], whole: bool) -> str | None:
    name = words[1]
    if problem := _of_spec(name):
        return problem
    entry = getattr(import_module(name), "main", None) if name.split(".")[0] in ("rankstream", "benchmarks") else None
    return _of_click(entry, words[2:], whole) if isinstance(entry, click.Command) else None


def _of_spec(name: str) -> str | None:
    try:
        return None if importlib.util.find_spec(name) else f"there is no module {name}"
    except ModuleNotFoundError as exc:
        return f"there is no module {exc.name}"


def _of_file(name: str) -> str | None:
    return None if (ROOT / name).exists() else f"there is no file {name}"


def _of_target(word: str) -> str | None:
    makefile = (ROOT / "Makefile").read_text()
    if VARIABLE.fullmatch(word):
        name = word.split("=")[0]
        return None if re.search(rf"^{name}\s*\?=", makefile, re.MULTILINE) else f"make knows no {name}"
    return None if re.search(rf"^{re.escape(word)}:", makefile, re.MULTILINE) else f"make has no target {word}"


def _of_extra(word: str) -> str | None:
    extra = re.search(r"rankstream\[(\w+)\]", word)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    return None if extra is None or extra[1] in known else f"there is no extra {extra[1]}"


def _of_settings(block: str) -> str | None:
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(block)
        file.flush()
        try:
            read_settings(file=Path(file.name), environment=dict.fromkeys(SECRETS, "x"))
        except SettingsError as exc:
            return str(exc)
    return None


def _of_python(block: str) -> str | None:
    try:
        tree = ast.parse(block)
    except SyntaxError as exc:
        return str(exc)
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    modules += [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    own = [name for name in modules if name.split(".")[0] not in OF_READERS]
    return next((problem for name in own if (problem := _of_spec(name))), None)
