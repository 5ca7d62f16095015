"""What a worker asks of the interpreter."""

import gc
import sys

import pytest

from rankstream.streams.worker.interpreter import GC_THRESHOLDS, SWITCH_S, settle


@pytest.fixture
def put_back():
    """Leave the interpreter as it was."""
    thresholds, switch_s = gc.get_threshold(), sys.getswitchinterval()
    yield
    gc.set_threshold(*thresholds)
    sys.setswitchinterval(switch_s)


@pytest.mark.usefixtures("put_back")
def test_what_is_loaded_is_left_out_of_collections_and_threads_give_way_sooner():
    settle()
    assert gc.get_threshold() == GC_THRESHOLDS
    assert gc.get_freeze_count() > 0
    assert sys.getswitchinterval() == SWITCH_S < 0.005
