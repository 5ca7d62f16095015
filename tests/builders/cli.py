"""What tests of the command line and the clients share."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

from click.testing import CliRunner, Result

from rankstream.cli.main import main
from rankstream.streams.settings import Settings
from rankstream.streams.topics import prepare_topics

NO_BROKER = "127.0.0.1:1"  # no broker ever listens there


def rankstream(*args: object, text: str | None = None, **environment: str) -> Result:
    """Run a command as the shell would, with no RANKSTREAM_ variables but those given."""
    names = {f"RANKSTREAM_{name.upper()}": value for name, value in environment.items()}
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, [str(arg) for arg in args], input=text, env=names)


def refusal(result: Result) -> str:
    """The one sentence of a command that refused, besides notes; fails if it printed more, less or something else."""
    lines = [line for line in result.stderr.splitlines() if line.strip() and not line.startswith("note: ")]
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    assert len(lines) == 1, lines
    assert lines[0].startswith("rankstream: ")
    assert "Traceback" not in result.output
    return lines[0].removeprefix("rankstream: ")


def fresh_topics(servers: str, partitions: int = 2) -> Settings:
    """Settings with a prefix that is new, and its topics made."""
    settings = Settings(bootstrap_servers=servers, topic_prefix=f"test-{uuid4().hex[:8]}.", partitions=partitions)
    asyncio.run(prepare_topics(settings, create=True))
    return settings


def connected(settings: Settings) -> Sequence[str]:
    """The flags that lead a command to these topics."""
    return ["--bootstrap-servers", settings.bootstrap_servers, "--topic-prefix", settings.topic_prefix]
