"""The witness that defects cannot move: whom it calls ordinary, how much it supports, and when the votes count."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from irp_core.config import Params
from irp_core.detectors.consensus import Consensus
from irp_core.feature_set import FeatureSet
from irp_core.out_of_fold import out_of_fold_scores
from irp_core.refinement import PRESETS, policy_of
from irp_core.rounds import decide, decision_round

CPU = torch.device("cpu")


def plant(good: int, bad: int, seed: int) -> FeatureSet:
    """Images of one motif with noise; in a defective one two of 16 patches hold something that no other image does."""
    rng = np.random.default_rng(seed)
    motif = np.random.default_rng(99).normal(0.0, 1.0, (16, 8))
    patches = motif + rng.normal(0.0, 0.2, (good + bad, 16, 8))
    kurtosis = rng.normal(1.0, 0.3, (good + bad, 32))
    for image in range(good, good + bad):
        patches[image, rng.choice(16, 2, replace=False)] += rng.normal(0.0, 2.0, (2, 8))
        kurtosis[image, rng.choice(32, 20, replace=False)] += rng.exponential(1.0, 20)
    pooled = patches.mean(axis=1)[:, None, :]
    return FeatureSet(pooled.astype(np.float32), patches.astype(np.float32), kurtosis.astype(np.float32))


def consensus(features: FeatureSet) -> Consensus:
    return Consensus.build(features, Params(), CPU)


@pytest.mark.parametrize("bad", [0, 8, 32])
def test_the_ordinary_ones_are_the_good_ones(bad: int) -> None:
    features = plant(80 - bad, bad, 3)
    ordinary = consensus(features).most_ordinary(features)
    assert not ordinary[80 - bad :].any()
    assert ordinary[: 80 - bad].mean() >= 0.95


def test_half_is_ordinary_at_least() -> None:
    features = plant(30, 50, 3)
    assert consensus(features).most_ordinary(features).sum() >= 40


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
def test_no_more_is_supported_than_there_is(share: float) -> None:
    found = []
    for seed in range(3):
        bad = round(share * 80)
        features = plant(80 - bad, bad, seed)
        found.append(consensus(features).supported_share(features, confidence=0.95))
    assert np.mean([one > share for one in found]) <= 0.34
    assert np.mean(found) >= share / 2


def test_the_kurtosis_alone_where_the_votes_are_noise() -> None:
    features = plant(60, 20, 1)
    noise = np.random.default_rng(0).normal(0.0, 1.0, (80, 16, 8)) * np.random.default_rng(1).lognormal(
        0, 1, (80, 16, 1)
    )
    blurred = FeatureSet(features.pooled, noise.astype(np.float32), features.kurtosis)
    witness = consensus(blurred)
    witness.fit(blurred)
    assert not witness._with_votes
    assert not witness.most_ordinary(blurred)[60:].any()


def test_the_witnesses_share_of_the_images_goes_at_most() -> None:
    """One look of `robust`: everything above the threshold is supported, and the defects are found."""
    policy = policy_of(Params().refinement)
    assert policy.start == PRESETS["robust"]["start"]
    for bad in (0, 8, 32):
        features = plant(80 - bad, bad, 5)
        found = out_of_fold_scores(
            lambda features=features: consensus(features),  # type: ignore[misc]
            features,
            [str(image) for image in range(80)],
            start=policy.start,
            folds=5,
            epochs=1,
            confidence=policy.confidence,
            seed=0,
        )
        images = pd.DataFrame({"image_id": range(80), "md5": "", "score": found.scores})
        this = decision_round(1, images, lower_bound=found.lower_bound)
        decision = decide(this, policy, [frozenset(range(80))])
        assert found.lower_bound is not None and len(decision.removed) <= found.lower_bound * 80
        assert (decision.removed["image_id"] >= 80 - bad).all()
        assert len(decision.removed) >= 0.5 * bad


def test_copies_of_one_image_alone_are_no_start() -> None:
    features = plant(12, 2, 0)
    copies = features[np.array([0] * 10 + [12, 13])]
    found = out_of_fold_scores(
        lambda: consensus(copies), copies, ["a"] * 10 + ["b", "c"], start="ordinary", folds=5, epochs=1, seed=0
    )
    assert np.isfinite(found.scores).all()
