"""``rankstream demo``: the main job on real data, from the raw log to a report, on one machine."""

from cli.demo.command import command

__all__ = ["command"]
