"""A plan is nothing but its seed, and each kind of fault has its turn."""

import pytest

from chaos.plan import EVERY_S, OF_BROKERS, OF_WORKERS, POISON, Fault, Kind, plan_of, told


def a_plan(seed: int = 1, seconds: float = 200.0, with_broker: bool = True) -> list[Fault]:
    return plan_of(seed, seconds, workers=3, session_timeout_s=6.0, with_broker=with_broker)


def test_the_same_seed_gives_the_same_plan_and_another_one_another():
    assert a_plan(seed=7) == a_plan(seed=7) != a_plan(seed=8)


@pytest.mark.parametrize("with_broker", [True, False])
def test_every_kind_comes_once_before_any_comes_again(with_broker):
    kinds = {*OF_WORKERS, *POISON} | (set(OF_BROKERS) if with_broker else set())
    turns = len(kinds - set(POISON))
    plan = a_plan(seconds=8 + turns * EVERY_S + 1, with_broker=with_broker)
    dealt = [fault.kind for fault in plan if fault.kind not in POISON]
    assert {fault.kind for fault in plan} == kinds
    assert len(dealt) == len(set(dealt)) == turns


def test_faults_come_in_order_of_time_and_within_the_run():
    times = [fault.at_s for fault in a_plan()]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] <= 200


def test_a_worker_stands_still_for_longer_than_its_session():
    still = [fault.lasts_s for fault in a_plan() if fault.kind is Kind.STAND_STILL]
    assert still
    assert min(still) > 6.0


def test_a_plan_is_told_a_line_a_fault():
    plan = [Fault(1.5, Kind.KILL, 2), Fault(12.0, Kind.KILL_BROKER, 0, 3.5), Fault(13.0, Kind.HUGE, 0)]
    assert told(plan).splitlines() == [
        "    1.5 s  worker killed 2",
        "   12.0 s  broker killed for 3.5 s",
        "   13.0 s  poison: huge",
    ]
