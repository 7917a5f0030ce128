"""The operating threshold keeps the false-alarm rate that it promises."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from irp_core.statistics.operating_point import operating_point


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("n", [99, 400])
@pytest.mark.parametrize("distribution", [stats.lognorm(0.5), stats.expon(), stats.pareto(3)])
def test_new_good_images_exceed_it_as_often_as_said(rate: float, n: int, distribution: stats.rv_continuous) -> None:
    alarms = []
    for seed in range(300):
        point = operating_point(distribution.rvs(n, random_state=seed), rate)
        assert point.basis == "quantile"
        alarms.append(distribution.sf(point.threshold))
    assert np.mean(alarms) <= rate + 3 * np.std(alarms) / np.sqrt(300)
    assert np.mean(alarms) >= rate - 1 / (n + 1) - 3 * np.std(alarms) / np.sqrt(300)


def test_ten_images_are_too_few_for_one_in_twenty() -> None:
    scores = np.exp(np.random.default_rng(0).normal(0, 0.2, 10))
    point = operating_point(scores, 0.05)
    assert (point.basis, point.images) == ("extrapolated", 10)
    assert point.threshold >= scores.max()
    assert operating_point(scores, 0.2).basis == "quantile"


def test_equal_scores_and_a_single_one() -> None:
    assert operating_point(np.full(50, 2.0), 0.05).threshold == 2.0
    assert operating_point(np.array([3.0]), 0.05).threshold == pytest.approx(3.0)


@pytest.mark.parametrize("bad", [np.array([]), np.array([1.0, np.nan])])
def test_no_scores_no_threshold(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="at least one score"):
        operating_point(bad, 0.05)
