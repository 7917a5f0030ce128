"""Folds and out-of-fold scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irp_core.detectors.folds import assign_folds, fold_by_fold
from irp_core.detectors.out_of_fold import out_of_fold_scores
from irp_core.features.feature_set import FeatureSet


class Remembers:
    """Scores 1 for an image that it was trained on, 2 for any other."""

    needs = ()
    leaves_itself_out = False

    def fit(self, features: FeatureSet, *, epochs: int, seed: int, report: object = None) -> list[object]:
        self.known = set(features.pooled[:, 0, 0].tolist())
        return []

    def score(self, features: FeatureSet) -> np.ndarray:
        return np.array([1.0 if value in self.known else 2.0 for value in features.pooled[:, 0, 0].tolist()])


def images(values: list[int]) -> FeatureSet:
    return FeatureSet(np.array(values, dtype=np.float32)[:, None, None])


@given(
    contents=st.lists(st.sampled_from("abcdefgh"), min_size=4, max_size=30).filter(lambda c: len(set(c)) > 1),
    folds=st.integers(2, 12),
    seed=st.integers(0, 9),
)
def test_copies_share_a_fold_and_folds_are_even(contents: list[str], folds: int, seed: int) -> None:
    assigned = assign_folds(contents, np.ones(len(contents), dtype=bool), folds, seed=seed)
    fold_of = {
        content: {int(f) for c, f in zip(contents, assigned, strict=True) if c == content} for content in contents
    }
    assert all(len(found) == 1 for found in fold_of.values())
    sizes = np.bincount([next(iter(found)) for found in fold_of.values()])
    assert sizes.max() - sizes.min() <= 1
    assert len(sizes) == min(folds, len(set(contents)))


def test_nobody_is_scored_by_a_detector_that_knows_him() -> None:
    values = list(range(10))
    found = out_of_fold_scores(
        Remembers, images(values), [str(v) for v in values], folds=3, repeats=2, epochs=1, seed=0
    )
    assert found.scores == pytest.approx(2.0)
    assert found.lower_bound is None  # such a detector has no lower bound


def test_copies_do_not_vouch_for_each_other_and_removed_images_train_nothing() -> None:
    values = [0, 1, 2, 3, 0, 1, 7, 7]
    inside = np.array([True] * 6 + [False] * 2)
    found = out_of_fold_scores(
        Remembers, images(values), [str(v) for v in values], inside=inside, folds=2, epochs=1, seed=0
    )
    assert found.scores == pytest.approx(2.0)
    assert found.lower_bound is None  # such a detector has no lower bound


def test_images_outside_are_scored_by_every_fold() -> None:
    folds = np.array([0, 0, 1, 1, -1])
    scores = fold_by_fold(Remembers, images([0, 1, 2, 3, 0]), folds, epochs=1, seed=0)
    # Image 0's twin outside: the detector of fold 1 knows it (1), that of fold 0 does not (2).
    assert scores[4] == pytest.approx(np.sqrt(2.0))


@pytest.mark.parametrize(("contents", "folds"), [(["a", "a"], 2), (["a", "b"], 1)])
def test_folds_need_two_of_each(contents: list[str], folds: int) -> None:
    with pytest.raises(ValueError, match="2 different images and 2 folds"):
        assign_folds(contents, np.ones(2, dtype=bool), folds, seed=0)
