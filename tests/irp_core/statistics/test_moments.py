"""Moments by parts: scikit-learn's covariance, in any order and any parts."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from irp_core.statistics.moments import Moments


def samples(count: int) -> np.ndarray:
    rng = np.random.default_rng(count)
    values = rng.normal(size=(count, 12)) * rng.uniform(0.01, 100, 12) + 1000
    values[:, 4] = 7  # a channel that never fires otherwise
    return np.asarray(values)


@pytest.mark.parametrize("count", [2, 5, 40])
@pytest.mark.parametrize("parts", [1, 2])
def test_the_covariance_is_scikit_learns(count: int, parts: int) -> None:
    values = samples(count)
    moments = Moments.of(np.array_split(values, parts))
    np.testing.assert_allclose(moments.mean, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.spread, np.maximum(values.std(axis=0), 1e-6), rtol=1e-6)
    expected = ledoit_wolf((values - moments.mean) / moments.spread, assume_centered=True)[0]
    found = moments.covariance(sum(moments.fourth(part) for part in np.array_split(values, parts)))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_the_order_changes_the_last_digits_alone() -> None:
    values = samples(60)
    one, other = (Moments.of(np.array_split(order, 7)) for order in (values, values[::-1]))
    np.testing.assert_allclose(one.spread, other.spread, rtol=1e-10)
    fourth = one.fourth(values)
    np.testing.assert_allclose(one.covariance(fourth), other.covariance(fourth), rtol=1e-7, atol=1e-10)


def test_folds_join_to_the_whole() -> None:
    values = samples(30)
    folds = np.arange(30) % 4 - 1
    of_fold = Moments.of_each([(values[:10], folds[:10]), (values[10:], folds[10:])])
    assert sorted(of_fold) == [0, 1, 2]
    joined = Moments.joined(list(of_fold.values()))
    np.testing.assert_allclose(joined.mean, values[folds >= 0].mean(axis=0), rtol=1e-12)


def test_one_sample_leaves_the_target() -> None:
    assert Moments.of([samples(1)]).covariance(0.0).tolist() == np.eye(12).tolist()
