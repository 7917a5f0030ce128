"""Overlays: one scale for all images of a model, outlines on dark and bright, and maps that keep their numbers."""

from __future__ import annotations

import matplotlib.colors as mcolors
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from irp_core.localisation.geometry import Geometry
from irp_core.localisation.out_of_fold import out_of_fold_maps
from irp_core.localisation.regions import find_regions
from irp_core.localisation.rendering import RAW_THRESHOLD, colours, overlay, raw_map
from irp_core.localisation.scale import MapScale, map_scale, view_map

SCALE = MapScale(low=1.0, threshold=2.0, high=3.0, false_alarm_rate=0.05, images=20, basis="quantile")


def spot(height: float, shape: tuple[int, int] = (64, 64)) -> np.ndarray:
    view = np.ones(shape, dtype=np.float32)
    view[20:30, 30:44] = height
    return view


def drawn(grey: int, view: np.ndarray) -> np.ndarray:
    geometry = Geometry(320, 200, (64, 64))
    image = Image.new("RGB", (320, 200), (grey, grey, grey))
    return np.asarray(overlay(image, view, SCALE, geometry, find_regions(view, SCALE.threshold, geometry))).astype(int)


@pytest.mark.parametrize("grey", [0, 30, 128, 225, 255])
def test_what_exceeds_the_threshold_stands_out_on_any_ground(grey: int) -> None:
    picture = drawn(grey, spot(2.5))
    assert picture.shape == (200, 320, 3)
    assert (picture[0, 0] == grey).all()  # nothing is coloured below `low`
    differs = np.abs(picture - grey).max(axis=2) > 100
    ys, xs = np.nonzero(differs)
    # The spot is at x 150 to 220 and y 62 to 94; outline and rectangle stay within a margin of it.
    assert 130 < xs.min() < 155 and 215 < xs.max() < 240 and 45 < ys.min() < 66 and 90 < ys.max() < 110


def test_the_scale_is_the_same_for_every_image() -> None:
    weak, strong = colours(spot(1.5), SCALE), colours(spot(9.0), SCALE)
    assert weak[1][25, 35] < strong[1][25, 35] <= 1.0
    both = spot(1.5)
    both[50:60, 50:60] = 9.0
    assert (colours(both, SCALE)[0][25, 35] == weak[0][25, 35]).all()  # not stretched to each image's own maximum


def test_lightness_rises_with_the_score_so_that_colours_are_told_apart_without_hue() -> None:
    steps = np.linspace(SCALE.low, SCALE.high, 9, dtype=np.float32)[None]
    rgb = mcolors.to_rgba_array(colours(steps, SCALE)[0][0] / 255)[:, :3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all()


def test_without_anything_above_the_threshold_a_cross_says_where_to_look() -> None:
    picture = drawn(128, spot(1.9))
    assert (picture[60:68, 148:158] == 255).all(axis=2).any()  # the first of equally high pixels


def test_raw_maps_keep_the_score() -> None:
    view = spot(5.0)
    raw = raw_map(view, SCALE, Geometry(64, 64, (64, 64)))
    assert raw.dtype == np.uint16
    assert np.abs(raw / RAW_THRESHOLD * SCALE.threshold - view).max() < 0.002
    cropped = raw_map(view, SCALE, Geometry(128, 64, (64, 64), "center"))
    assert (cropped[:, :32] == 0).all() and (cropped[:, 32:96] > 0).all()


def test_a_scale_out_of_order_is_refused() -> None:
    with pytest.raises(ValidationError, match="low < threshold < high"):
        MapScale(low=2.0, threshold=1.0, high=3.0, false_alarm_rate=0.05, images=1, basis="quantile")


def test_the_threshold_holds_for_new_images() -> None:
    """A scale from out-of-fold maps: of new good images about the promised share has a marked spot."""
    import torch

    from irp_core.config import PatchGaussianParams
    from irp_core.detectors import PatchGaussian
    from irp_core.features.feature_set import FeatureSet

    random = np.random.default_rng(0)
    cells = random.normal(size=(260, 4, 4, 8)).astype(np.float16)
    images = FeatureSet(np.zeros((260, 1, 2), dtype=np.float32), cells=cells)
    kept, new = images[slice(0, 60)], images[slice(60, 260)]

    def build() -> PatchGaussian:
        return PatchGaussian(PatchGaussianParams(), torch.device("cpu"))

    contents = [str(number) for number in range(60)]
    scale = map_scale(
        out_of_fold_maps(build, kept, contents, np.ones(60, dtype=bool), folds=5, epochs=1, seed=0), (64, 64), 0.1
    )
    detector = build()
    detector.fit(kept)
    marked = [float(view_map(one, (64, 64)).max()) > scale.threshold for one in detector.maps(new).numpy()]
    assert 0.02 < np.mean(marked) < 0.2
    # In-sample maps would promise too much: most new images would exceed their threshold.
    flattered = map_scale(detector.maps(kept).numpy(), (64, 64), 0.1)
    assert flattered.threshold < scale.threshold
