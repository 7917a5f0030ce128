"""First, second and fourth moments of whole-image features, a block at a time: memory does not grow with the set.

Accumulated about a provisional mean, the first block's, and in units of its spread: what is subtracted in the end is
small beside what is left (Chan, Golub and LeVeque, 1983). The result does not depend on the order of the images but by
rounding: about 1e-12 of a score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irp_core.features.feature_set import BLOCK, FeatureSet

__all__ = ["Moments", "of_images"]

Values = NDArray[np.float64]


def of_images(features: FeatureSet) -> Values:
    """One vector per image: the views' mean, which damps what depends on the orientation (measured: docs/choosing)."""
    averaged: Values = features.pooled.astype(np.float64).mean(axis=1)
    return averaged


@dataclass(frozen=True, eq=False)
class Moments:
    """Of n images with d features each: sums of y and of y yᵀ, y = (x - shift) / unit.

    `shift` and `unit` (d,) are the same for all moments that are joined.
    """

    shift: Values
    unit: Values
    count: int
    total: Values
    products: Values

    @classmethod
    def of(cls, features: FeatureSet) -> Moments:
        """Of all images of a set."""
        (moments,) = cls.of_each(features, np.zeros(len(features), dtype=np.intp)).values()
        return moments

    @classmethod
    def of_each(cls, features: FeatureSet, folds: NDArray[np.intp]) -> dict[int, Moments]:
        """Fold → the moments of its images; fold -1 is left out. Reads the features once."""
        found: dict[int, Moments] = {}
        shift = unit = np.zeros(0)
        for number, block in enumerate(features.blocks()):
            samples = of_images(block)
            if number == 0:
                shift, unit = samples.mean(axis=0), np.maximum(samples.std(axis=0), 1e-6)
            samples = (samples - shift) / unit
            assigned = folds[number * BLOCK : (number + 1) * BLOCK]
            for fold in np.unique(assigned[assigned >= 0]).tolist():
                mine = samples[assigned == fold]
                own = cls(shift, unit, len(mine), mine.sum(axis=0), mine.T @ mine)
                found[fold] = cls.joined([found[fold], own]) if fold in found else own
        return found

    @classmethod
    def joined(cls, parts: Sequence[Moments]) -> Moments:
        """Of all images of the parts."""
        return cls(
            parts[0].shift,
            parts[0].unit,
            sum(part.count for part in parts),
            np.sum([part.total for part in parts], axis=0),
            np.sum([part.products for part in parts], axis=0),
        )

    @property
    def mean(self) -> Values:
        """Of the features (d,)."""
        mean: Values = self.shift + self.unit * self.total / self.count
        return mean

    @property
    def spread(self) -> Values:
        """Standard deviation of the features (d,)."""
        squares = np.diagonal(self.products) / self.count - np.square(self.total / self.count)
        # A channel that never fires has no spread; dividing by the floor keeps it at zero.
        spread: Values = np.maximum(self.unit * np.sqrt(np.maximum(squares, 0.0)), 1e-6)
        return spread

    def fourth(self, features: FeatureSet) -> float:
        """Sum over the images of the fourth power of the standardised features' length. Reads the features once."""
        return sum(self.fourth_of(of_images(block)) for block in features.blocks())

    def fourth_of(self, samples: Values) -> float:
        """The same, of whole-image features (n, d)."""
        standardised = (samples - self.mean) / self.spread
        return float(np.square(np.square(standardised).sum(axis=1)).sum())

    def covariance(self, fourth: float) -> Values:
        """Of the standardised features (d, d), shrunk towards a multiple of the identity (Ledoit and Wolf, 2004).

        As `sklearn.covariance.ledoit_wolf(standardised, assume_centered=True)`, which wants all images at once.

        Args:
            fourth: what `fourth` gives of the same images.
        """
        size = len(self.shift)
        if self.count == 1:  # one image says nothing about a covariance; the shrinkage target alone is left
            return np.eye(size)
        scale = self.unit / self.spread
        centre = self.total / self.count
        empirical: Values = (self.products / self.count - np.outer(centre, centre)) * np.outer(scale, scale)
        squared = float(np.square(empirical).sum())
        level = float(np.trace(empirical)) / size
        distance = squared / size - level**2
        noise = min((fourth / self.count - squared) / (size * self.count), distance)
        shrinkage = 0.0 if noise == 0.0 else noise / distance
        shrunk: Values = (1.0 - shrinkage) * empirical
        shrunk[np.diag_indices(size)] += shrinkage * level
        return shrunk

    def whitened(self, fourth: float) -> dict[str, Values]:
        """`mean` (d,) and `whitening` (d, d): |(x - mean) whitening|² is Mahalanobis' square by d."""
        values, vectors = np.linalg.eigh(self.covariance(fourth))
        whitening = vectors / np.sqrt(np.maximum(values, 1e-9)) / np.sqrt(len(self.shift))
        return {"mean": self.mean, "whitening": whitening / self.spread[:, None]}
