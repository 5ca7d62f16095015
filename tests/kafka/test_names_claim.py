"""Bundles with different new names that are deployed at the same moment: one of them comes first."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from faust.types import TP
from kafka.admin import KafkaAdminClient

from rankstream.features.actions import Vocabulary, VocabularyRefusedError
from rankstream.streams.settings import Settings
from rankstream.streams.topics import CHANGELOG
from rankstream.streams.worker.admission import Admission
from rankstream.streams.worker.fence import Fence, FencedError, Offset
from rankstream.streams.worker.names_claim import Claim, pack, unpack
from rankstream.streams.worker.vocabulary_guard import KeptVocabulary, Names
from tests.builders.bundle import VOCABULARY
from tests.kafka.harness import Bench, wait_until

pytestmark = [pytest.mark.broker]


@pytest.fixture
def settings(bench: Bench, broker) -> Settings:
    if not broker.is_kafka:
        pytest.skip("the embedded broker knows no transactions")
    bench.settings = replace(bench.settings, partitions=2)
    bench.create_topics()
    return bench.settings


def with_more(*names: str) -> Vocabulary:
    return Vocabulary((*VOCABULARY.actions, *names), VOCABULARY.surfaces)


async def admit(settings: Settings, vocabulary: Vocabulary, folder: str) -> bool:
    """Start with a bundle in a folder that is not there yet; return whether it is let in."""
    kept = KeptVocabulary(settings.state_dir / folder, lambda: vocabulary)
    try:
        await Admission(settings, kept, fencing=True).at_start(vocabulary)
    except VocabularyRefusedError:
        return False
    return True


def test_of_two_that_come_together_one_is_refused(settings):
    async def story() -> None:
        for turn in range(5):
            known = [f"{name}-{turn}" for name in ("share", "buy")]
            found = await asyncio.gather(
                *(admit(replace(settings, app_id=f"g{turn}"), with_more(name), name) for name in known)
            )
            assert sorted(found) == [False, True]

    asyncio.run(story())


def test_what_was_claimed_counts_before_any_state_has_it(settings):
    assert asyncio.run(admit(settings, with_more("share"), "a"))
    assert not asyncio.run(admit(settings, with_more("buy"), "b"))
    assert asyncio.run(admit(settings, with_more("share", "buy"), "c"))
    assert not asyncio.run(admit(settings, with_more("share", "lend"), "d"))
    assert asyncio.run(admit(settings, VOCABULARY, "e")), "fewer names than are known"


def test_a_claim_that_brokers_did_not_take_is_made_again(settings, monkeypatch):
    """Where another one came between, Apache Kafka once answered the end of the transaction with an unknown error."""
    transaction, failures = Fence.transaction, [KafkaError("unknown"), FencedError("another has come between")]

    def failing(fence: Fence, offsets: Mapping[TP, Offset]) -> AbstractAsyncContextManager[AIOKafkaProducer]:
        if failures:
            raise failures.pop()
        return transaction(fence, offsets)

    monkeypatch.setattr(Fence, "transaction", failing)
    assert asyncio.run(admit(settings, with_more("share"), "a"))
    assert not asyncio.run(admit(settings, with_more("buy"), "b"))


def test_a_claim_goes_with_its_changelog(bench, settings):
    assert asyncio.run(admit(settings, with_more("share"), "a"))
    admin = KafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    admin.delete_topics([bench.names.of(CHANGELOG)])
    wait_until(lambda: bench.names.of(CHANGELOG) not in admin.list_topics(), "it is deleted")
    admin.close()
    bench.create_topics()
    assert asyncio.run(admit(settings, with_more("buy"), "b"))


def test_what_is_no_claim_says_nothing():
    names = Names(("view", "click"), ("home",))
    assert unpack(pack(Claim("id", names))) == Claim("id", names)
    assert [unpack(other) for other in (None, "", "skip 1..2", "AAAA", "é")] == [None] * 5
