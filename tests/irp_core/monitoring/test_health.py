"""What was done to the images is what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter

from irp_core.monitoring.health import MEASURES, health, health_drift

Change = Callable[[Image.Image], Image.Image]


def measured(images: list[Image.Image], change: Change = lambda image: image) -> pd.DataFrame:
    return pd.DataFrame([health(change(image)) for image in images])


@pytest.fixture(scope="module")
def images(plant: Path) -> list[Image.Image]:
    files = sorted((plant / "train" / "good").iterdir())
    return [Image.open(file).convert("RGB") for file in files]


def darker(image: Image.Image) -> Image.Image:
    return image.point(lambda value: int(0.7 * value))


def blurred(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(1.5))


def greyer(image: Image.Image) -> Image.Image:
    return Image.blend(image, image.convert("L").convert("RGB"), 0.8)


def overexposed(image: Image.Image) -> Image.Image:
    return image.point(lambda value: min(255, 3 * value))


def test_images_of_the_same_line_have_not_changed(images: list[Image.Image]) -> None:
    assert len(health_drift(measured(images[::2]), measured(images[1::2]))) == 0


@pytest.mark.parametrize(
    ("change", "measure", "said"),
    [
        (darker, "brightness", "% darker"),
        (blurred, "sharpness", "less sharp"),
        (overexposed, "white", "clipped to white"),
    ],
)
def test_a_change_is_named(change: Change, measure: str, said: str, images: list[Image.Image]) -> None:
    found = health_drift(measured(images), measured(images, change))
    assert said in found.set_index("measure")["says"][measure]


def test_light_and_contrast_do_not_change_the_sharpness(images: list[Image.Image]) -> None:
    found = health_drift(measured(images), measured(images, darker))
    assert "sharpness" not in set(found["measure"])
    assert abs(found.set_index("measure")["change"]["brightness"] + 0.3) < 0.02


def test_colour_that_fades_is_named() -> None:
    rng = np.random.default_rng(0)
    coloured = [Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in range(30)]
    assert (
        "paler"
        in health_drift(measured(coloured), measured(coloured, greyer)).set_index("measure")["says"]["saturation"]
    )


def test_an_image_of_one_colour_has_figures() -> None:
    found = health(Image.new("L", (1, 1), 255))
    assert set(found) == set(MEASURES)
    assert all(np.isfinite(list(found.values())))
