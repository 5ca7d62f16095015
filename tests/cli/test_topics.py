"""`rankstream topics`: created as workers need them, and what is wrong with them is shown."""

import pytest
from kafka.admin import KafkaAdminClient, NewTopic

from rankstream.streams.clients.connect import missing_topics
from rankstream.streams.settings import Settings
from tests.builders.cli import rankstream, refusal
from tests.builders.patience import PATIENCE_S

pytestmark = pytest.mark.broker


def test_topics_are_made_once(bootstrap_servers):
    cluster = ["--bootstrap-servers", bootstrap_servers, "--topic-prefix", "made-once."]
    created = rankstream("topics", "create", *cluster, "--partitions", 3).output
    assert created.startswith("created made-once.user-actions, made-once.ranking-requests")
    assert rankstream("topics", "create", *cluster, "--partitions", 3).output == "all topics are there\n"
    shown = rankstream("topics", "describe", *cluster)
    assert shown.exit_code == 0
    assert shown.output.count(" 3 │") == 7


def test_topics_that_are_missing_are_shown(bootstrap_servers):
    result = rankstream("topics", "describe", "--bootstrap-servers", bootstrap_servers, "--topic-prefix", "gone.")
    assert refusal(result) == "5 things to mend, see the last column"
    assert result.output.count("missing") == 5


def test_partitions_that_do_not_fit_are_shown(bootstrap_servers):
    cluster = ["--bootstrap-servers", bootstrap_servers, "--topic-prefix", "odd."]
    admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers)
    odd = {"odd.user-actions": 2, "odd.ranking-requests": 5}
    admin.create_topics([NewTopic(name, partitions, 1) for name, partitions in odd.items()])
    admin.close()
    assert not missing_topics(Settings(bootstrap_servers=bootstrap_servers), [*odd], patience_s=PATIENCE_S)
    result = rankstream("topics", "describe", *cluster)
    assert result.exit_code == 2
    assert "5 partitions, but user-actions has 2" in " ".join(result.output.replace("│", " ").split())
    assert "must have the same number of partitions" in refusal(rankstream("topics", "create", *cluster))
