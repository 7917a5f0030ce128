"""Features of the upright view that tell whether something is in one place: patches, and the maps' kurtosis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from irp_core.backbones import MIDDLE
from irp_core.config import Features
from irp_core.features.feature_set import FeatureSet, Local
from irp_core.features.pooled import Extractor, PooledExtractor

__all__ = ["feature_set", "local_extractor", "local_spec", "map_kurtosis", "patch_cells"]

Rows = NDArray[np.float32]


def local_extractor(name: Local, network: PooledExtractor, features: Features) -> Extractor:
    """uint8 views (n, size, size, 3) → rows (n, numbers) of the local feature `name`, by `network`'s backbone."""
    patches = name == "patches"
    scale = features.scales[0] if patches else features.kurtosis_scale
    layer = network.backbone.layers[-1] if patches else MIDDLE[network.backbone.name]

    @torch.inference_mode()
    def extract_rows(pixels: NDArray[np.uint8]) -> Rows:
        maps = network.maps(pixels, scale)[layer].float()
        found = patch_cells(maps, features.patch_grid, features.patch_channels) if patches else map_kurtosis(maps)
        rows: Rows = found.flatten(1).cpu().contiguous().numpy()
        return rows

    return extract_rows


def local_spec(name: Local, spec: Mapping[str, object], features: Features) -> dict[str, Any]:
    """Everything that a stored row of `name` depends on, given what `extractor_spec` says of the pooled features."""
    spec = {key: value for key, value in spec.items() if key != "views"}  # local features are of the first view
    if name == "patches":
        return {**spec, "scales": [features.scales[0]], "patches": [features.patch_grid, features.patch_channels]}
    return {**spec, "layers": [MIDDLE[str(spec["backbone"])]], "scales": [features.kurtosis_scale], "kurtosis": True}


def feature_set(pooled: Rows, local: Mapping[Local, Rows], patch_grid: int) -> FeatureSet:
    """Pooled features and the extractors' rows (n, numbers), as a detector sees them."""
    patches = local.get("patches")
    if patches is not None:
        patches = patches.reshape(len(patches), patch_grid**2, -1)
    return FeatureSet(pooled, patches, local.get("kurtosis"))


def patch_cells(maps: Tensor, grid: int, channels: int) -> Tensor:
    """Maps (n, inputs, height, width) averaged over a grid and projected to fewer channels: (n, grid², channels).

    The projection is a fixed Gaussian matrix (distances survive it: Johnson and Lindenstrauss); neighbouring cells are
    averaged first, 3x3, so that a patch speaks for its surroundings (Roth et al., PatchCore, CVPR 2022).
    """
    # The zeros beyond the image count, as in PatchCore: they damp the border cells, where the network saw its own
    # padding instead of the image (measured: docs/choosing.md).
    smoothed = F.avg_pool2d(maps, 3, stride=1, padding=1)
    cells = F.adaptive_avg_pool2d(smoothed, grid).flatten(2).transpose(1, 2).cpu()
    inputs = cells.shape[2]
    if channels < inputs:
        # On the CPU, whatever the device: the matrix must be the same everywhere.
        matrix = torch.randn(inputs, channels, generator=torch.Generator().manual_seed(0))
        cells = cells @ (matrix / channels**0.5)
    return cells


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
