"""Views and normalisation."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from irp_core.features.images import normalize, resized, shape_at, view_angles, views


@given(small=st.integers(1, 64), large=st.integers(1, 64), jitter=st.floats(0, 20), seed=st.integers(0, 99))
def test_a_larger_bank_contains_the_smaller(small: int, large: int, jitter: float, seed: int) -> None:
    a, b = sorted((small, large))
    angles = view_angles(b, jitter_degrees=jitter, seed=seed)
    assert angles[:a] == view_angles(a, jitter_degrees=jitter, seed=seed)
    assert all(0 <= angle < 360 for angle in angles)


def test_powers_of_two_are_spread_evenly() -> None:
    assert view_angles(4) == (0.0, 180.0, 90.0, 270.0)
    assert np.diff(sorted(view_angles(64))).tolist() == [5.625] * 63


def test_quarter_turns_are_exact_and_others_keep_the_centre() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    turned = np.stack(views(Image.fromarray(pixels), (0.0, 90.0, 180.0, 45.0)))
    assert turned.shape == (4, 32, 32, 3)
    assert (turned[1] == np.rot90(pixels)).all()
    assert (turned[2] == pixels[::-1, ::-1]).all()
    disc = np.zeros((33, 33, 3), dtype=np.uint8)
    disc[16, 16] = 255
    assert views(Image.fromarray(disc), (45.0,))[0].argmax() // 3 // 33 in (15, 16, 17)


def test_rotation_brings_in_no_black_corners() -> None:
    white = Image.new("RGB", (48, 48), "white")
    assert np.stack(views(white, (45.0, 30.0))).min() == 255


def test_a_strip_keeps_its_shape_and_loses_nothing_by_quarter_turns() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 32, 3), dtype=np.uint8)
    bank = views(Image.fromarray(pixels), view_angles(8))
    for turn, view in zip((0, 2, 1, 3), bank, strict=False):
        assert (view == np.rot90(pixels, turn)).all()
    assert {view.shape for view in bank[4:]} == {(64, 32, 3)}  # other angles keep the frame
    white = Image.new("RGB", (20, 300), "white")
    assert np.stack(views(white, (45.0, 60.0))).min() == 255


@given(height=st.integers(32, 2048), width=st.integers(32, 2048), side=st.integers(64, 1024))
def test_a_side_is_as_many_pixels_whatever_the_shape(height: int, width: int, side: int) -> None:
    rows, columns = shape_at((height, width), side)
    if height == width:
        assert (rows, columns) == (side, side)
    elif min(rows, columns) > 32:
        assert 0.6 * side**2 < rows * columns < 1.6 * side**2
        assert (rows >= columns) == (height >= width) or abs(rows - columns) <= 16


def test_center_crop_takes_the_central_square() -> None:
    strip = np.zeros((60, 20, 3), dtype=np.uint8)
    strip[20:40] = 200
    assert np.asarray(resized(Image.fromarray(strip), (32, 32), "center")).min() == 200
    assert np.asarray(resized(Image.fromarray(strip), (32, 32))).min() == 0


def test_normalisation_is_imagenets() -> None:
    grey = torch.full((1, 4, 4, 3), 255, dtype=torch.uint8)
    out = normalize(grey)
    assert out.shape == (1, 3, 4, 4)
    assert out.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        out[0, :, 0, 0], torch.tensor([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])
    )
