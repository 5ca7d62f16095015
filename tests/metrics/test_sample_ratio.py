"""The test for a sample ratio mismatch, against another code of it, and in simulations."""

import numpy as np
import pytest
from scipy.stats import binomtest, chisquare

from rankstream.metrics.sample_ratio import share_p_value


@pytest.mark.parametrize(
    ("hits", "total", "share"),
    [(0, 0, 0.5), (0, 1, 0.5), (0, 8, 0.5), (3, 10, 0.1), (12, 400, 0.01), (60, 100, 0.5), (880, 1_000, 0.9),
     (5, 900_000, 1e-5), (40, 900_000, 1e-5), (0, 1_800, 0.5), (1_800, 1_800, 0.5)],
)  # fmt: skip
def test_few_are_tested_exactly(hits, total, share):
    wanted = binomtest(hits, total, share).pvalue if total else 1.0
    assert share_p_value(hits, total, share) == pytest.approx(wanted, rel=1e-6, abs=1e-300)


@pytest.mark.parametrize(("hits", "total", "share"), [(1_050, 2_000, 0.5), (900, 20_000, 0.05), (19_200, 20_000, 0.95)])
def test_many_are_tested_by_chi_square(hits, total, share):
    wanted = chisquare([hits, total - hits], [total * share, total * (1 - share)]).pvalue
    assert share_p_value(hits, total, share) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(("hits", "share", "wanted"), [(0, 0.0, 1.0), (1, 0.0, 0.0), (9, 1.0, 1.0), (8, 1.0, 0.0)])
def test_nobody_and_everybody_are_shares_too(hits, share, wanted):
    assert share_p_value(hits, 9, share) == wanted


@pytest.mark.parametrize(("total", "share"), [(300, 0.5), (5_000, 0.1), (20_000, 0.3)])
def test_right_shares_seldom_look_wrong_and_wrong_ones_mostly_do(total, share):
    rng = np.random.default_rng(7)
    right = [share_p_value(hits, total, share) for hits in rng.binomial(total, share, 400).tolist()]
    assert np.mean(np.array(right) < 0.05) < 0.09
    assert np.mean(np.array(right) < 0.001) < 0.01  # 0.001, of 400
    lost = 6 * np.sqrt(share * (1 - share) / total)
    wrong = [share_p_value(hits, total, share) for hits in rng.binomial(total, share - lost, 400).tolist()]
    assert np.mean(np.array(wrong) < 0.001) > 0.95
