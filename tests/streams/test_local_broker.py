"""A broker that lives as long as a block, and one that did not live so long."""

import subprocess

import pytest

from rankstream.streams.broker import BrokerError, LocalBroker


@pytest.mark.parametrize(
    ("does", "words"),
    [
        (
            "echo its disk is full; exit 3",
            "exit code 3, and with it all that it held; its log ends: its disk is full; st",
        ),
        ("kill -9 $$", "exit code -9, and with it all that it held; start it again"),
    ],
)
def test_a_broker_that_has_ended_is_said_with_its_last_words(does, words, tmp_path):
    broker = LocalBroker(19092)
    broker.folder = tmp_path
    broker.check()  # before it is started there is nothing to say
    with broker.log.open("wb") as log:
        broker.process = subprocess.Popen(["sh", "-c", does], stdout=log)
    broker.process.wait()
    with pytest.raises(BrokerError, match=words):
        broker.check()
