"""Scores of a training set, as a policy says: by the iteration's own model, by another detector, or out of fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from irp_core.config import Params
from irp_core.detectors import Detector, detector_class
from irp_core.detectors.out_of_fold import ScoredSet, out_of_fold_scores
from irp_core.errors import InputError
from irp_core.features.feature_set import FeatureSet, Local
from irp_core.features.pooled import resolve_device
from irp_core.refinement.policy import Policy, policy_of

__all__ = ["local_needed", "score_by_policy", "scorer_name", "scores_with_its_own_model"]


def scorer_name(policy: Policy, params: Params) -> str:
    """The detector that scores for the removal."""
    return policy.detector or params.detector.name


def local_needed(params: Params) -> list[Local]:
    """Which local features the detector, or the one that scores for the removal, reads."""
    names = {params.detector.name, scorer_name(policy_of(params.refinement), params)}
    return sorted({need for name in names for need in detector_class(name).needs})


def scores_with_its_own_model(policy: Policy) -> bool:
    """Whether a round's scores come from the model that was trained for the iteration."""
    return policy.score_on == "in_sample" and policy.detector is None


def score_by_policy(
    features: FeatureSet,
    contents: Sequence[str],
    inside: NDArray[np.bool_],
    iteration: int,
    policy: Policy,
    params: Params,
    model: Callable[[], Detector],
) -> ScoredSet:
    """Score n images for the decision round after model `iteration`.

    Args:
        features: of the n images.
        contents: digest of each image (n,): copies share a fold.
        inside: which are in the current training set (n,); the others were removed before and train nothing.
        model: gives the iteration's own model; only called where `scores_with_its_own_model`.

    Raises:
        InputError: out-of-fold scores of fewer than two different images.
    """
    if scores_with_its_own_model(policy):
        return ScoredSet(model().score(features), None)
    kind, device = detector_class(scorer_name(policy, params)), resolve_device(params.features.device)
    if policy.score_on == "in_sample":
        detector = kind.build(features, params, device)
        detector.fit(features[inside], epochs=params.training.epochs, seed=params.run.seed)
        return ScoredSet(detector.score(features), None)
    if len(set(contents)) < 2:
        raise InputError("Out-of-fold scores expect 2 different training images at least, found 1.")
    return out_of_fold_scores(
        lambda: kind.build(features, params, device),
        features,
        contents,
        inside=inside,
        start=policy.start if iteration == 0 else "all",
        folds=params.refinement.folds,
        repeats=params.refinement.repeats,
        epochs=params.training.epochs,
        confidence=policy.confidence,
        seed=params.run.seed,  # of every iteration: a set that did not change has the same folds, and stays
    )
