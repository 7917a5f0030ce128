"""Batches from a pool: groups of crops of one image, perturbed together, some with a pasted blemish.

A group imitates what an inspection camera sees: one material under one light, parts of which are spoilt. The detectors
downstream whiten features within one product, so the student must get the differences *inside* a group right.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["MEAN", "STD", "draw_batch", "normalised"]

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalised(images: Tensor) -> Tensor:
    """ImageNet normalisation of ``(N, 3, H, W)`` images in [0, 1]."""
    mean, std = (torch.tensor(v, device=images.device).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (images - mean) / std


def _uniform(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def _crops(image: NDArray[np.uint8], side: int, crops: int, generator: torch.Generator) -> Tensor:
    """``crops`` crops of one pool image at one scale, resized to ``(crops, 3, side, side)`` in [0, 1]."""
    limit = min(image.shape[:2])
    extents = [min(limit - 1, max(40, int(side * float(torch.exp(_uniform(-0.6, 0.7, (), generator)))))) for _ in "yx"]
    if torch.rand((), generator=generator) < 0.6:
        extents[1] = extents[0]
    turn = torch.rand((), generator=generator) < 0.5  # half the groups keep their orientation, half turn each crop
    views = []
    for _ in range(crops):
        top, left = (int(torch.randint(limit - extent, (), generator=generator)) for extent in extents)
        window = torch.from_numpy(np.array(image[top : top + extents[0], left : left + extents[1]]))
        view = F.interpolate(
            window.permute(2, 0, 1)[None].float() / 255, (side, side), mode="bilinear", antialias=extents[0] > side
        )
        if turn:
            view = torch.rot90(view, int(torch.randint(4, (), generator=generator)), (2, 3))
        views.append(view)
    return torch.cat(views)


def _blemished(images: Tensor, generator: torch.Generator) -> Tensor:
    """Blend a soft ellipse, from a round spot to a hairline, of flat grey or of another image into 40 % of them."""
    count, side = images.shape[0], images.shape[-1]
    grid = torch.linspace(-1, 1, side)
    cx, cy = _uniform(-0.9, 0.9, (2, count, 1, 1), generator)
    angle = _uniform(0, torch.pi, (count, 1, 1), generator)
    long, thin = (
        torch.exp(_uniform(-3.0, -0.4, (count, 1, 1), generator)),
        torch.exp(_uniform(-3, 0, (count, 1, 1), generator)),
    )
    x, y = grid.view(1, 1, -1) - cx, grid.view(1, -1, 1) - cy
    u, v = torch.cos(angle) * x + torch.sin(angle) * y, -torch.sin(angle) * x + torch.cos(angle) * y
    radius = torch.sqrt((u / long) ** 2 + (v / (long * thin).clamp_min(1.5 / side)) ** 2)
    strength = _uniform(0.1, 1, (count, 1, 1), generator) * (torch.rand((count, 1, 1), generator=generator) < 0.4)
    mask = (torch.sigmoid(8 * (1 - radius)) * strength)[:, None]
    grey = torch.rand((count, 1, 1, 1), generator=generator).expand_as(images)
    flat = torch.rand((count, 1, 1, 1), generator=generator) < 0.6
    return images + mask * (torch.where(flat, grey, images.roll(count // 2 + 1, 0)) - images)


def _photometric(images: Tensor, groups: int, generator: torch.Generator) -> Tensor:
    """Greyness, colour cast, gamma, contrast, brightness, blur and noise: per group, with a slight jitter per crop."""
    count = images.shape[0]
    crops = count // groups

    def per_group(low: float, high: float, jitter: float) -> Tensor:
        value = _uniform(low, high, (groups,), generator).repeat_interleave(crops)
        return (value + jitter * torch.randn(count, generator=generator)).view(-1, 1, 1, 1)

    def chance(probability: float) -> Tensor:
        return (torch.rand(groups, generator=generator) < probability).repeat_interleave(crops).view(-1, 1, 1, 1)

    luma = (images * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    images = torch.where(chance(0.55), luma.expand_as(images), images)
    cast = torch.cat([per_group(0.75, 1.25, 0.0) for _ in range(3)], 1)
    images = torch.where(chance(0.25), images * cast, images).clamp(0, 1)
    images = images.clamp_min(1e-4) ** torch.exp(per_group(-0.5, 0.5, 0.02))
    mean = images.mean((1, 2, 3), keepdim=True)
    images = mean + (images - mean) * torch.exp(per_group(-1.2, 0.5, 0.03)) + per_group(-0.25, 0.25, 0.01)
    if torch.rand((), generator=generator) < 0.3:
        sigma = float(_uniform(0.4, 1.6, (), generator))
        taps = torch.exp(-0.5 * (torch.arange(-3.0, 4.0) / sigma) ** 2)
        taps = (taps / taps.sum()).view(1, 1, 1, 7).repeat(3, 1, 1, 1)
        blurred = F.conv2d(F.pad(images, (3, 3, 3, 3), mode="reflect"), taps, groups=3)
        blurred = F.conv2d(blurred, taps.transpose(2, 3), groups=3)
        images = torch.where(chance(0.6), blurred, images)
    noise = torch.randn((count, 1, *images.shape[2:]), generator=generator)
    images = torch.where(chance(0.35), images + noise * per_group(0, 0.06, 0).abs(), images)
    return images.clamp(0, 1)


def draw_batch(
    pool: NDArray[np.uint8], groups: int, crops: int, side: int, generator: torch.Generator, first: int | None = None
) -> Tensor:
    """One training batch.

    Args:
        pool: ``(count, S, S, 3)`` uint8 images.
        groups: pool images in the batch.
        crops: crops of each; they share scale and light.
        side: side of the crops in pixels.
        generator: where all randomness comes from.
        first: take the pool images from here on, in order, instead of at random (for validation).

    Returns:
        ``(groups * crops, 3, side, side)``, ImageNet-normalised; the crops of a group are adjacent.
    """
    chosen = torch.randint(len(pool), (groups,), generator=generator).tolist()
    if first is not None:
        chosen = [(first + i) % len(pool) for i in range(groups)]
    images = torch.cat([_crops(pool[i], side, crops, generator) for i in chosen])
    return normalised(_photometric(_blemished(images, generator), groups, generator))
