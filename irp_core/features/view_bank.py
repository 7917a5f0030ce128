"""The fixed bank of transformed views of an image: the set T of equation 4 (PAPER; DifferNet, WACV 2021, section 3).

A view's parameters are drawn once and are the same for every image, so that its features can be stored and read by
every run. The order of composition is: enlarge about the centre, move, turn about the centre; then contrast,
brightness and noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from irp_core.config import Views

__all__ = ["View", "view_bank", "views"]

_BANK = 64  # views that are drawn, whatever their number: a larger bank contains the smaller one


@dataclass(frozen=True)
class View:
    """One transformation of an image.

    Attributes:
        angle: degrees, counter-clockwise.
        zoom: factor of enlargement about the centre.
        shift: of the image's content to the right and down, as shares of its width and height; rounded to whole pixels.
        contrast: factor on the difference to the image's mean grey value.
        brightness: added, as a share of white.
        noise: standard deviation of Gaussian noise, as a share of white.
        noise_seed: of the noise, which is the same for every image.
    """

    angle: float = 0.0
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    contrast: float = 1.0
    brightness: float = 0.0
    noise: float = 0.0
    noise_seed: tuple[int, int] = (0, 0)


def view_bank(settings: Views, count: int) -> tuple[View, ...]:
    """The first `count` views of the bank.

    View v is turned by 360° times the base-2 radical inverse of v: 0, 180, 90, 270, 45, … so every prefix of the bank
    is spread evenly. Jitter of the angle is uniform in ±`jitter_degrees`; shift, zoom, contrast and brightness are
    uniform in ± their settings, noise has its setting as standard deviation. The first view is not moved, enlarged or
    altered in grey values: local features are made of it.

    Example:
        >>> [view.angle for view in view_bank(Views(), 4)]
        [0.0, 180.0, 90.0, 270.0]
        >>> [view.shift for view in view_bank(Views(translate=0.1), 2)]
        [(0.0, 0.0), (0.060182, 0.091303)]
    """
    jitter = _uniform(settings.seed, settings.jitter_degrees, ())
    shift = _uniform([settings.seed, 1], settings.translate, (2,))
    zoom, contrast, brightness = (
        _uniform([settings.seed, stream], size, ())
        for stream, size in ((2, settings.zoom), (3, settings.contrast), (4, settings.brightness))
    )
    return tuple(
        View(
            round(360.0 * _radical_inverse(v) + float(jitter[v]), 6) % 360.0,
            *(
                (
                    1.0 + round(float(zoom[v]), 6),
                    (round(float(shift[v, 0]), 6), round(float(shift[v, 1]), 6)),
                    1.0 + round(float(contrast[v]), 6),
                    round(float(brightness[v]), 6),
                    settings.noise,
                    (settings.seed, v),
                )
                if v
                else ()
            ),
        )
        for v in range(count)
    )


def _uniform(seed: int | list[int], bound: float, shape: tuple[int, ...]) -> NDArray[np.float64]:
    drawn: NDArray[np.float64] = np.random.default_rng(seed).uniform(-bound, bound, size=(_BANK, *shape))
    return drawn


def _radical_inverse(index: int) -> float:
    value, denominator = 0.0, 1.0
    while index:
        denominator *= 2.0
        value += (index & 1) / denominator
        index >>= 1
    return value


def views(image: Image.Image, bank: Sequence[View]) -> list[NDArray[np.uint8]]:
    """Each view of an RGB image: an array (height, width, 3).

    What a view shows beyond the image's border is its reflection: black corners would be the strongest edges in the
    image. Without enlargement, turns by multiples of 90° and shifts are exact; anything else is interpolated
    bilinearly, once.

    A strip is turned about its nearest quarter turn, with height and width in each other's place where that is 90° or
    270°: nothing of it is lost then. By how much it is turned beyond, so much of its ends is out of the frame.

    Example:
        >>> strip = Image.new("RGB", (24, 64), "white")
        >>> [view.shape for view in views(strip, view_bank(Views(translate=0.2, zoom=0.1), 4))]
        [(64, 24, 3), (64, 24, 3), (24, 64, 3), (24, 64, 3)]
    """
    pixels = np.asarray(image)
    return [_grey_values(_turned(pixels, view), view) for view in bank]


def _turned(pixels: NDArray[np.uint8], view: View) -> NDArray[np.uint8]:
    if pixels.shape[0] == pixels.shape[1]:
        return _geometry(pixels, view)
    quarters = round(view.angle / 90.0)
    within = _geometry(pixels, replace(view, angle=view.angle - 90.0 * quarters))
    return np.rot90(within, quarters % 4)


def _geometry(pixels: NDArray[np.uint8], view: View) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    right, down = round(view.shift[0] * width), round(view.shift[1] * height)
    diagonal, shorter = math.hypot(width, height), min(width, height)
    if view.zoom == 1.0 and view.angle % 90.0 == 0.0:
        return np.rot90(_moved(pixels, right, down), int(view.angle // 90.0) % 4)
    if view.zoom == 1.0:
        # Turned, a frame reaches beyond itself by at most half of what its diagonal is longer than its shorter side.
        margin = math.ceil((diagonal - shorter) / 2.0) + 2
        padded = Image.fromarray(_reflected(_moved(pixels, right, down), margin))
        turned = padded.rotate(view.angle, Image.Resampling.BILINEAR)
        return np.asarray(turned.crop((margin, margin, margin + width, margin + height)))
    # From a pixel of the view back to the image: turned back about the centre, moved back, reduced about the centre.
    margin = math.ceil((diagonal / view.zoom - shorter) / 2.0 + max(abs(right), abs(down)) / view.zoom) + 2
    margin = max(margin, 2)
    cosine, sine = math.cos(math.radians(view.angle)) / view.zoom, math.sin(math.radians(view.angle)) / view.zoom
    across, along = width / 2.0, height / 2.0
    to_column = (cosine, -sine, across + margin - cosine * across + sine * along - right / view.zoom)
    to_row = (sine, cosine, along + margin - sine * across - cosine * along - down / view.zoom)
    shown = Image.fromarray(_reflected(pixels, margin)).transform(
        (width, height), Image.Transform.AFFINE, (*to_column, *to_row), Image.Resampling.BILINEAR
    )
    return np.asarray(shown)


def _reflected(pixels: NDArray[np.uint8], margin: int) -> NDArray[np.uint8]:
    return np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")


def _moved(pixels: NDArray[np.uint8], right: int, down: int) -> NDArray[np.uint8]:
    if right == down == 0:
        return pixels
    margin, (height, width) = max(abs(right), abs(down)), pixels.shape[:2]
    return _reflected(pixels, margin)[margin - down : margin - down + height, margin - right : margin - right + width]


def _grey_values(pixels: NDArray[np.uint8], view: View) -> NDArray[np.uint8]:
    if view.contrast == 1.0 and view.brightness == 0.0 and view.noise == 0.0:
        return pixels
    mean = float(pixels.mean())
    changed = mean + view.contrast * (pixels.astype(np.float32) - mean) + 255.0 * view.brightness
    if view.noise:
        generator = np.random.default_rng([*view.noise_seed, 5])
        changed += 255.0 * view.noise * generator.standard_normal(pixels.shape, dtype=np.float32)
    found: NDArray[np.uint8] = np.clip(np.rint(changed), 0, 255).astype(np.uint8)
    return found
