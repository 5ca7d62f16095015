"""The command `rankstream`: imports the command that is called and reports every user error in one sentence.

A command is a file of this folder and is imported only when it is called: `rankstream request` must not wait for torch.
"""

import os
import sys
from importlib import import_module
from typing import Any

import click

from rankstream.streams.setting_fields import SettingsError

COMMANDS = {
    "demo": "Show the whole path on real data, on this machine, in under two minutes.",
    "example": "Write the log of a shop that does not exist, to try the other commands on.",
    "worker": "Apply actions and answer ranking requests.",
    "gateway": "Serve actions, rankings and feeds by HTTP.",
    "live": "Show a page whose row of items follows every click.",
    "produce": "Send a file of actions (or requests) to Kafka.",
    "request": "Ask for one ranking and show it.",
    "watch": "Show ranked feeds as they come.",
    "status": "Show the group of workers: who has which partition, how far it is behind, and what is not ready.",
    "topics": "Create the topics, or show what is wrong with them.",
    "dead-letters": "List rejected records, and send them again.",
    "skip": "Have workers pass over records unread.",
    "forget": "Erase users: workers and replays forget all that they did.",
    "repartition": "Move all users to topics with another number of partitions.",
    "replay": "Replay a recorded log, and evaluate the rankings by what users then did.",
    "verify": "Recompute what was served, from the log, and compare to the bit.",
    "off-policy": "Estimate what another policy would have earned, from feeds served with exploration.",
    "monitor": "Measure how served feeds do over time, and say what changed.",
    "explain": "Show why an item has its rank.",
    "train": "Train the models on a log of actions.",
    "export": "Export trained models as a bundle that workers serve.",
    "evaluate": "Evaluate trained models on the held-out part of a log.",
    "embed": "Refresh the batch user vectors, the vectors of new items, and the item counts.",
    "count": "Count the bundle's items as actions come, and publish versions that workers follow.",
    "interests": "Show a user's interests.",
    "vectors": "Publish vectors of your own for items that are new.",
    "index": "Build the index that many items are searched in, and check what it finds.",
    "serve": "Serve a trained run on this machine, to try it: a broker, the log and a worker in one.",
    "deploy": "Make another bundle serve, watch the feeds, and swap back where it goes wrong.",
    "graph": "Build the graph of items and what holds them together, for random walks.",
    "catalogue": "Import what items are: title, category, price, age.",
    "bundle": "Check a model bundle and show what is in it.",
    "settings": "Show every setting and where its value comes from.",
}


def module_of(name: str) -> str:
    """Return the module of a command: a file of ``commands/``, but for the demo, which is a room of its own."""
    return "rankstream.cli.demo.command" if name == "demo" else "rankstream.cli.commands." + name.replace("-", "_")


class Commands(click.Group):
    """Imports a command when it is called; ends with 2 and one sentence for a user error."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order that a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module and return its command."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(module_of(cmd_name))
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, *args: Any, **extra: Any) -> None:  # type: ignore[override]  # click's returns, or does not
        """Run the command line and end the process."""
        extra |= {"prog_name": "rankstream", "standalone_mode": False}
        sys.exit(_run(lambda: super(Commands, self).main(*args, **extra)))


def _run(command: Any) -> int:
    """Run, and return the exit code: 0, 2 after one sentence, 130 after Ctrl-C."""
    try:
        code = command()
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as exc:
        click.echo(exc.format_message())
        return 2
    except click.UsageError as exc:
        hint = f" (see {exc.ctx.command_path} --help)" if exc.ctx else ""
        return _refuse("; ".join(exc.format_message().strip(".").split("\n\n")) + hint)
    except click.ClickException as exc:
        return _refuse(exc.format_message())
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as exc:
        return _refuse(f"{exc.filename}: {exc.strerror}" if exc.filename else str(exc))
    except SettingsError as exc:
        return _refuse(str(exc))


def _refuse(sentence: str) -> int:
    click.echo(f"rankstream: {sentence}", err=True)
    return 2


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="rankstream", message="rankstream %(version)s")
def main() -> None:
    """User actions stream in, the ranked feed follows them.

    \b
    Start here:
      rankstream demo                    everything on this machine, no Kafka
      rankstream worker --bundle bundle  serve a model; actions in, feeds out
      rankstream COMMAND --help          what it reads and writes, an example

    Settings come from flags, then RANKSTREAM_... variables, then rankstream.toml; see `rankstream settings`.
    """


if __name__ == "__main__":
    main()
