"""Crop, resize and normalisation."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from irp_core.features.images import resized, shape_at
from irp_core.features.pooled import normalize


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


@given(height=st.integers(32, 2048), width=st.integers(32, 2048), side=st.integers(64, 1024))
def test_a_side_is_as_many_pixels_whatever_the_shape(height: int, width: int, side: int) -> None:
    rows, columns = shape_at((height, width), side)
    if height == width:
        assert (rows, columns) == (side, side)
    elif min(rows, columns) > 32:
        assert 0.6 * side**2 < rows * columns < 1.6 * side**2
        assert (rows >= columns) == (height >= width) or abs(rows - columns) <= 16
