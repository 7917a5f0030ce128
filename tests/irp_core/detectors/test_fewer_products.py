"""Votes that cannot change a score are not counted; the score has the same bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from irp_core.batches.lanes import Lanes
from irp_core.config import PatchKnnParams
from irp_core.detectors import patch_knn
from irp_core.detectors.patch_knn import PatchKnn
from irp_core.features.feature_set import FeatureSet

IMAGES, PATCHES, CHANNELS = 150, 64, 8
CPU = torch.device("cpu")


def a_set(spread: float) -> FeatureSet:
    """Images whose patches differ by `spread` in how unusual they are; some are copies of others."""
    rng = np.random.default_rng(0)
    scale = np.exp(spread * rng.normal(size=(IMAGES, PATCHES, 1)))
    patches = (rng.normal(size=(1, PATCHES, CHANNELS)) + scale * rng.normal(size=(IMAGES, PATCHES, CHANNELS))).astype(
        "f4"
    )
    patches[7], patches[90] = patches[3], patches[3]
    return FeatureSet(np.zeros((IMAGES, 1, 2), dtype=np.float32), patches=patches)


def by_all_votes(detector: PatchKnn, features: FeatureSet, voter: NDArray[np.intp]) -> NDArray[np.float64]:
    worst = round(detector.params.worst * PATCHES)
    return np.array(
        [float(image.double().topk(worst).values.mean()) for image in detector.distances_to_votes(features, voter)]
    )


@pytest.mark.parametrize("votes", [0.01, 0.05, 0.3, 0.5])
@pytest.mark.parametrize("spread", [0.0, 1.0])
@pytest.mark.parametrize("lanes", [None, Lanes(2)], ids=["one after another", "side by side"])
def test_a_score_is_that_of_all_votes_on_all_patches(
    votes: float, spread: float, lanes: Lanes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patch_knn, "lanes_for", lambda _: lanes)
    monkeypatch.setattr(patch_knn, "_VOTERS", 8)
    monkeypatch.setattr(patch_knn, "_FIRST", 16)
    monkeypatch.setattr(patch_knn, "_GROUP", 7)
    features = a_set(spread)
    detector = PatchKnn(PatchKnnParams(votes=votes, bank=101), CPU)
    detector.fit(features, seed=0)
    voter = np.arange(IMAGES)
    voter[20:40] = 20  # near-copies, as somebody found
    expected = by_all_votes(detector, features, voter)
    assert detector.score_voting_once(features, voter).tolist() == expected.tolist()
    one = features[np.array([33])]
    assert detector.score(one).tolist() == by_all_votes(detector, one, np.array([0])).tolist()


def test_where_patches_differ_most_products_are_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_knn, "_VOTERS", 8)
    monkeypatch.setattr(patch_knn, "_FIRST", 16)
    features = a_set(1.0)
    detector = PatchKnn(PatchKnnParams(bank=128), CPU)
    detector.fit(features, seed=0)
    products = 0
    nearest = detector._nearest

    def counted(query: torch.Tensor, squares: torch.Tensor, start: int, end: int) -> torch.Tensor:
        nonlocal products
        products += -(-len(query) // PATCHES) * PATCHES * (end - start)
        return nearest(query, squares, start, end)

    monkeypatch.setattr(detector, "_nearest", counted)
    detector.score(features)
    assert products < 0.5 * IMAGES * PATCHES * 128
