"""Features of the upright view that tell whether something is in one place: patches, kurtosis and cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from irp_core.backbones import MIDDLE, Backbone
from irp_core.config import Features, Images
from irp_core.features.cells import LARGEST, cell_grid, cell_layers, cells, projected
from irp_core.features.feature_set import FeatureSet, Local

__all__ = [
    "LocalFeature",
    "feature_set",
    "halved",
    "local_feature",
    "local_spec",
    "map_kurtosis",
    "patch_cells",
    "row_shape",
    "widened",
]

Rows = NDArray[Any]


@dataclass(frozen=True)
class LocalFeature:
    """One local feature: at which side the network is shown the view, and what is read from its maps.

    `read`: maps by layer (n, channels, h, w) → (n, numbers).
    """

    name: Local
    scale: int
    read: Callable[[Mapping[str, Tensor]], Tensor]


def local_feature(name: Local, backbone: Backbone, features: Features, images: Images) -> LocalFeature:
    """The local feature `name`, as the parameters describe it."""
    if name == "patches":
        deepest = backbone.layers[-1]
        return LocalFeature(
            name,
            features.scales[0],
            lambda maps: patch_cells(maps[deepest].float(), features.patch_grid, features.patch_channels).flatten(1),
        )
    if name == "kurtosis":
        middle = MIDDLE[backbone.name]
        return LocalFeature(name, features.kurtosis_scale, lambda maps: map_kurtosis(maps[middle].float()))
    layers, grid = cell_layers(backbone), cell_grid(features, images)
    return LocalFeature(
        name, features.cell_scale, lambda maps: cells(maps, layers, grid, features.cell_channels).flatten(1)
    )


def local_spec(
    name: Local, spec: Mapping[str, object], features: Features, backbone: Backbone, images: Images
) -> dict[str, Any]:
    """Everything that a stored row of `name` depends on, given what `extractor_spec` says of the pooled features."""
    spec = {key: value for key, value in spec.items() if key != "views"}  # local features are of the first view
    if name == "patches":
        return {**spec, "scales": [features.scales[0]], "patches": [features.patch_grid, features.patch_channels]}
    if name == "kurtosis":
        return {**spec, "layers": [MIDDLE[backbone.name]], "scales": [features.kurtosis_scale], "kurtosis": True}
    return {
        **spec,
        "layers": list(cell_layers(backbone)),
        "scales": [features.cell_scale],
        "cells": [*cell_grid(features, images), features.cell_channels],
        "dtype": "float16",
    }


def row_shape(name: Local, features: Features, images: Images) -> tuple[int, ...]:
    """The shape of an image's row of `name` as a detector sees it; -1 is the channels."""
    if name == "patches":
        return features.patch_grid**2, -1
    return (-1,) if name == "kurtosis" else (*cell_grid(features, images), -1)


def feature_set(pooled: Rows, local: Mapping[Local, Rows], shapes: Mapping[Local, tuple[int, ...]]) -> FeatureSet:
    """Pooled features and rows (n, numbers) of local ones (`row_shape`), as a detector sees them."""
    seen = {name: widened(name, rows).reshape(len(rows), *shapes[name]) for name, rows in local.items()}
    return FeatureSet(widened("pooled", pooled), **seen)


def halved(rows: Rows) -> Rows:
    """Rows in half precision, as a store of half the bytes holds them."""
    half: Rows = np.clip(rows, -LARGEST, LARGEST).astype(np.float16)
    return half


def widened(name: str, rows: Rows) -> Rows:
    """Rows as a detector sees them: in single precision whatever the store's, but cells."""
    return rows if name == "cells" else rows.astype(np.float32, copy=False)


def patch_cells(maps: Tensor, grid: int, channels: int) -> Tensor:
    """Maps (n, inputs, height, width) averaged over a grid and projected to fewer channels: (n, grid², channels).

    The projection is a fixed Gaussian matrix (distances survive it: Johnson and Lindenstrauss); neighbouring cells are
    averaged first, 3x3, so that a patch speaks for its surroundings (Roth et al., PatchCore, CVPR 2022).
    """
    # The zeros beyond the image count, as in PatchCore: they damp the border cells, where the network saw its own
    # padding instead of the image (measured: docs/choosing.md).
    smoothed = F.avg_pool2d(maps, 3, stride=1, padding=1)
    return projected(F.adaptive_avg_pool2d(smoothed, grid).flatten(2).transpose(1, 2), channels)


def map_kurtosis(maps: Tensor) -> Tensor:
    """log (1 + kurtosis) over the image of each channel of maps (n, channels, height, width): (n, channels).

    A texture answers everywhere and about as much; a blowhole or a stain answers in one spot, and that is what a fourth
    moment sees. Maps are smoothed (3x3) and halved; the outermost cells, where the network saw its padding, are
    left out; rows' and columns' means are taken off (two-way analysis of variance), which removes a gradient of
    the light and the stripes of a grinding.

    Example:
        >>> calm = torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(0))
        >>> spot = calm.clone()
        >>> spot[0, 0, 10:13, 10:13] += 5
        >>> bool(map_kurtosis(spot) > map_kurtosis(calm))
        True
    """
    calm = F.avg_pool2d(F.avg_pool2d(maps, 3, stride=1, padding=1), 2)[:, :, 1:-1, 1:-1]
    rows, columns = calm.mean(dim=3, keepdim=True), calm.mean(dim=2, keepdim=True)
    residuals = calm - rows - columns + calm.mean(dim=(2, 3), keepdim=True)
    # A floor: a channel that answers nowhere has no shape.
    spread = residuals.std(dim=(2, 3), correction=0, keepdim=True) + 1e-3
    return torch.log1p((residuals / spread).pow(4).mean(dim=(2, 3)))
