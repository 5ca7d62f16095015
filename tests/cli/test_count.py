"""`rankstream count` as people and cron call it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rankstream.features.item_counts.files import counting
from rankstream.streams.settings import Settings
from tests.builders.bundle import a_bundle
from tests.builders.cli import NO_BROKER, connected, fresh_topics, rankstream, refusal
from tests.builders.counting import Senders, newest, rows_of
from tests.builders.item_counts import a_following_bundle

ROOT = Path(__file__).parents[2]
ACTS = [(f"u{n % 5}", 1 + n % 4, "view", float(n)) for n in range(60)]


@pytest.fixture
def bundle(tmp_path) -> Path:
    return a_following_bundle(tmp_path / "bundle", rows_of(ACTS[:8]))


@pytest.fixture
def settings(bootstrap_servers: str) -> Settings:
    settings = fresh_topics(bootstrap_servers)
    senders = Senders(settings)
    senders.act(*ACTS)
    senders.kafka.close()
    return settings


@pytest.mark.broker
def test_once_publishes_what_the_topic_holds_and_then_nothing_new(settings, bundle, tmp_path):
    words = ("count", "--bundle", bundle, "--to", tmp_path / "counts", "--once", *connected(settings))
    first, second = (rankstream(*words, "--json") for _ in range(2))
    assert first.exit_code == second.exit_code == 0, first.output
    done, again = json.loads(first.stdout), json.loads(second.stdout)
    assert (done["items"], done["actions"], done["passed_over"]) == (40, 60, {})
    assert Path(done["version"]).name == newest(tmp_path / "counts").version
    assert newest(tmp_path / "counts").as_of_ms == done["as_of_ms"]
    assert (again["version"], again["actions"]) == (None, 60)
    said = rankstream(*words)
    assert "60 actions read; nothing newer than what is published in" in said.output
    assert "published" in rankstream(*words[:3], "--to", tmp_path / "others", *words[5:]).output


@pytest.mark.broker
def test_it_ends_at_once_when_told_and_a_second_one_is_refused_meanwhile(settings, bundle, tmp_path):
    words = ["count", "--bundle", str(bundle), "--to", str(tmp_path / "counts"), *connected(settings)]
    process = subprocess.Popen(
        [sys.executable, "-m", "rankstream.cli.main", *words], stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stderr is not None
    told = next(line for line in process.stderr if "published" in line)
    assert "40 items of 60 actions read, in" in told
    assert "another process publishes item counts into" in refusal(rankstream(*words))
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "Traceback" not in said


def test_what_can_not_be_counted_is_one_sentence(bundle, tmp_path):
    words = ("count", "--bootstrap-servers", NO_BROKER, "--to", tmp_path / "counts")
    assert "so there is no bundle; name its folder with --bundle" in refusal(rankstream(*words, "--bundle", tmp_path))
    silent = a_bundle(tmp_path / "silent")
    assert "does not say how its item counts were made" in refusal(rankstream(*words, "--bundle", silent))
    assert "no Kafka broker answers" in refusal(rankstream(*words, "--bundle", bundle))
    assert "--every 0s can't be" in refusal(rankstream(*words, "--bundle", bundle, "--every", "0s"))
    assert "is no delay" in refusal(rankstream(*words, "--bundle", bundle, "--every", "often"))
    with counting(tmp_path / "counts"):
        assert "name another folder" in refusal(rankstream(*words, "--bundle", bundle))


def test_no_torch_is_loaded():
    code = (
        "import sys; import rankstream.cli.commands.count; "
        "print([name for name in ('torch', 'pyarrow', 'scipy', 'numba') if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert ran.stdout.strip() == "[]"
