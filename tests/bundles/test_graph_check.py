"""Graphs that would hold or end who opens them are refused before ONNX Runtime sees them, or while they run."""

from contextlib import suppress

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankstream.bundles import graphs
from rankstream.bundles.graph_check import HarmfulGraphError, check_graph
from rankstream.bundles.graphs import open_graph, time_limit
from tests.builders.bundle import a_bundle
from tests.builders.hostile_graphs import REFUSED, bytes_of, of_doubled_shapes, that_grows, that_takes_long


def opened(folder, model):
    path = folder / "hostile.onnx"
    path.write_bytes(bytes_of(model))
    return open_graph(path)


@pytest.mark.parametrize("told", REFUSED)
def test_what_no_export_holds_is_refused_in_one_sentence(tmp_path, told):
    with pytest.raises(HarmfulGraphError, match=rf"^hostile.onnx .*{told.strip()}") as refused:
        opened(tmp_path, REFUSED[told]())
    assert "\n" not in str(refused.value)


def test_of_what_comes_twice_all_is_looked_at():
    """Parsers take the last value of a field that comes twice, and put messages together."""
    sound, hostile = (bytes_of(onnx.ModelProto()), bytes_of(REFUSED["operator 'Loop'"]()))
    for data in (hostile + sound, sound + hostile, hostile + hostile):
        with pytest.raises(HarmfulGraphError, match="Loop"):
            check_graph(data)


def test_shapes_that_double_a_thousand_times_take_no_time_to_refuse():
    with pytest.raises(HarmfulGraphError, match=r"makes 4,611,686,018,427,387,904 entries by one Expand"):
        check_graph(bytes_of(of_doubled_shapes()))


def test_tensors_that_make_12_gb_of_each_other_end_with_a_sentence_and_not_with_the_memory(tmp_path):
    graph = opened(tmp_path, that_grows())
    with pytest.raises(Exception, match="memory"):
        graph.run(None, {"x": np.zeros(1, np.float32)})
    assert opened(tmp_path, that_grows(rows=100)).run(None, {"x": np.zeros(1, np.float32)})[0] == 0


def test_a_graph_that_takes_too_long_to_prove_is_stopped(tmp_path):
    graph = opened(tmp_path, that_takes_long())
    with time_limit(0.2), pytest.raises(Exception, match="terminate"):
        graph.run(None, {"x": np.zeros(1, np.float32)})
    quick = opened(tmp_path, that_takes_long(products=1))
    assert quick.run(None, {"x": np.zeros(1, np.float32)})[0] == 0  # the limit is gone with its block


@pytest.fixture(scope="module")
def graph(tmp_path_factory) -> bytes:
    return (a_bundle(tmp_path_factory.mktemp("one") / "bundle") / "candidate.onnx").read_bytes()


@settings(max_examples=60)
@given(st.data())
def test_no_damage_brings_anything_but_a_refusal(graph, data):
    at, byte = data.draw(st.integers(0, len(graph) - 1)), data.draw(st.integers(0, 255))
    for damaged in (graph[:at], graph[:at] + bytes([byte]) + graph[at + 1 :]):
        with suppress(HarmfulGraphError):
            check_graph(damaged)


def test_the_memory_of_all_graphs_together_is_bounded():
    assert graphs.MAX_FOLDED_BYTES < graphs.MAX_ARENA_BYTES <= 2 << 30
