"""The ensemble: either member may find a defect, and neither is heard only because its numbers are larger."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats

from irp_core.config import Params
from irp_core.detectors import PatchGaussian
from irp_core.detectors.cells.ensemble import Ensemble
from irp_core.detectors.folds import assign_folds, fold_by_fold
from irp_core.detectors.gaussian import Gaussian
from irp_core.detectors.out_of_fold import out_of_fold_scores
from irp_core.features.feature_set import FeatureSet

CPU = torch.device("cpu")


def images(count: int, seed: int, *, whole: float = 0.0, place: float = 0.0) -> FeatureSet:
    rng = np.random.default_rng(seed)
    pooled, cells = rng.normal(size=(count, 2, 10)) + whole, rng.normal(size=(count, 4, 5, 6))
    cells[:, 1, 2] += place
    return FeatureSet(pooled.astype(np.float32), cells=cells.astype(np.float16))


def ensemble() -> Ensemble:
    return Ensemble.build(images(2, 0), Params(), CPU)


def test_a_defect_of_the_whole_and_one_in_a_place_are_both_found() -> None:
    detector = ensemble()
    detector.fit(images(60, 0))
    good = detector.score(images(40, 1))
    assert detector.score(images(40, 2, whole=4.0)).min() > good.max()
    assert detector.score(images(40, 3, place=6.0)).min() > good.max()


def test_new_good_images_score_like_images_out_of_fold() -> None:
    """The scales are of scores that no image flattered: fitted on its own, an image seems less odd than it is."""
    training = images(60, 0)
    detector = ensemble()
    detector.fit(training)
    contents = [str(number) for number in range(60)]
    held_out = out_of_fold_scores(ensemble, training, contents, folds=5, epochs=1, seed=0).scores
    fresh = detector.score(images(60, 1))
    assert stats.ks_2samp(np.log(held_out), np.log(fresh)).pvalue > 0.01
    assert np.median(detector.score(training)) < np.median(fresh)


def test_out_of_fold_is_the_sum_over_members_with_the_scales_of_the_images_inside() -> None:
    training, inside = images(24, 0), np.arange(24) < 20
    folds = assign_folds([str(number) for number in range(24)], inside, 4, seed=1)
    expected, widths = np.zeros(24), []
    for member in (lambda: Gaussian(CPU), lambda: PatchGaussian(Params().patch_gaussian, CPU)):
        logs = np.log(fold_by_fold(member, training, folds, epochs=1, seed=1))
        expected -= stats.norm.logsf(logs, logs[inside].mean(), logs[inside].std())
        widths.append(logs[inside].std())
    found = ensemble().score_out_of_fold(training, folds, epochs=1, seed=1)
    together = stats.norm.isf(stats.chi2(4).sf(2 * expected))
    together = np.where(together < 0, together / (1 + np.abs(together)), together)
    np.testing.assert_allclose(found, np.exp(np.mean(widths) * together), rtol=1e-7)


def test_its_map_is_that_of_the_member_which_says_where() -> None:
    training, new = images(30, 0), images(5, 1)
    detector, alone = ensemble(), Ensemble.maps_alone.build(training, Params(), CPU)
    detector.fit(training)
    alone.fit(training)
    assert torch.equal(detector.maps(new), alone.maps(new))


def test_an_ordinary_image_scores_about_one_and_the_oddest_a_number() -> None:
    detector = ensemble()
    detector.fit(images(60, 0))
    assert 0.9 < np.median(detector.score(images(60, 1))) < 1.1
    far = detector.score(images(2, 2, whole=1e6, place=6e4))
    assert np.isfinite(far).all()
    assert far.min() > 10
