"""A plan is nothing but its seed, and each kind of fault has its turn."""

from collections.abc import Sequence

import pytest

from chaos.plan import ALL, EVERY_S, FIRST_S, OF_WORKERS, POISON, Fault, Kind, plan_of, told
from chaos.world import kinds_of


def a_plan(seed: int = 1, seconds: float = 200.0, kinds: Sequence[Kind] = ALL) -> list[Fault]:
    return plan_of(seed, seconds, workers=3, session_timeout_s=6.0, kinds=kinds)


def test_the_same_seed_gives_the_same_plan_and_another_one_another():
    assert a_plan(seed=7) == a_plan(seed=7) != a_plan(seed=8)


@pytest.mark.parametrize("kinds", [ALL, OF_WORKERS], ids=["all", "of workers"])
def test_every_kind_comes_once_before_any_comes_again(kinds):
    plan = a_plan(seconds=FIRST_S + len(kinds) * EVERY_S + 1, kinds=kinds)
    dealt = [fault.kind for fault in plan if fault.kind not in POISON]
    assert {fault.kind for fault in plan} == {*kinds, *POISON}
    assert len(dealt) == len(set(dealt)) == len(kinds)


def test_what_a_machine_does_not_allow_is_left_out():
    assert set(kinds_of(with_kafka=True, with_disks=True, with_clocks=True)) == set(ALL)
    assert set(kinds_of(with_kafka=False, with_disks=False, with_clocks=False)) == set(OF_WORKERS)


def test_faults_come_in_order_of_time_and_within_the_run():
    times = [fault.at_s for fault in a_plan()]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] <= 200


def test_a_worker_stands_still_or_hears_nothing_for_longer_than_its_session():
    long = [fault.lasts_s for fault in a_plan(seconds=800) if fault.kind in (Kind.STAND_STILL, Kind.HALF_OPEN)]
    assert len(long) > 4
    assert min(long) > 6.0


def test_a_plan_is_told_a_line_a_fault():
    plan = [Fault(1.5, Kind.KILL, 2), Fault(12.0, Kind.KILL_BROKER, 0, 3.5), Fault(13.0, Kind.HUGE, 0)]
    assert told(plan).splitlines() == [
        "    1.5 s  worker killed 2",
        "   12.0 s  broker killed for 3.5 s",
        "   13.0 s  poison: huge",
    ]
