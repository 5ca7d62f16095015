"""Which scorer runs the graphs: the one that was asked for or none, and for ``auto`` the fastest that is right."""

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from rankstream.bundles.golden import read_golden, write_golden
from rankstream.ranking.backends.fastest import choice_of, open_fastest
from rankstream.ranking.backends.scorers import ONNXRUNTIME, ScorerRefusedError, scorer_named
from rankstream.ranking.bundle import BundleRefusedError, open_bundle, with_scorer
from tests.builders.bundle import a_bundle
from tests.builders.patience import PATIENCE_S

BF16 = "openvino-bf16"


@pytest.fixture
def bundle(tmp_path):
    return a_bundle(tmp_path / "bundle")


@pytest.fixture
def no_openvino(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    for name in ("openvino", "openvino_runtime"):
        monkeypatch.delitem(sys.modules, f"rankstream.ranking.backends.{name}", raising=False)


def test_a_bundle_is_scored_by_onnx_runtime_unless_another_scorer_is_named(bundle):
    if find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    opened = open_bundle(bundle)
    assert opened.scorer == ONNXRUNTIME
    assert open_bundle(bundle, scorer="openvino").scorer == with_scorer(opened, "openvino").scorer == "openvino"
    assert with_scorer(opened, ONNXRUNTIME) is opened


def test_a_scorer_that_is_not_installed_is_refused_with_what_to_install(bundle, no_openvino):
    with pytest.raises(
        BundleRefusedError, match=r"can't be opened: OpenVINO can't be imported .*rankstream\[openvino\]"
    ):
        open_bundle(bundle, scorer=BF16)


def test_auto_does_without_what_is_not_installed_and_says_so(bundle, no_openvino, caplog):
    assert open_bundle(bundle, scorer="auto").scorer == ONNXRUNTIME
    assert "scorer auto leaves out openvino-bf16: OpenVINO can't be imported" in caplog.text


def spoil_golden(folder, by):
    """Change the golden probabilities, as a scorer would that computes others."""
    golden = read_golden(folder / "golden.npz")
    golden["ranker"] = [case | {"probabilities": case["probabilities"] + np.float32(by)} for case in golden["ranker"]]
    write_golden(folder / "golden.npz", golden)


def test_a_scorer_further_off_than_its_bound_is_refused_and_within_it_is_not(bundle):
    if find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    opened = open_bundle(bundle)
    spoil_golden(bundle, 0.03)
    assert with_scorer(opened, "openvino-int8").scorer == "openvino-int8"  # its bound is 0.05
    with pytest.raises(BundleRefusedError, match=r"with the scorer openvino are up to 0.03 off .* set scorer = onnxr"):
        with_scorer(opened, "openvino")


def test_auto_leaves_out_a_scorer_that_is_further_off_than_its_bound(bundle, caplog):
    if find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    manifest = open_bundle(bundle).manifest
    spoil_golden(bundle, 0.03)
    assert open_fastest(bundle, manifest, ("CPUExecutionProvider",), tried=["openvino"]).scorer == ONNXRUNTIME
    assert "leaves out openvino: its outputs are up to 0.03 off the golden ones, wanted 0.0001" in caplog.text


def test_auto_opens_the_one_that_is_chosen_and_says_how_fast_each_was(bundle, caplog):
    if find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    caplog.set_level("INFO")
    manifest = open_bundle(bundle).manifest
    chosen = open_fastest(bundle, manifest, ("CPUExecutionProvider",), tried=["openvino"]).scorer
    assert f"scorer auto takes {chosen}; candidates a second and core: onnxruntime" in caplog.text


@pytest.mark.parametrize(("speed", "chosen"), [(1.05, ONNXRUNTIME), (1.2, BF16), (0.5, ONNXRUNTIME)])
def test_a_scorer_that_is_hardly_faster_does_not_displace_the_default(speed, chosen):
    assert choice_of({ONNXRUNTIME: 1.0, BF16: speed}) == chosen


def test_a_scorer_of_another_version_is_refused_by_name():
    with pytest.raises(ScorerRefusedError, match="no scorer 'abacus' in this version, only onnxruntime, openvino"):
        scorer_named("abacus")


def test_serving_loads_no_runtime_that_was_not_chosen():
    names = "('torch', 'onnx', 'openvino', 'rankstream.ranking.backends.cuda', 'rankstream.ranking.backends.openvino')"
    code = f"import sys, rankstream.ranking.serving; print([name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert done.stdout.strip() == "[]"
