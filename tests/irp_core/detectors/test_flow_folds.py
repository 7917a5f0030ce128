"""Flows that train side by side are the flows that train one after another."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from irp_core.config import DifferNetParams, Training
from irp_core.detectors import DifferNet
from irp_core.detectors.folds import fold_by_fold
from irp_core.detectors.normalizing_flow import StandardizedFlow
from irp_core.detectors.out_of_fold import FoldsAtOnce
from irp_core.features.feature_set import FeatureSet

DIMENSIONS = 7
VIEWS = 3
EPOCHS = 4


def features(images: int, seed: int = 0) -> FeatureSet:
    scales = np.arange(1, DIMENSIONS + 1)
    pooled = np.random.default_rng(seed).normal(2.0, 1.0, (images, VIEWS, DIMENSIONS)) * scales
    return FeatureSet(pooled.astype(np.float32))


def make(batch_size: int = 8, learning_rate: float = 5e-3, standardize: bool = True) -> DifferNet:
    params = DifferNetParams(blocks=2, hidden=8, standardize=standardize)
    training = Training(batch_size=batch_size, learning_rate=learning_rate)
    return DifferNet(DIMENSIONS, params, training, torch.device("cpu"))


def assigned(*sizes: int, outside: int = 0) -> NDArray[np.intp]:
    """Folds of these sizes and images outside, mixed."""
    folds = np.repeat([*range(len(sizes)), -1], [*sizes, outside])
    mixed: NDArray[np.intp] = np.random.default_rng(5).permutation(folds).astype(np.intp)
    return mixed


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize(
    ("folds", "batch_size"),
    [
        # Training views of the three flows: batches.
        pytest.param(assigned(6, 6, 6), 8, id="36, 36, 36: alike"),
        pytest.param(assigned(6, 5, 5), 13, id="30, 33, 33: a shorter last batch"),
        pytest.param(assigned(5, 5, 4), 9, id="27, 27, 30: a batch less, in which a flow takes no step"),
        pytest.param(assigned(6, 5, 5, outside=4), 6, id="30, 33, 33: a batch less, images outside"),
        pytest.param(assigned(9, 2, 1, outside=2), 4, id="9, 30, 33: copies, several batches less"),
        pytest.param(assigned(3, 2, 3), 96, id="15, 18, 15: one batch"),
    ],
)
def test_equal_to_fold_by_fold(folds: NDArray[np.intp], batch_size: int, standardize: bool) -> None:
    images = features(len(folds))
    reference = fold_by_fold(lambda: make(batch_size, standardize=standardize), images, folds, epochs=EPOCHS, seed=3)
    scores = make(batch_size, standardize=standardize).score_out_of_fold(images, folds, epochs=EPOCHS, seed=3)
    np.testing.assert_allclose(scores, reference, rtol=1e-4)
    untrained = make(batch_size, standardize=standardize).score_out_of_fold(images, folds, epochs=0, seed=3)
    assert np.abs(np.log(untrained / reference)).max() > 0.01, "the comparison is of flows that learned something"


def test_images_outside_train_nothing_and_get_the_geometric_mean() -> None:
    folds = assigned(5, 4, 4, outside=3)
    images = features(len(folds))
    outside = folds < 0
    scores = make().score_out_of_fold(images, folds, epochs=EPOCHS, seed=1)
    others = images.pooled.copy()
    others[outside] = 1e3
    changed = make().score_out_of_fold(FeatureSet(others), folds, epochs=EPOCHS, seed=1)
    assert (changed[~outside] == scores[~outside]).all()
    logs = []
    for fold in range(3):
        detector = make()
        detector.fit(images[~outside & (folds != fold)], epochs=EPOCHS, seed=1)
        logs.append(np.log(detector.score(images[outside])))
    np.testing.assert_allclose(scores[outside], np.exp(np.mean(logs, axis=0)), rtol=1e-4)


def test_an_image_is_scored_without_having_trained() -> None:
    folds = assigned(5, 4, 4)
    images = features(len(folds))
    before = make().score_out_of_fold(images, folds, epochs=EPOCHS, seed=1)
    others = images.pooled.copy()
    others[np.flatnonzero(folds == 1)[0]] *= 3.0
    after = make().score_out_of_fold(FeatureSet(others), folds, epochs=EPOCHS, seed=1)
    same = before == after
    assert same[folds == 1].sum() == (folds == 1).sum() - 1
    assert not same[folds != 1].any()


def test_the_seed_decides_everything_and_the_detector_is_left_alone() -> None:
    folds = assigned(5, 4, 4, outside=2)
    images = features(len(folds))
    detector = make()
    detector.fit(images, epochs=1, seed=9)
    own = detector.score(images)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    scores = [detector.score_out_of_fold(images, folds, epochs=2, seed=seed) for seed in (3, 3, 4)]
    assert torch.equal(torch.get_rng_state(), state)
    assert (scores[0] == scores[1]).all()
    assert (scores[0] != scores[2]).all()
    assert (make().score_out_of_fold(images, folds, epochs=2, seed=3) == scores[0]).all()
    assert (detector.score(images) == own).all()


def test_divergence_is_reported_as_by_fit() -> None:
    folds = assigned(5, 4, 4)
    images = FeatureSet(features(len(folds)).pooled * 1e25)
    build = make(standardize=False)
    with pytest.raises(RuntimeError, match=r"diverged in epoch 1 .*lower training\.learning_rate") as alone:
        build.fit(images, epochs=2, seed=0)
    with pytest.raises(RuntimeError, match="diverged in epoch 1") as together:
        build.score_out_of_fold(images, folds, epochs=2, seed=0)
    assert str(together.value) == str(alone.value)


def test_refuses_what_it_cannot_score() -> None:
    folds = assigned(3, 3)
    broken = features(6).pooled.copy()
    broken[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        make().score_out_of_fold(FeatureSet(broken), folds, epochs=1, seed=0)
    for wrong in (folds[:-1], np.zeros(6, dtype=np.intp), np.full(6, -1), np.where(folds == 1, 2, folds)):
        with pytest.raises(ValueError, match="expects a fold for each of 6 images"):
            make().score_out_of_fold(features(6), wrong, epochs=1, seed=0)


def test_is_recognised() -> None:
    assert isinstance(make(), FoldsAtOnce)


def test_the_views_of_one_fold_at_a_time_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    standardize = StandardizedFlow.standardize
    copies: list[weakref.ref[torch.Tensor]] = []
    held = []

    def counted(self: StandardizedFlow, samples: torch.Tensor) -> None:
        copies.append(weakref.ref(samples))
        held.append(sum(copy() is not None for copy in copies))
        standardize(self, samples)

    monkeypatch.setattr(StandardizedFlow, "standardize", counted)
    make().score_out_of_fold(features(9), assigned(3, 3, 3), epochs=0, seed=0)
    assert held == [1, 1, 1]
