"""Cells: what two maps of the upright view say of each place of an image, on a fine grid that keeps its shape."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from irp_core.backbones import LAYERS, MIDDLE, Backbone
from irp_core.config import Features, Images
from irp_core.features.images import shape_at

__all__ = ["LARGEST", "cell_grid", "cell_layers", "cells", "projected"]

LARGEST = 60_000.0
"""Half precision ends at 65,504."""


def cell_layers(backbone: Backbone) -> tuple[str, ...]:
    """The maps that cells are made of: the middle one, which is fine, and the deepest used, which knows more."""
    deepest = max(backbone.layers, key=LAYERS[backbone.name].index)
    return tuple(dict.fromkeys((MIDDLE[backbone.name], deepest)))


def cell_grid(features: Features, images: Images) -> tuple[int, int]:
    """(rows, columns) of the grid: the size of the view that the network is shown, by `features.cell`.

    Example:
        >>> cell_grid(Features(), Images())
        (23, 23)
        >>> cell_grid(Features(), Images(size=(800, 320)))
        (36, 15)
    """
    height, width = shape_at(images.shape, features.cell_scale)
    return max(1, round(height / features.cell)), max(1, round(width / features.cell))


def cells(maps: Mapping[str, Tensor], layers: tuple[str, ...], grid: tuple[int, int], channels: int) -> Tensor:
    """Maps (n, inputs, height, width) of `layers` as cells (n, rows, columns, channels), in half precision.

    Each map is smoothed (3x3), so that a cell speaks for its surroundings, and brought to the grid by averaging; the
    maps are joined cell by cell (PaDiM, Defard et al., 2021; PatchCore, Roth et al., CVPR 2022) and projected by a
    fixed Gaussian matrix, which keeps distances (Johnson and Lindenstrauss). PaDiM draws channels at random instead:
    measured, that loses 3 to 5 points on small defects (docs/decisions/0015-cells-and-ensemble.md).
    """
    averaged = [
        F.adaptive_avg_pool2d(F.avg_pool2d(maps[layer].float(), 3, stride=1, padding=1), grid) for layer in layers
    ]
    joined = projected(torch.cat(averaged, dim=1).permute(0, 2, 3, 1), channels)
    return joined.clamp(-LARGEST, LARGEST).half()


def projected(cells: Tensor, channels: int) -> Tensor:
    """Cells (…, inputs) by a fixed Gaussian matrix to (…, channels), on the CPU; as they are where that is no fewer."""
    cells = cells.cpu()  # whatever the device: the projection must be the same everywhere
    inputs = cells.shape[-1]
    if channels >= inputs:
        return cells
    matrix = torch.randn(inputs, channels, generator=torch.Generator().manual_seed(0))
    fewer: Tensor = cells @ (matrix / channels**0.5)
    return fewer
