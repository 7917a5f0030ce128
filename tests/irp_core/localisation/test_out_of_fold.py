"""Whose map an image's is: a detector's that did not train on it, nor on a copy of it."""

from __future__ import annotations

import numpy as np
import torch

from irp_core.config import PatchGaussianParams
from irp_core.detectors.cells.patch_gaussian import PatchGaussian
from irp_core.features.feature_set import FeatureSet
from irp_core.localisation.out_of_fold import out_of_fold_maps


def test_no_detector_trained_on_the_image_whose_map_it_makes() -> None:
    rng = np.random.default_rng(0)
    images = FeatureSet(np.zeros((13, 1, 2), dtype=np.float32), cells=rng.normal(size=(13, 3, 2, 4)).astype(np.float16))
    contents = [str(number // 2) for number in range(13)]  # pairs of copies
    inside = np.arange(13) < 10
    trained: list[set[int]] = []

    class Noted(PatchGaussian):
        def fit(self, features: FeatureSet, **options: int) -> list:  # type: ignore[override, type-arg]
            cells = [image.tobytes() for image in images.cells]  # type: ignore[union-attr]
            trained.append({cells.index(one.tobytes()) for one in features.cells})  # type: ignore[union-attr]
            return super().fit(features)

    found = out_of_fold_maps(
        lambda: Noted(PatchGaussianParams(), torch.device("cpu")), images, contents, inside, folds=3, epochs=1, seed=0
    )
    assert set().union(*trained) == set(range(10))
    for image in range(10):
        (others,) = [them for them in trained if image not in them]
        assert {contents[one] for one in others}.isdisjoint({contents[image]})
        alone = PatchGaussian(PatchGaussianParams(), torch.device("cpu"))
        alone.fit(images[np.array(sorted(others))])
        assert np.array_equal(found[image], alone.maps(images[np.array([image])])[0].numpy())
    each = []
    for them in trained:
        alone = PatchGaussian(PatchGaussianParams(), torch.device("cpu"))
        alone.fit(images[np.array(sorted(them))])
        each.append(alone.maps(images[np.arange(10, 13)]).numpy())
    np.testing.assert_allclose(found[10:], np.mean(each, axis=0), rtol=1e-6)
