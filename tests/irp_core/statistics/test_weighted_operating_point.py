"""A threshold from a trimmed set keeps its promise, if the removed images count as what they probably are."""

from __future__ import annotations

import numpy as np
import pytest

from irp_core.statistics.operating_point import operating_point, weighted_operating_point

RATE = 0.05


def test_with_whole_weights_it_is_the_conformal_quantile() -> None:
    scores = np.exp(np.random.default_rng(0).normal(size=50))
    whole = weighted_operating_point(scores, np.ones(50), RATE)
    assert whole == operating_point(scores, RATE)
    bad = np.arange(50) < 10
    assert weighted_operating_point(scores, (~bad).astype(float), RATE) == operating_point(scores[~bad], RATE)


def alarms(n: int, share: float, seed: int) -> tuple[float, float]:
    """Alarm rates among new good images: by the kept images alone, and with the removed ones weighed."""
    rng = np.random.default_rng(seed)
    bad = np.arange(n) < round(share * n)
    logs = rng.normal(size=n) + 3.0 * bad
    odds = share / (1 - share) * np.exp(3.0 * logs - 4.5)  # the true posterior of two unit normal distributions
    good = 1.0 / (1.0 + odds)
    kept = good > 0.6
    new = np.exp(rng.normal(size=20_000))
    trimmed = operating_point(np.exp(logs[kept]), RATE).threshold
    weighed = weighted_operating_point(np.exp(logs), good, RATE).threshold
    return float((new > trimmed).mean()), float((new > weighed).mean())


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_the_promise_is_kept_where_the_kept_images_alone_would_break_it(share: float) -> None:
    rates = np.array([alarms(240, share, seed) for seed in range(30)]).mean(axis=0)
    assert rates[0] > rates[1]
    assert 0.035 <= rates[1] <= 0.065


def test_too_little_weight_is_extrapolated() -> None:
    scores = np.exp(np.random.default_rng(1).normal(size=12))
    point = weighted_operating_point(scores, np.full(12, 0.9), RATE)
    assert point.basis == "extrapolated"
    assert point.threshold >= scores.max()


@pytest.mark.parametrize("good", [[0.0, 0.0], [1.2, 1.0], [np.nan, 1.0], [1.0]])
def test_bad_weights_are_refused(good: list[float]) -> None:
    with pytest.raises(ValueError, match="weighted_operating_point"):
        weighted_operating_point(np.array([1.0, 2.0]), np.array(good), RATE)
