"""Scores and features on one scale."""

from __future__ import annotations

import numpy as np
import pytest

from irp_core.refinement.careful.landscape import landscape
from tests.irp_core.refinement.careful.plant import plant


def test_heights_are_robust_standard_deviations_and_components_have_unit_size() -> None:
    made = plant(200, 0.1, seed=0)
    held = landscape(made.scores, made.features, made.contents)
    assert np.allclose(np.median(held.heights, axis=0), 0.0, atol=0.02)
    assert np.square(held.components).sum(axis=1).mean() == pytest.approx(1.0)
    assert held.total.shape == (200,)


def test_units_of_scores_and_features_do_not_matter() -> None:
    made = plant(80, 0.1, seed=1)
    first = landscape(made.scores, made.features, made.contents)
    scaled = landscape(made.scores * np.array([3.0, 0.1, 7.0]), made.features * 5.0 + 2.0, made.contents)
    assert np.allclose(first.heights, scaled.heights)
    assert np.allclose(np.abs(first.components), np.abs(scaled.components), atol=1e-6)


def test_copies_are_one_content_and_the_order_of_the_images_does_not_matter() -> None:
    made = plant(60, 0.1, seed=2)
    doubled = [0, 5, *range(60)]
    held = landscape(made.scores[doubled], made.features[doubled], [made.contents[i] for i in doubled])
    alone = landscape(made.scores, made.features, made.contents)
    assert len(held) == 60
    assert held.of_image[0] == held.of_image[2]
    assert np.array_equal(held.heights, alone.heights)
    assert np.array_equal(held.neighbours, alone.neighbours)


def test_no_image_is_its_own_neighbour() -> None:
    made = plant(40, seed=3)
    held = landscape(made.scores, made.features, made.contents)
    assert not (held.neighbours == np.arange(40)[:, None]).any()


@pytest.mark.parametrize("broken", ["negative", "nan", "shape", "few"])
def test_bad_input_is_refused(broken: str) -> None:
    made = plant(10, seed=4)
    scores, features, contents = made.scores.copy(), made.features.copy(), list(made.contents)
    if broken == "negative":
        scores[0, 0] = -1.0
    elif broken == "nan":
        features[0, 0] = np.nan
    elif broken == "shape":
        scores = scores[:-1]
    else:
        contents = ["a"] * 10
    with pytest.raises(ValueError, match="landscape expects"):
        landscape(scores, features, contents)
