"""What was done to the images is what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter

from irp_core.data.schemas import HEALTH_SCHEMA
from irp_core.monitoring.health import MEASURES, health, health_drift
from irp_core.monitoring.repeats import differences, repeated
from irp_core.monitoring.set_health import HEALTH_COLUMNS, noted_oddities, summary_of

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


@pytest.mark.parametrize(("share", "told"), [(0.0, False), (0.05, False), (0.4, True)])
def test_images_that_repeat_those_before_them_are_told(share: float, told: bool) -> None:
    rng = np.random.default_rng(0)

    def stream(count: int, repeats: float) -> pd.DataFrame:
        shots = [rng.normal(128.0, 20.0, (32, 32))]
        for _ in range(count - 1):  # the same part again, with the sensor's noise, or another one
            shots.append(shots[-1] if rng.uniform() < repeats else rng.normal(128.0, 20.0, (32, 32)))
        noisy = [np.clip(shot + rng.normal(0, 1, shot.shape), 0, 255).astype(np.uint8) for shot in shots]
        return pd.DataFrame(dict.fromkeys(MEASURES, 0.5), index=range(count)).assign(difference=differences(noisy))

    found = health_drift(stream(200, 0.0), stream(100, share))
    assert found["measure"].tolist() == (["difference"] if told else [])
    assert not told or "of the images repeat one just before, at commissioning 0 %" in found["says"][0]


def test_images_without_any_difference_repeat_whatever_is_usual() -> None:
    usual = np.linspace(0.02, 0.04, 100)
    some = np.where(np.arange(100) < 10, 0.0, usual)  # two quick shots of one part, at commissioning
    assert repeated(some, np.zeros(100))[:2] == (0.1, 1.0)


def test_a_table_from_before_there_were_repeats_is_read() -> None:
    older = pd.DataFrame({name: np.linspace(0.4, 0.6, 100) for name in MEASURES})
    assert health_drift(older, older.assign(difference=np.nan)).empty


def test_a_set_says_which_images_are_unlike_the_others(images: list[Image.Image]) -> None:
    changed = [*images]
    changed[0], changed[1], changed[2] = darker(darker(images[0])), blurred(blurred(images[1])), overexposed(images[2])
    table = measured(changed).assign(
        image_id=[f"{number}.png" for number in range(len(changed))], md5="0" * 32, width=64, height=64
    )
    table.loc[3, "height"] = 48
    noted = noted_oddities(table)
    assert tuple(noted.columns) == HEALTH_COLUMNS == tuple(HEALTH_SCHEMA.names)
    odd = noted.loc[noted["odd"] != "", "odd"]
    assert {0, 1, 2, 3} <= set(odd.index) and len(odd) <= 5
    assert "darker" in odd[0] and "blurred" in odd[1] and "overexposed" in odd[2] and odd[3] == "64 x 48"
    brighter_or_darker = int(odd.str.contains("brighter|darker").sum())
    assert {row["measure"]: row["odd"] for row in summary_of(noted)}["brightness"] == brighter_or_darker
    assert noted_oddities(table.drop(index=odd.index))["odd"].eq("").all()
