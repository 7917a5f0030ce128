"""Maps on disk: where they go, in which geometry, and what is said of an image that is no longer there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from irp_core.config import Images
from irp_core.localisation.geometry import ORIENTATION, as_stored
from irp_core.localisation.scale import MapScale
from irp_core.localisation.writing import MAPS_SCALE, MapWriter

SCALE = MapScale(low=1.0, threshold=2.0, high=3.0, false_alarm_rate=0.05, images=20, basis="quantile")


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_a_raw_map_has_the_pixels_of_its_image(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = np.zeros((60, 100, 3), dtype=np.uint8)
    upright[10:20, 70:90] = 255
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = tmp_path / "in" / "sub" / f"part.{suffix}"
    file.parent.mkdir(parents=True)
    Image.fromarray(np.ascontiguousarray(as_stored(upright, orientation))).save(file, exif=exif)
    view = np.ones((64, 64), dtype=np.float32)
    view[10 * 64 // 60 : 20 * 64 // 60, 70 * 64 // 100 : 90 * 64 // 100] = 5.0
    writer = MapWriter(tmp_path / "out", tmp_path / "in", SCALE, Images(size=64))
    writer(file, view)
    (row,) = writer.finish().to_dict("records")
    with Image.open(tmp_path / "out" / row["map"]) as raw, Image.open(file) as image:
        image.load()
        raw.load()
        assert raw.size == image.size
        # Read alike, both turned upright or neither, the highest scores lie on what is bright.
        for read in (lambda opened: opened, ImageOps.exif_transpose):
            scores, pixels = np.asarray(read(raw)).astype(int), np.asarray(read(image).convert("L"))
            assert scores.shape == pixels.shape
            assert pixels[scores > 0.9 * scores.max()].mean() > 200
    with Image.open(tmp_path / "out" / row["overlay"]) as shown:
        assert shown.size == (100, 60)
    assert (row["map"], 69 < row["x"] < 91, 9 < row["y"] < 21) == (f"sub/part.{suffix}.map.png", True, True)
    ((left, top, right, bottom),) = json.loads(row["boxes"])
    assert left <= 72 and top <= 11 and right >= 88 and bottom >= 19 and right - left < 30 and bottom - top < 20
    assert json.loads((tmp_path / "out" / MAPS_SCALE).read_text())["raw_threshold"] == 1024


def test_an_image_that_is_gone_has_a_row_that_says_so(tmp_path: Path) -> None:
    writer = MapWriter(tmp_path / "out", tmp_path, SCALE, Images())
    writer(tmp_path / "gone.png", np.ones((256, 256), dtype=np.float32))
    (row,) = writer.finish().to_dict("records")
    assert row["error"] and row["overlay"] is None


def test_images_that_share_a_name_do_not_share_a_file(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (40, 40)).save(tmp_path / folder / "x.png")
    writer = MapWriter(tmp_path / "out", tmp_path / "elsewhere", SCALE, Images())
    for folder in ("a", "b"):
        writer(tmp_path / folder / "x.png", np.ones((256, 256), dtype=np.float32))
    assert sorted(writer.finish()["map"]) == ["x.png-2.map.png", "x.png.map.png"]
