"""A minute of faults by a seeded plan: nothing is lost, doubled or wrong. ``make chaos`` has the long form."""

import pytest

from chaos.ledger import table
from chaos.load import Amount
from chaos.oracle import Differences
from chaos.plan import OF_WORKERS
from chaos.run import LIVE, LOGGED, RESTORED, Trial, run
from chaos.world import World

pytestmark = [pytest.mark.broker, pytest.mark.slow]

SHORT = Trial(seed=1, workers=2, amount=Amount(actions=20_000, users=1_000, seconds=55.0))


def test_a_minute_of_faults_loses_nothing_and_doubles_nothing(bench, broker):
    if not broker.is_kafka:
        pytest.skip("the embedded broker takes three minutes for it: `python -m chaos` runs it there too")
    ledger, timeline = run(SHORT, bench, World("Apache Kafka", broker.bootstrap_servers), print)
    told = table(ledger)
    print(told)
    assert all(ledger.faults.get(kind.value) for kind in OF_WORKERS), "a fault of workers did not happen"
    assert ledger.states == dict.fromkeys([LIVE, LOGGED, RESTORED], Differences()), told
    assert (ledger.users, ledger.poison) == (1_000, 8)
    assert ledger.records > SHORT.amount.actions + ledger.poison, "no duplicates were sent"
    assert ledger.is_clean, told
    assert len(timeline.answers) == ledger.requests
    assert {span.worker for span in timeline.spans} == {0, 1}
