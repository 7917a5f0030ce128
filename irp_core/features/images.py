"""One image from its bytes to the views that the network sees.

bytes → `decode` (`image_formats`) → RGB → `resized` (crop, resize) → `views` (rotations) → `normalize` → tensor.

An image is resized to `images.size`: a square, or (height, width) where its shape is to be kept. What is shown to the
network at another side is as large as a square of that side, in the image's shape (`shape_at`).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from irp_core.features.image_formats import decode, decode_mask

__all__ = ["center_box", "decode", "decode_mask", "normalize", "resized", "shape_at", "view_angles", "views"]

# ImageNet statistics of RGB in [0, 1], as torchvision's weights expect them.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def center_box(width: int, height: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) in pixels of the central square of an image."""
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def resized(image: Image.Image, shape: tuple[int, int], crop: str = "none") -> Image.Image:
    """Resize to `shape` (height, width) in pixels (bicubic, antialiased), of the full image or its central square."""
    if crop == "center":
        left, top, right, bottom = center_box(*image.size)
        # Not Image.crop, which holds Pillow's own limit of pixels against it: `images.max_pixels` is the limit here.
        image = Image.fromarray(np.asarray(image)[top:bottom, left:right])
    height, width = shape
    return image.resize((width, height), Image.Resampling.BICUBIC)


def shape_at(shape: tuple[int, int], side: int) -> tuple[int, int]:
    """(height, width) at which a view of `shape` is shown to the network at side `side`.

    A square view: the square of that side. Any other: about as many pixels in the view's own shape, so that it costs
    the same; height and width are multiples of 16, the stride of the deepest maps, and 32 at least.

    Example:
        >>> shape_at((256, 256), 384), shape_at((800, 320), 384), shape_at((320, 800), 384)
        ((384, 384), (608, 240), (240, 608))
    """
    height, width = shape
    if height == width:
        return side, side
    by = side / math.sqrt(height * width)
    return max(32, 16 * round(height * by / 16)), max(32, 16 * round(width * by / 16))


def view_angles(count: int, *, jitter_degrees: float = 0.0, seed: int = 0) -> tuple[float, ...]:
    """Rotation angles in degrees of the first `count` views of the bank.

    View v is at 360° times the base-2 radical inverse of v: 0, 180, 90, 270, 45, … so every prefix of
    the bank is spread evenly and a larger bank contains the smaller one. Jitter is uniform in
    ±`jitter_degrees`, drawn once per view and the same for every image.

    Example:
        >>> view_angles(4)
        (0.0, 180.0, 90.0, 270.0)
        >>> strip = resized(Image.new("RGB", (40, 90)), (64, 32))
        >>> [view.shape for view in views(strip, view_angles(4))]
        [(64, 32, 3), (64, 32, 3), (32, 64, 3), (32, 64, 3)]
    """
    jitter = np.random.default_rng(seed).uniform(-jitter_degrees, jitter_degrees, size=64)
    return tuple(round(360.0 * _radical_inverse(v) + float(jitter[v]), 6) % 360.0 for v in range(count))


def _radical_inverse(index: int) -> float:
    value, denominator = 0.0, 1.0
    while index:
        denominator *= 2.0
        value += (index & 1) / denominator
        index >>= 1
    return value


def views(image: Image.Image, angles: tuple[float, ...]) -> list[NDArray[np.uint8]]:
    """Rotate an RGB image by each angle (counter-clockwise): an array (height, width, 3) each.

    Corners are filled by reflection: black corners would be the strongest edges in the image. Multiples
    of 90° are exact; of an image that is not square, 90° and 270° change places of height and width, and nothing is
    lost. Any other angle keeps the frame, and what is turned out of it is lost: little of a square, much of a strip.
    """
    width, height = image.size
    pixels = np.asarray(image)
    padded: Image.Image | None = None
    # A frame rotated by 45° reaches (√2 - 1)/2 of a square's side beyond itself, and less of a strip than half of what
    # its diagonal is longer than its shorter side.
    margin = math.ceil((math.hypot(width, height) - min(width, height)) / 2.0) + 2
    rotated = []
    for angle in angles:
        if angle % 90.0 == 0.0:
            rotated.append(np.rot90(pixels, int(angle // 90.0) % 4))
            continue
        if padded is None:
            padded = Image.fromarray(np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), mode="reflect"))
        turned = padded.rotate(angle, Image.Resampling.BILINEAR)
        rotated.append(np.asarray(turned.crop((margin, margin, margin + width, margin + height))))
    return rotated


def normalize(pixels: Tensor) -> Tensor:
    """uint8 (n, height, width, 3) → float32 (n, 3, height, width), channels last, ImageNet statistics."""
    mean = torch.tensor(_MEAN, device=pixels.device)
    std = torch.tensor(_STD, device=pixels.device)
    # NHWC memory seen as NCHW is what torch calls channels-last: no copy.
    return ((pixels.float() / 255.0 - mean) / std).permute(0, 3, 1, 2)
