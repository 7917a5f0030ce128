"""The maps of a training set, each by detectors that did not train on the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from irp_core.detectors.folds import assign_folds
from irp_core.detectors.protocol import Detector, Localises
from irp_core.features.feature_set import FeatureSet
from irp_core.localisation.scale import Cells

__all__ = ["out_of_fold_maps"]


def out_of_fold_maps(
    build: Callable[[], Detector],
    features: FeatureSet,
    contents: Sequence[str],
    inside: NDArray[np.bool_],
    *,
    folds: int,
    epochs: int,
    seed: int,
    see: Callable[[Detector, NDArray[np.bool_]], Cells] | None = None,
) -> Cells:
    """Cells (n, rows, columns) of each image by a detector that did not train on it or on a copy of it.

    Args:
        build: makes an untrained detector, which localises, unless `see` says how it is seen where.
        contents: digest of each image (n,): copies share a fold.
        inside: which images are trained on (n,); the map of another is the mean over the folds' detectors.
        see: the cells of some images by a fitted detector. None: its own maps of their features.

    Raises:
        ValueError: fewer than two different images inside.
    """
    assigned = assign_folds(contents, inside, folds, seed=seed)
    count, found = int(assigned.max()) + 1, None
    for fold in range(count):
        detector = build()
        detector.fit(features[inside & (assigned != fold)], epochs=epochs, seed=seed)
        for chosen, share in ((assigned == fold, 1.0), (~inside, 1.0 / count)):
            if not chosen.any():
                continue
            maps = _maps(detector, features[chosen]) if see is None else see(detector, chosen)
            if found is None:
                found = np.zeros((len(features), *maps.shape[1:]), dtype=np.float32)
            found[chosen] += maps * np.float32(share)
    assert found is not None
    return found


def _maps(detector: Detector, features: FeatureSet) -> Cells:
    assert isinstance(detector, Localises)
    found: Cells = detector.maps(features).numpy()
    return found
