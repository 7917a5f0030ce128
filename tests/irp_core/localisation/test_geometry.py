"""A pixel that is marked in the view lands in the image where it was, whatever crop, aspect and orientation."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from irp_core.features.images import decode, resized
from irp_core.localisation.geometry import ORIENTATION, Geometry, as_stored, mask_in_view

sides = st.integers(40, 400)


@settings(max_examples=60, deadline=None)
@given(
    width=sides,
    height=sides,
    shape=st.tuples(st.integers(32, 96), st.integers(32, 96)),
    centred=st.booleans(),
    at=st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9)),
    orientation=st.integers(1, 8),
)
def test_a_marked_pixel_lands_where_it_was(
    width: int, height: int, shape: tuple[int, int], centred: bool, at: tuple[float, float], orientation: int
) -> None:
    crop = "none"
    if centred:
        crop, shape = "center", (shape[0], shape[0])
    geometry = Geometry(width, height, shape, crop)
    left, top, right, bottom = geometry.box
    x, y = left + int(at[0] * (right - left)), top + int(at[1] * (bottom - top))
    radius = max(2, round(1.5 * max((right - left) / shape[1], (bottom - top) / shape[0])))
    upright = np.zeros((height, width), dtype=np.uint8)
    upright[max(top, y - radius) : y + radius + 1, max(left, x - radius) : x + radius + 1] = 255
    file = io.BytesIO()
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(np.ascontiguousarray(as_stored(upright, orientation))).save(file, "PNG", exif=exif)
    image = decode(file.getvalue())
    assert image.size == (width, height)
    view = np.asarray(resized(image, shape, crop)).astype(np.float32).mean(axis=2)
    found = geometry.to_image(view)
    assert found.shape == upright.shape
    centre = np.array(np.unravel_index(int(np.argmax(found)), found.shape))
    assert np.abs(centre - (y, x)).max() <= radius + 1
    # The peak's position, and the rectangle around what is marked, say the same.
    row, column = np.unravel_index(int(np.argmax(view)), shape)
    assert abs(geometry.point(float(row), float(column))[0] - x) <= radius + 2
    marked = np.argwhere(view > 127)
    (first_row, first_column), (last_row, last_column) = marked.min(axis=0), marked.max(axis=0)
    box = geometry.rectangle(slice(first_row, last_row + 1), slice(first_column, last_column + 1))
    assert box[0] <= x < box[2] and box[1] <= y < box[3]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_stored_pixels_are_those_that_a_reader_turns_upright(orientation: int) -> None:
    upright = np.arange(12, dtype=np.uint8).reshape(3, 4)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(as_stored(upright, orientation))).save(file, "PNG", exif=exif)
    assert np.array_equal(np.asarray(decode(file.getvalue()))[..., 0], upright)


def test_what_a_crop_cuts_away_has_no_score() -> None:
    found = Geometry(30, 10, (32, 32), "center").to_image(np.ones((32, 32), dtype=np.float32))
    assert found[:, :10].max() == 0 and found[:, 20:].max() == 0 and found[:, 10:20].min() == 1


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="expects a mask of"):
        mask_in_view(np.zeros((3, 3), dtype=bool), Geometry(4, 3, (32, 32)))
