"""What a detector sees of a set of images: pooled features, local features where it asks, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "FeatureSet", "Local", "Result"]

BLOCK = 4096
"""Images that are read and computed on at once; a multiple of every detector's own batch: no bit depends on it."""

Result = TypeVar("Result")
Local = Literal["patches", "kurtosis", "cells"]
"""Features that tell whether something is in one place of an image: extracted where a detector `needs` them."""
_SHAPES: dict[Local, str] = {
    "patches": "(images, patches, channels)",
    "kurtosis": "(images, channels)",
    "cells": "(images, rows, columns, channels)",
}


@dataclass(frozen=True)
class FeatureSet:
    """Features of n images, in one order; no labels, no paths.

    `pooled` (n, views, dimensions): per view, the feature maps averaged over the image at every scale.
    `patches` (n, patches, channels): of the upright view, the deepest map on a grid.
    `kurtosis` (n, channels): of the upright view, log (1 + kurtosis) of each channel of the middle map over the image.
    `cells` (n, rows, columns, channels), in half precision: of the upright view, two maps on a fine grid that keeps the
    image's shape.
    The last three are None where no detector asked.

    Example:
        >>> images = FeatureSet(np.zeros((5, 2, 16), dtype=np.float32))
        >>> kept = images[np.array([True, False, True, True, False])]
        >>> len(kept), kept.pooled.shape
        (3, (3, 2, 16))
    """

    pooled: NDArray[np.float32]
    patches: NDArray[np.float32] | None = None
    kurtosis: NDArray[np.float32] | None = None
    cells: NDArray[np.float16] | None = None

    def __len__(self) -> int:
        return len(self.pooled)

    def __getitem__(self, images: NDArray[np.bool_] | NDArray[np.intp] | slice) -> FeatureSet:
        """The images that a mask, an index array or a slice selects."""
        chosen = {name: values[images] for name in _SHAPES if (values := getattr(self, name)) is not None}
        return FeatureSet(self.pooled[images], **chosen)

    @property
    def dimensions(self) -> int:
        """Length of one view's feature vector."""
        return int(self.pooled.shape[2])

    def blocks(self) -> Iterator[FeatureSet]:
        """The same images, in order, some thousands at a time: of a set in a store no more are in memory at once."""
        for start in range(0, len(self), BLOCK):
            yield self[slice(start, start + BLOCK)]

    def each_part(self, function: Callable[..., Result], *columns: Sequence[Any]) -> Iterator[Result]:
        """`function(part, ...)` of each part of the images, in order; here of all of them as one part.

        A set that is spread over processes (`irp_core.features.pipeline.StoredSet`) has several parts, which others
        compute: for what an image's result does not depend on the images beside it.

        Args:
            columns: an entry per image each; `function` gets those of its part, after the part.
        """
        yield function(self, *columns)

    def having(self, needs: tuple[Local, ...]) -> FeatureSet:
        """The images of which these local features were extracted: all, save of a large set in a store."""
        return self

    def first_views(self, count: int) -> FeatureSet:
        """The same images with their first `count` views."""
        return self if self.pooled.shape[1] <= count else replace(self, pooled=self.pooled[:, :count])

    def check(self, caller: str, needs: tuple[Local, ...] = ()) -> None:
        """Refuse what no detector can use.

        Raises:
            ValueError: not of these shapes, empty, not finite, or without the local features that `caller` needs.
        """
        if self.pooled.ndim != 3 or 0 in self.pooled.shape:
            raise ValueError(f"{caller} expects pooled features (images, views, dimensions). Got {self.pooled.shape}.")
        if not np.isfinite(self.pooled).all():
            raise ValueError(f"{caller} expects finite features. Got NaN or infinity.")
        for name in needs:
            values: NDArray[np.floating[Any]] | None = getattr(self, name)
            shape = _SHAPES[name]
            if values is None or values.ndim != shape.count(",") + 1 or len(values) != len(self):
                raise ValueError(f"{caller} expects {name} {shape}. Got {None if values is None else values.shape}.")
            if not np.isfinite(values).all():
                raise ValueError(f"{caller} expects finite features. Got NaN or infinity.")
