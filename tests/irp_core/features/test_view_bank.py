"""The bank of views: rotations, and the other transformations of equation 4."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from irp_core.backbones import load_backbone
from irp_core.config import Params, Views
from irp_core.features.local import local_spec
from irp_core.features.pooled import PooledExtractor, extractor_spec
from irp_core.features.view_bank import View, view_bank, views

PIXELS = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
IMAGE = Image.fromarray(PIXELS)
ALTERED = {"translate": 0.1, "zoom": 0.2, "contrast": 0.3, "brightness": 0.1, "noise": 0.05}


@given(
    small=st.integers(1, 64),
    large=st.integers(1, 64),
    jitter=st.floats(0, 20),
    size=st.floats(0, 0.5),
    seed=st.integers(0, 99),
)
def test_a_larger_bank_contains_the_smaller(small: int, large: int, jitter: float, size: float, seed: int) -> None:
    a, b = sorted((small, large))
    settings = Views(jitter_degrees=jitter, seed=seed, **dict.fromkeys(ALTERED, size))
    bank = view_bank(settings, b)
    assert bank[:a] == view_bank(settings, a)
    assert all(0 <= view.angle < 360 and abs(view.zoom - 1) <= size + 1e-6 for view in bank)
    assert all(abs(part) <= size + 1e-6 for view in bank for part in (*view.shift, view.brightness, view.contrast - 1))


def test_powers_of_two_are_spread_evenly() -> None:
    assert [view.angle for view in view_bank(Views(), 4)] == [0.0, 180.0, 90.0, 270.0]
    assert np.diff(sorted(view.angle for view in view_bank(Views(), 64))).tolist() == [5.625] * 63


def test_jittered_angles_are_those_of_earlier_stores() -> None:
    angles = [view.angle for view in view_bank(Views(jitter_degrees=5.0, seed=3), 4)]
    drawn = np.random.default_rng(3).uniform(-5.0, 5.0, size=64)
    assert angles == [round(at + float(drawn[v]), 6) % 360 for v, at in enumerate((0.0, 180.0, 90.0, 270.0))]


def test_quarter_turns_are_exact_and_others_keep_the_centre() -> None:
    turned = np.stack(views(IMAGE, [View(angle) for angle in (0.0, 90.0, 180.0, 45.0)]))
    assert turned.shape == (4, 32, 32, 3)
    assert (turned[1] == np.rot90(PIXELS)).all()
    assert (turned[2] == PIXELS[::-1, ::-1]).all()
    dot = np.zeros((33, 33, 3), dtype=np.uint8)
    dot[16, 16] = 255
    assert views(Image.fromarray(dot), [View(45.0)])[0].argmax() // 3 // 33 in (15, 16, 17)


@pytest.mark.parametrize("view", [View(45.0), View(30.0), View(20.0, 0.8, (0.3, -0.2)), View(90.0, 1.0, (0.5, 0.5))])
@pytest.mark.parametrize("size", [(48, 48), (20, 300)])
def test_no_view_brings_in_black_corners(view: View, size: tuple[int, int]) -> None:
    assert views(Image.new("RGB", size, "white"), [view])[0].min() == 255


def test_a_shift_is_exact_and_reflects_at_the_border() -> None:
    (moved,) = views(IMAGE, [View(shift=(0.1, -0.25))])  # 3 to the right, 8 up
    assert (moved[:24, 3:] == PIXELS[8:, :-3]).all()
    assert (moved[:24, :3] == PIXELS[8:, 3:0:-1]).all()
    turned, both = views(IMAGE, [View(90.0), View(90.0, shift=(0.1, -0.25))])
    assert (both == np.rot90(moved)).all()
    assert (turned == np.rot90(PIXELS)).all()


# Enlarged by 2 it is 18 above and 4 left of the centre; moved by 6 up and 4 left it is at (8, 24); then it is turned.
@pytest.mark.parametrize(("angle", "place"), [(0.0, (8, 24)), (90.0, (64 - 24, 8)), (180.0, (64 - 8, 64 - 24))])
def test_a_dot_goes_where_zoom_shift_and_turn_send_it(angle: float, place: tuple[int, int]) -> None:
    black = np.zeros((65, 65, 3), dtype=np.uint8)
    black[22:25, 29:32] = 255  # centre (row 23, column 30): 9 above and 2 left of the image's own
    dot = Image.fromarray(black)
    (seen,) = views(dot, [View(angle, 2.0, (-0.06, -0.09))])
    rows, columns = np.nonzero(seen[..., 0] > 128)
    assert abs(rows.mean() - place[0]) <= 1 and abs(columns.mean() - place[1]) <= 1


def test_a_strip_loses_nothing_by_quarter_turns() -> None:
    strip = np.random.default_rng(0).integers(0, 255, (64, 24, 3), dtype=np.uint8)
    bank = views(Image.fromarray(strip), view_bank(Views(), 8))
    for turn, view in zip((0, 2, 1, 3), bank, strict=False):
        assert (view == np.rot90(strip, turn)).all()
    # What is turned beyond a quarter turn keeps that turn's frame: 92° is 2° more than 90°.
    around = views(Image.fromarray(strip), [View(2.0), View(92.0), View(92.0, 1.1, (0.1, 0.0)), View(182.0)])
    assert [view.shape[:2] for view in around] == [(64, 24), (24, 64), (24, 64), (64, 24)]
    assert (around[1] == np.rot90(around[0])).all() and (around[3] == np.rot90(around[0], 2)).all()


def test_grey_values_change_as_said() -> None:
    flat = np.full((32, 32, 3), 100, dtype=np.uint8)
    flat[:16] = 60
    bright, contrasted, noisy = views(
        Image.fromarray(flat), [View(brightness=0.2), View(contrast=1.5), View(noise=0.02, noise_seed=(0, 1))]
    )
    assert (bright[0, 0, 0], bright[-1, 0, 0]) == (111, 151)
    assert (contrasted[0, 0, 0], contrasted[-1, 0, 0]) == (50, 110)
    assert noisy[:16].std() == pytest.approx(0.02 * 255, rel=0.1)
    assert (views(Image.fromarray(flat), [View(noise=0.02, noise_seed=(0, 1))])[0] == noisy).all()


def test_the_first_view_is_the_image_itself() -> None:
    assert (views(IMAGE, view_bank(Views(**ALTERED), 1))[0] == PIXELS).all()


@pytest.mark.parametrize("name", ALTERED)
def test_a_views_parameters_are_in_the_fingerprint(name: str) -> None:
    backbone = load_backbone("bundled", None)
    plain = extractor_spec(Params(), backbone, torch.float32)
    changed = Params(views=Views(**{name: ALTERED[name]}))
    assert extractor_spec(changed, backbone, torch.float32) != plain
    assert "views" not in plain  # the stores of earlier versions are found
    reseeded = Params(views=Views(**{name: ALTERED[name]}, seed=1))
    assert extractor_spec(reseeded, backbone, torch.float32) != extractor_spec(changed, backbone, torch.float32)
    spec = extractor_spec(changed, backbone, torch.float32)
    local = [local_spec("patches", one, changed.features, backbone, changed.images) for one in (spec, plain)]
    assert local[0] == local[1]


def test_a_turned_image_and_the_turned_view_have_the_same_features() -> None:
    """Equation 4's T: exactly at right angles, within interpolation's error at others."""
    grid = np.linspace(0, 255, 64, dtype=np.float32)
    smooth = np.stack([np.add.outer(grid, grid) / 2, np.add.outer(grid, -grid) / 2 + 127, np.outer(grid, grid) / 255])
    image = Image.fromarray(np.moveaxis(smooth, 0, 2).astype(np.uint8))
    extractor = PooledExtractor(load_backbone("bundled", None), (64, 32), torch.device("cpu"), torch.float32)
    seen = extractor(np.stack(views(image, [View(0.0), View(90.0), View(40.0)])))
    quarter = Image.fromarray(np.rot90(np.asarray(image)))
    assert np.array_equal(extractor(np.stack(views(quarter, [View(0.0)] * 3)))[0], seen[1])
    (turned,) = views(image, [View(20.0)])
    twice = extractor(np.stack(views(Image.fromarray(turned), [View(20.0)] * 3)))[0]
    change = np.linalg.norm(twice - seen[2]) / np.linalg.norm(seen[0] - seen[2])
    assert change < 0.35  # two interpolations and two reflected borders, against the effect of the turn itself
