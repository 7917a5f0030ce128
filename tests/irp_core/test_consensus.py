"""The start that defects cannot move, and the end of a refinement from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from irp_core.config import Params
from irp_core.detectors.consensus import Consensus
from irp_core.feature_set import FeatureSet


def plant(good: int, bad: int, seed: int) -> FeatureSet:
    """Images of one motif with noise; in a defective one two of 16 patches hold something that no other image does."""
    rng = np.random.default_rng(seed)
    motif = np.random.default_rng(99).normal(0.0, 1.0, (16, 8))
    patches = motif + rng.normal(0.0, 0.2, (good + bad, 16, 8))
    for image in range(good, good + bad):
        patches[image, rng.choice(16, 2, replace=False)] += rng.normal(0.0, 2.0, (2, 8))
    pooled = patches.mean(axis=1)[:, None, :]
    return FeatureSet(pooled.astype(np.float32), patches.astype(np.float32))


@pytest.mark.parametrize(
    ("bad", "if_heavy", "half"),
    [(0, False, False), (0, True, False), (8, False, True), (8, True, False), (32, False, True), (32, True, True)],
)
def test_the_start_is_half_where_enough_is_wrong(bad: int, if_heavy: bool, half: bool) -> None:
    features = plant(80 - bad, bad, 3)
    chosen = Consensus.build(features, Params(), torch.device("cpu")).most_ordinary(features, if_heavy=if_heavy, seed=0)
    assert chosen.sum() == (40 if half else 80)
    if half:
        assert not chosen[80 - bad :].any()
