"""One image from its bytes to the views that the network sees.

bytes → `decode` (`image_formats`) → RGB → `square` (crop, resize) → `views` (rotations) → `normalize` → tensor.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from irp_core.features.image_formats import decode, decode_mask

__all__ = ["center_box", "decode", "decode_mask", "normalize", "square", "view_angles", "views"]

# ImageNet statistics of RGB in [0, 1], as torchvision's weights expect them.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def center_box(width: int, height: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) in pixels of the central square of an image."""
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def square(image: Image.Image, size: int, crop: str = "none") -> Image.Image:
    """Resize to `size` x `size` pixels (bicubic, antialiased), of the full image or its central square."""
    if crop == "center":
        left, top, right, bottom = center_box(*image.size)
        # Not Image.crop, which holds Pillow's own limit of pixels against it: `images.max_pixels` is the limit here.
        image = Image.fromarray(np.asarray(image)[top:bottom, left:right])
    return image.resize((size, size), Image.Resampling.BICUBIC)


def view_angles(count: int, *, jitter_degrees: float = 0.0, seed: int = 0) -> tuple[float, ...]:
    """Rotation angles in degrees of the first `count` views of the bank.

    View v is at 360° times the base-2 radical inverse of v: 0, 180, 90, 270, 45, … so every prefix of
    the bank is spread evenly and a larger bank contains the smaller one. Jitter is uniform in
    ±`jitter_degrees`, drawn once per view and the same for every image.

    Example:
        >>> view_angles(4)
        (0.0, 180.0, 90.0, 270.0)
        >>> plate = square(Image.new("RGB", (40, 30)), 32)
        >>> views(plate, view_angles(4)).shape
        (4, 32, 32, 3)
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


def views(image: Image.Image, angles: tuple[float, ...]) -> NDArray[np.uint8]:
    """Rotate a square RGB image by each angle (counter-clockwise): array (views, size, size, 3).

    Corners are filled by reflection: black corners would be the strongest edges in the image. Multiples
    of 90° are exact.
    """
    size = image.width
    pixels = np.asarray(image)
    padded: Image.Image | None = None
    # A square rotated by 45° reaches (√2 - 1)/2 of its side beyond itself.
    margin = math.ceil(size * (math.sqrt(2.0) - 1.0) / 2.0) + 2
    rotated = []
    for angle in angles:
        if angle % 90.0 == 0.0:
            rotated.append(np.rot90(pixels, int(angle // 90.0) % 4))
            continue
        if padded is None:
            padded = Image.fromarray(np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), mode="reflect"))
        turned = padded.rotate(angle, Image.Resampling.BILINEAR)
        rotated.append(np.asarray(turned.crop((margin, margin, margin + size, margin + size))))
    return np.stack(rotated)


def normalize(pixels: Tensor) -> Tensor:
    """uint8 (n, height, width, 3) → float32 (n, 3, height, width), channels last, ImageNet statistics."""
    mean = torch.tensor(_MEAN, device=pixels.device)
    std = torch.tensor(_STD, device=pixels.device)
    # NHWC memory seen as NCHW is what torch calls channels-last: no copy.
    return ((pixels.float() / 255.0 - mean) / std).permute(0, 3, 1, 2)
