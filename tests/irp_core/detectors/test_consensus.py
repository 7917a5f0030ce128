"""The local detector, which many defects hardly move: which images it finds ordinary, its lower bound, and the votes.

`data/consensus_reference.json` and `data/consensus/` were made by this detector as it was at commit 2bd4481, when it
still remembered what it had seen between calls.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from irp_core.config import Params, Refinement
from irp_core.detectors.consensus import Consensus
from irp_core.detectors.local import LocalScores
from irp_core.detectors.out_of_fold import out_of_fold_scores
from irp_core.features.feature_set import FeatureSet
from irp_core.methods import METHODS
from irp_core.refinement.policy import policy_of
from irp_core.refinement.rounds import decide, decision_round

CPU = torch.device("cpu")
DATA = Path(__file__).parents[1] / "references"
REFERENCE: dict[str, dict[str, Any]] = json.loads((DATA / "consensus_reference.json").read_text())


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


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what no number of resamples changes; the reference has all."""
    monkeypatch.setattr("irp_core.statistics.mixture._RESAMPLES", 25)


def consensus(features: FeatureSet) -> Consensus:
    return Consensus.build(features, Params(), CPU)


@pytest.mark.parametrize("bad", [0, 8, 32])
def test_the_ordinary_ones_are_the_good_ones(bad: int, few_resamples: None) -> None:
    features = plant(80 - bad, bad, 3)
    ordinary = consensus(features).score_locally(features).ordinary()
    assert not ordinary[80 - bad :].any()
    assert ordinary[: 80 - bad].mean() >= 0.95


def test_half_is_ordinary_at_least(few_resamples: None) -> None:
    features = plant(30, 50, 3)
    assert consensus(features).score_locally(features).ordinary().sum() >= 40


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
def test_the_lower_bound_is_below_the_share_and_not_far_below(share: float, few_resamples: None) -> None:
    found = []
    for seed in range(3):
        bad = round(share * 80)
        features = plant(80 - bad, bad, seed)
        found.append(consensus(features).score_locally(features).lower_bound(0.95))
    assert np.mean([one > share for one in found]) <= 0.34
    assert np.mean(found) >= share / 2


def test_the_kurtosis_alone_where_the_votes_are_noise(few_resamples: None) -> None:
    blurred = with_noisy_patches(plant(60, 20, 1))
    local = consensus(blurred).score_locally(blurred)
    assert not local.with_votes
    assert not local.ordinary()[60:].any()


def with_noisy_patches(features: FeatureSet) -> FeatureSet:
    noise = np.random.default_rng(0).normal(0.0, 1.0, (len(features), 16, 8))
    noise *= np.random.default_rng(1).lognormal(0, 1, (len(features), 16, 1))
    return FeatureSet(features.pooled, noise.astype(np.float32), features.kurtosis)


@pytest.mark.parametrize("name", REFERENCE)
def test_the_scores_are_those_of_the_reference(name: str) -> None:
    case = REFERENCE[name]
    features = plant(case["good"], case["bad"], case["seed"])
    if name == "noise":
        features = with_noisy_patches(features)
    inside = np.arange(len(features)) < len(features) - case["outside"]
    local = consensus(features).score_locally(features, seed=case["seed"])
    assert np.flatnonzero(local.ordinary()).tolist() == case["ordinary"]
    assert local.lower_bound(case["confidence"]) == pytest.approx(case["lower_bound"], rel=1e-6)

    class Known(Consensus):
        """What the local detector found is passed on: it need not be the detector's own."""

        def score_locally(self, features: FeatureSet, *, seed: int = 0, voter: object = None) -> LocalScores:
            return local

    found = out_of_fold_scores(
        lambda: Known.build(features, Params(), CPU),
        features,
        [str(image) for image in range(len(features))],
        inside=inside,
        start=case["start"],
        folds=5,
        repeats=2,
        epochs=1,
        confidence=case["confidence"],
        seed=case["seed"],
    )
    np.testing.assert_allclose(found.scores, case["scores"], rtol=1e-6)
    assert found.lower_bound == local.lower_bound(case["confidence"])
    if "fitted" in case:
        detector = consensus(features)
        detector.fit(features[inside], seed=case["seed"])
        np.testing.assert_allclose(detector.score(features), case["fitted"], rtol=1e-6)


def test_a_detector_saved_by_earlier_code_still_scores() -> None:
    scores = Consensus.load(DATA / "consensus").score(plant(3, 3, 8))
    np.testing.assert_allclose(scores, json.loads((DATA / "consensus" / "scores.json").read_text()), rtol=1e-6)


def test_what_the_local_detector_found_is_a_value(few_resamples: None) -> None:
    """It cannot be changed, and neither can scoring a set change a detector that is fitted."""
    features, other = plant(20, 4, 0), plant(18, 6, 1)
    detector = consensus(features)
    detector.fit(features)
    before = detector.score(other)
    local = detector.score_locally(other, seed=1)
    folds = np.arange(len(other)) % 3
    first = detector.combine_out_of_fold(other, folds, local, seed=1)
    assert (detector.combine_out_of_fold(other, folds, local, seed=1) == first).all()
    assert (detector.score(other) == before).all()
    with pytest.raises(ValueError, match="read-only"):
        local.scores[0] = 0.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        local.with_votes = not local.with_votes  # type: ignore[misc]


def test_no_more_images_are_removed_than_the_lower_bound_allows(few_resamples: None) -> None:
    """One decision round of `robust`: what is removed is within the lower bound, and the defects are found."""
    policy = policy_of(Refinement(method="robust"))
    assert policy.start == METHODS["robust"].preset["start"]
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


def test_copies_of_one_image_alone_are_no_start(few_resamples: None) -> None:
    features = plant(12, 2, 0)
    copies = features[np.array([0] * 10 + [12, 13])]
    found = out_of_fold_scores(
        lambda: consensus(copies), copies, ["a"] * 10 + ["b", "c"], start="ordinary", folds=5, epochs=1, seed=0
    )
    assert np.isfinite(found.scores).all()
