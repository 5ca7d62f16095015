"""A flag's old spelling is read as the new one, with a line that names it; it stands in no help."""

import click
from click.testing import CliRunner

from rankstream.cli.commands.off_policy import command as off_policy
from rankstream.cli.commands.replay import command as replay
from rankstream.cli.options.aliases import renamed


@click.command(context_settings=renamed({"--visit-gap": "--session-gap", "--without-met": "--exclude-seen"}))
@click.option("--session-gap", default="30m")
@click.option("--exclude-seen", is_flag=True)
def command(session_gap: str, exclude_seen: bool) -> None:
    click.echo(f"{session_gap} {exclude_seen}")


def test_old_flags_are_read_as_the_new_ones():
    assert CliRunner().invoke(command, ["--visit-gap", "12h", "--without-met"]).stdout == "12h True\n"
    assert CliRunner().invoke(command, ["--visit-gap=12h"]).stdout == "12h False\n"


def test_an_old_flag_is_answered_with_one_line_that_names_the_new_one():
    line = CliRunner().invoke(command, ["--visit-gap", "12h"]).stderr
    assert line == "--visit-gap is now --session-gap; the old name goes with the next version\n"


def test_new_flags_are_silent_and_help_does_not_name_the_old_ones():
    assert not CliRunner().invoke(command, ["--session-gap", "12h", "--exclude-seen"]).stderr
    assert "visit" not in CliRunner().invoke(command, ["--help"]).output
    assert "met" not in CliRunner().invoke(command, ["--help"]).output


def test_commands_read_the_flags_that_they_had_before():
    replayed = replay.make_context("replay", ["--visit-gap", "12h", "--without-met"]).params
    assert (replayed["session_gap_ms"], replayed["exclude_seen"]) == (12 * 3_600_000, True)
    estimated = off_policy.make_context("off-policy", ["--reward", "save", "--places", "3"]).params
    assert estimated["positions"] == 3
