"""A worker whose wall clock is set while it runs: what brokers refuse for its time is named, and nothing is lost."""

import pytest

from chaos.clocks import Clock, can_jump
from tests.kafka.harness import wait_until

pytestmark = pytest.mark.broker


def test_a_clock_hours_ahead_ends_the_worker_with_a_sentence_and_set_right_all_goes_on(bench, broker):
    if not broker.is_kafka or not can_jump():
        pytest.skip("needs brokers that look at records' times, and a C compiler")
    bench.create_topics()
    clock = Clock(bench.folder, "worker")
    worker = bench.worker(**clock.environment)
    worker.wait_ready()
    clock.jump(2 * 3_600)
    bench.send_actions(400, bad_every=50)
    wait_until(lambda: worker.process.poll() is not None, "the worker has ended")
    assert "the brokers refuse records that this machine stamps, whose clock says" in worker.log
    clock.jump(0)
    bench.worker(**clock.environment)
    bench.wait_committed(400)
    bench.workers[-1].terminate()
    assert bench.states() == bench.expected_states()
    assert bench.dead_letters().keys() == bench.bad_records()
