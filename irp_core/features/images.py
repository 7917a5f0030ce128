"""One image from its bytes to what the network sees.

bytes → `decode` (`image_formats`) → RGB → `resized` (crop, resize) → `views` (`view_bank`) → `normalize` (`pooled`).

An image is resized to `images.size`: a square, or (height, width) where its shape is to be kept. What is shown to the
network at another side is as large as a square of that side, in the image's shape (`shape_at`).
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from irp_core.features.image_formats import decode, decode_mask

__all__ = ["center_box", "decode", "decode_mask", "resized", "shape_at"]


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
