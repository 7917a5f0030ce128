"""The mixture rule's guarantee and the contamination estimate, by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from irp_core.statistics.mixture import estimate_contamination, fit_mixture, mixture_threshold

pytestmark = pytest.mark.usefixtures("few_resamples")


def simulated(n: int, share: float, distance: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-normal scores, of which `share` lie `distance` standard deviations higher, and which these are."""
    rng = np.random.default_rng(seed)
    bad = np.arange(n) < round(share * n)
    return np.exp(0.3 * (rng.normal(0.0, 1.0, n) + distance * bad)), bad


@pytest.mark.parametrize("n", [64, 400])
def test_nothing_goes_where_nothing_is_wrong(n: int) -> None:
    removed = [
        (scores > mixture_threshold(scores, 0.1)).mean() for scores, _ in (simulated(n, 0, 0, s) for s in range(100))
    ]
    assert np.mean([share > 0 for share in removed]) <= 0.1
    assert np.mean(removed) <= 0.01


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("fdr", [0.05, 0.2])
def test_the_share_of_good_images_among_the_removed_is_bounded(share: float, fdr: float) -> None:
    false, found = [], []
    for seed in range(40):
        scores, bad = simulated(400, share, 4.0, seed)
        removed = scores > mixture_threshold(scores, fdr)
        false.append((removed & ~bad).sum() / max(1, removed.sum()))
        found.append((removed & bad).sum() / bad.sum())
    assert np.mean(false) <= fdr + 2 * np.std(false) / np.sqrt(40)
    assert np.mean(found) >= 0.85


@pytest.mark.parametrize("n", [64, 120])
def test_a_bound_with_confidence_halves_the_alarms_over_clean_sets_that_are_not_quite_normal(n: int) -> None:
    """Scores with a heavier tail than the model knows (Student's t): as a plant's rare good images have them."""
    alarms = {0.0: 0, 0.95: 0}
    for seed in range(40):
        scores = np.exp(0.3 * np.random.default_rng(seed).standard_t(4, n))
        for confidence in alarms:
            alarms[confidence] += int((scores > mixture_threshold(scores, 0.2, confidence=confidence)).sum())
    assert alarms[0.95] <= alarms[0.0] / 2


def test_clear_contamination_goes_with_confidence_too_and_never_more_than_without() -> None:
    for seed in range(5):
        scores, bad = simulated(400, 0.3, 6.0, seed)
        free, bound = (scores > mixture_threshold(scores, 0.05, confidence=c) for c in (0.0, 0.95))
        assert not (bound & ~free).any()
        assert (bound & bad).sum() >= 0.75 * bad.sum()
        assert not (bound & ~bad).any()


def test_another_detectors_bound_says_how_many_but_not_whether() -> None:
    scores, _ = simulated(400, 0.3, 6.0, 0)
    gone = [(scores > mixture_threshold(scores, 0.05, confidence=0.95, lower_bound=s)).sum() for s in (0.0, 0.1, None)]
    assert gone[:2] == [0, 40]
    assert gone[2] == (scores > mixture_threshold(scores, 0.05, confidence=0.95)).sum() > 40
    # Scores of one population: nothing is removed, whatever the local detector's bound.
    clean, _ = simulated(400, 0.0, 0.0, 0)
    assert not (clean > mixture_threshold(clean, 0.05, confidence=0.95, lower_bound=0.5)).any()
    # Without a confidence there is no bound at all.
    assert mixture_threshold(scores, 0.05, lower_bound=0.1) == mixture_threshold(scores, 0.05)


def test_the_bound_depends_on_the_seed_and_not_on_the_images_order() -> None:
    scores, _ = simulated(100, 0.2, 3.0, 2)
    limits = {
        mixture_threshold(order, 0.2, confidence=0.95, seed=1)
        for order in (scores, scores[::-1], np.random.default_rng(0).permutation(scores))
    }
    assert len(limits) == 1


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_the_contamination_is_estimated_with_an_interval(share: float) -> None:
    covered = 0
    for seed in range(5):
        scores, _ = simulated(300, share, 4.0, seed)
        found = estimate_contamination(scores, seed=0)
        assert found.share == pytest.approx(share, abs=0.08)
        covered += found.low <= share <= found.high
    assert covered >= 3


def test_a_clean_set_has_no_contamination() -> None:
    scores, _ = simulated(300, 0.0, 0.0, 1)
    found = estimate_contamination(scores, seed=0)
    assert (found.share, found.low) == (0.0, 0.0)


@pytest.mark.parametrize("scores", [np.ones(50), np.array([1.0, 2.0, 900.0]), np.full(12, 1e-300)])
def test_what_cannot_be_told_apart_stays(scores: np.ndarray) -> None:
    assert fit_mixture(scores).share == 0.0
    assert not (scores > mixture_threshold(scores, 0.1)).any()


def test_a_lower_score_is_never_removed_before_a_higher_one() -> None:
    scores, _ = simulated(200, 0.2, 3.0, 5)
    good = fit_mixture(scores).good[np.argsort(scores)]
    assert (np.diff(good) <= 1e-12).all()
