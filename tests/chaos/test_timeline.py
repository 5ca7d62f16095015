"""What a run's plot is drawn from, and that it is drawn."""

import msgspec

from chaos.ledger import Ledger
from chaos.plan import Fault, Kind
from chaos.plot import draw
from chaos.storm import JUMP_S
from chaos.system import Condition
from chaos.timeline import Answer, Timeline, waited_of

UP, DOWN, STILL = Condition.UP, Condition.DOWN, Condition.STILL


def a_timeline() -> Timeline:
    timeline = Timeline([Fault(2.0, Kind.KILL, 1), Fault(3.0, Kind.CUT, 0, 4.5), Fault(5.0, Kind.HUGE, 0)])
    for at_s, conditions in (
        (0.0, (UP, UP)),
        (1.0, (UP, UP)),
        (2.0, (UP, DOWN)),
        (3.0, (STILL, DOWN)),
        (4.0, (UP, UP)),
    ):
        timeline.see(at_s, conditions)
    timeline.sent, timeline.applied = [(1.0, 1_000), (2.0, 2_000)], [(1.0, 900), (2.0, 2_000)]
    timeline.answers = [Answer(0.5, 0.02), Answer(0.7, 1.5), Answer(1.2, None)]
    return timeline


def test_looks_at_workers_become_spans_of_one_condition():
    spans = [(one.worker, one.condition, one.from_s, one.to_s) for one in a_timeline().spans]
    assert [span for span in spans if span[0] == 0] == [(0, UP, 0.0, 3.0), (0, STILL, 3.0, 4.0), (0, UP, 4.0, 4.0)]
    assert [span for span in spans if span[0] == 1] == [(1, UP, 0.0, 2.0), (1, DOWN, 2.0, 4.0), (1, UP, 4.0, 4.0)]


def test_how_long_a_request_waited_is_known_though_a_clock_was_off():
    assert waited_of(10_000, 10_250) == 0.25
    assert waited_of(10_000, 10_250 + 1000 * JUMP_S) == 0.25
    assert waited_of(10_000, 10_250 - 1000 * JUMP_S) == 0.25
    assert waited_of(10_000, 610_000) == 600


def test_the_plot_shows_faults_requests_and_workers(tmp_path):
    ledger = Ledger(7, 2, "Apache Kafka", faults={"worker killed": 1}, unanswered=1)
    draw(ledger, a_timeline(), tmp_path / "plot.svg")
    svg = (tmp_path / "plot.svg").read_text()
    assert ">broker<" not in svg  # it was spared
    for words in ("worker killed", "network cut", "never answered", "worker 1", "seed 7: NOT CLEAN", "standing still"):
        assert words in svg


def test_a_broker_that_was_hit_has_a_row_behind_the_workers(tmp_path):
    timeline = Timeline()
    for at_s, broker in enumerate((UP, DOWN, UP)):
        timeline.see(float(at_s), [UP, broker])
    draw(Ledger(7, 1, "Apache Kafka"), timeline, tmp_path / "plot.svg")
    assert ">broker<" in (tmp_path / "plot.svg").read_text()


def test_a_run_in_which_nothing_happened_is_drawn_too(tmp_path):
    draw(Ledger(7, 1, "embedded broker"), Timeline(), tmp_path / "plot.svg")
    assert "seed 7: clean" in (tmp_path / "plot.svg").read_text()


def test_a_timeline_is_written_as_json():
    written = msgspec.json.decode(a_timeline().written())
    assert written["faults"][1] == {"at_s": 3.0, "kind": "network cut", "worker": 0, "lasts_s": 4.5}
    assert written["spans"][0] == {"worker": 0, "condition": "up", "from_s": 0.0, "to_s": 3.0}
