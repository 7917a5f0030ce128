"""One image from its bytes to what the network sees.

bytes → `decode` (`image_formats`) → RGB → `square` (crop, resize) → `views` (`view_bank`) → `normalize` → tensor.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from irp_core.features.image_formats import decode, decode_mask

__all__ = ["center_box", "decode", "decode_mask", "normalize", "square"]

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


def normalize(pixels: Tensor) -> Tensor:
    """uint8 (n, height, width, 3) → float32 (n, 3, height, width), channels last, ImageNet statistics."""
    mean = torch.tensor(_MEAN, device=pixels.device)
    std = torch.tensor(_STD, device=pixels.device)
    # NHWC memory seen as NCHW is what torch calls channels-last: no copy.
    return ((pixels.float() / 255.0 - mean) / std).permute(0, 3, 1, 2)
