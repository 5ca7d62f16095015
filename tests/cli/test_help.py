"""The help of every command teaches: what it reads and writes, and an example that could be typed."""

import shlex

import click
import pytest
from click.testing import CliRunner

from rankstream.cli.main import COMMANDS, main
from tests.builders.cli import rankstream

NAMES = list(COMMANDS)


def all_commands(command: click.Command, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], click.Command]]:
    """A command and those below it that can be run."""
    if not isinstance(command, click.Group):
        return [(path, command)]
    return [one for name in command.commands for one in all_commands(command.commands[name], (*path, name))]


def every_command() -> list[tuple[tuple[str, ...], click.Command]]:
    found = []
    for name in NAMES:
        command = main.get_command(click.Context(main), name)
        assert command is not None, name
        found += all_commands(command, (name,))
    return found


EVERY = every_command()


@pytest.mark.parametrize(("path", "command"), EVERY, ids=[" ".join(path) for path, _ in EVERY])
def test_help_shows_an_example_with_flags_that_exist(path, command):
    text = (command.help or "").replace("\\\n", " ")
    examples = [line.strip() for line in text.splitlines() if "rankstream " + " ".join(path) in line]
    offered = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    assert examples
    for example in examples:
        words = shlex.split(example.split("|")[-1] if example.startswith("tail") else example.split("|")[0])
        assert {word.split("=")[0] for word in words if word.startswith("--")} <= offered, example


@pytest.mark.parametrize("name", NAMES)
def test_the_list_of_commands_shows_what_the_command_itself_shows(name):
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert (command.help or "").lower().startswith(COMMANDS[name].lower().rstrip("."))


@pytest.mark.parametrize("name", NAMES)
def test_help_ends_well(name):
    result = rankstream(name, "--help")
    assert result.exit_code == 0
    assert "Usage: rankstream " + name in result.output


@pytest.mark.parametrize("path", [(), *(path for path, _ in EVERY)], ids=" ".join)
def test_no_line_of_the_help_is_wider_than_the_terminal(path):
    shown = CliRunner().invoke(main, [*path, "--help"], terminal_width=80).output
    assert [line for line in shown.splitlines() if len(line) > 80] == []


def test_settings_shows_values_and_their_sources():
    shown = rankstream("settings", partitions="16", sasl_password="hunter2").output
    assert "16" in next(line for line in shown.splitlines() if "partitions" in line)
    assert "RANKSTREAM_PARTITIONS" in shown
    assert "hunter2" not in shown
