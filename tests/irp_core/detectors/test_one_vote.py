"""Copies and near-copies of a defective part have one vote together: they cannot vouch for each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from irp_core.config import Params
from irp_core.detectors import detector_class
from irp_core.detectors.out_of_fold import out_of_fold_scores, voters
from irp_core.features.feature_set import FeatureSet

CPU = torch.device("cpu")
GOOD, SHOTS = 30, 4


def shots_of_one_defect() -> FeatureSet:
    """Good images of one motif, and four shots of one defective part, which differ by a little noise."""
    rng = np.random.default_rng(0)
    patches = rng.normal(0, 1, (16, 8)) + rng.normal(0, 0.2, (GOOD + SHOTS, 16, 8))
    defect = patches[GOOD].copy()
    defect[[3, 7]] += rng.normal(0, 2, (2, 8))
    patches[GOOD:] = defect + rng.normal(0, 0.01, (SHOTS, 16, 8))
    kurtosis = rng.normal(1, 0.3, (GOOD + SHOTS, 32))
    kurtosis[GOOD:, :20] += 1.0
    parts = (patches.mean(axis=1)[:, None, :], patches, kurtosis)
    return FeatureSet(*(part.astype(np.float32) for part in parts))


@pytest.mark.parametrize("name", ["patch_knn", "gaussian", "consensus"])
def test_shots_of_one_defect_are_the_most_suspicious_where_they_are_known_as_such(name: str) -> None:
    features = shots_of_one_defect()
    each = [f"{i:032x}" for i in range(GOOD + SHOTS)]
    grouped = [*each[:GOOD], *[each[GOOD]] * SHOTS]

    def ranks(contents: list[str]) -> set[int]:
        kind = detector_class(name)
        found = out_of_fold_scores(
            lambda: kind.build(features, Params(), CPU), features, contents, folds=5, repeats=2, epochs=1, seed=0
        )
        return set(np.argsort(-found.scores)[:SHOTS].tolist())

    shots = set(range(GOOD, GOOD + SHOTS))
    assert ranks(grouped) == shots
    if name != "consensus":  # its kurtosis scores each image by itself
        assert ranks(each) != shots  # they do vouch for each other where nobody knows


def test_where_every_content_is_its_own_nothing_changes() -> None:
    features = shots_of_one_defect()
    contents = [f"{i:032x}" for i in range(len(features))]
    within = np.ones(len(features), dtype=bool)
    assert voters(contents, within).tolist() == list(range(len(features)))
    kind = detector_class("patch_knn")
    found = out_of_fold_scores(
        lambda: kind.build(features, Params(), CPU), features, contents, folds=5, epochs=1, seed=0
    )
    detector = kind.build(features, Params(), CPU)
    detector.fit(features, epochs=1, seed=0)
    np.testing.assert_array_equal(found.scores, detector.score(features))
