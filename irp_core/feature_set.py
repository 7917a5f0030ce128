"""What a detector sees of a set of images: pooled features, patch features, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FeatureSet"]


@dataclass(frozen=True)
class FeatureSet:
    """Features of n images, in one order; no labels, no paths.

    `pooled` (n, views, dimensions): per view, the feature maps averaged over the image at every scale.
    `patches` (n, patches, channels): of the upright view, the deepest map on a grid; None where no detector asked.
    """

    pooled: NDArray[np.float32]
    patches: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.pooled)

    def __getitem__(self, images: NDArray[np.bool_] | NDArray[np.intp] | slice) -> FeatureSet:
        """The images that a mask, an index array or a slice selects."""
        return FeatureSet(self.pooled[images], None if self.patches is None else self.patches[images])

    def check(self, caller: str, *, patches: bool = False) -> None:
        """Refuse what no detector can use.

        Raises:
            ValueError: not of these shapes, empty, not finite, or without the patches that `caller` needs.
        """
        if self.pooled.ndim != 3 or 0 in self.pooled.shape:
            raise ValueError(f"{caller} expects pooled features (images, views, dimensions). Got {self.pooled.shape}.")
        if not np.isfinite(self.pooled).all():
            raise ValueError(f"{caller} expects finite features. Got NaN or infinity.")
        if not patches:
            return
        if self.patches is None or self.patches.ndim != 3 or len(self.patches) != len(self):
            found = None if self.patches is None else self.patches.shape
            raise ValueError(f"{caller} expects patch features (images, patches, channels). Got {found}.")
        if not np.isfinite(self.patches).all():
            raise ValueError(f"{caller} expects finite features. Got NaN or infinity.")
