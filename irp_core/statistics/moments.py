"""First, second and fourth moments of many samples, a part at a time: memory does not grow with their number.

Accumulated about a provisional mean, the first part's, and in units of its spread: what is subtracted in the end is
small beside what is left (Chan, Golub and LeVeque, 1983). The result depends on the order of the
samples by rounding alone, about 1e-12 of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Moments"]

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Moments:
    """Of n samples x (d,): sums of y and of y yᵀ, y = (x - shift) / unit.

    `shift` and `unit` (d,) are the same for all moments that are joined.

    Example:
        >>> halves = np.split(np.random.default_rng(0).normal(5, 2, (100, 3)), 2)
        >>> moments = Moments.of(halves)
        >>> bool(np.allclose(moments.spread, np.concatenate(halves).std(axis=0)))
        True
    """

    shift: Values
    unit: Values
    count: int
    total: Values
    products: Values

    @classmethod
    def of(cls, parts: Iterable[Values]) -> Moments:
        """Of all samples, given in parts (k, d)."""
        (moments,) = cls.of_each((part, np.zeros(len(part), dtype=np.intp)) for part in parts).values()
        return moments

    @classmethod
    def of_each(cls, parts: Iterable[tuple[Values, NDArray[np.intp]]]) -> dict[int, Moments]:
        """Fold → the moments of its samples; parts are samples (k, d) and their folds (k,), -1 for none."""
        found: dict[int, Moments] = {}
        shift = unit = np.zeros(0)
        for samples, folds in parts:
            if not shift.size:
                shift, unit = samples.mean(axis=0), np.maximum(samples.std(axis=0), 1e-6)
            values = (samples - shift) / unit
            for fold in np.unique(folds[folds >= 0]).tolist():
                mine = values[folds == fold]
                own = cls(shift, unit, len(mine), mine.sum(axis=0), mine.T @ mine)
                found[fold] = cls.joined([found[fold], own]) if fold in found else own
        return found

    @classmethod
    def joined(cls, parts: Sequence[Moments]) -> Moments:
        """Of all samples of the parts."""
        return cls(
            parts[0].shift,
            parts[0].unit,
            sum(part.count for part in parts),
            np.sum([part.total for part in parts], axis=0),
            np.sum([part.products for part in parts], axis=0),
        )

    @property
    def mean(self) -> Values:
        """Of the samples (d,)."""
        mean: Values = self.shift + self.unit * self.total / self.count
        return mean

    @property
    def spread(self) -> Values:
        """Standard deviation of the samples (d,)."""
        squares = np.diagonal(self.products) / self.count - np.square(self.total / self.count)
        # A channel that never fires has no spread; dividing by the floor keeps it at zero.
        spread: Values = np.maximum(self.unit * np.sqrt(np.maximum(squares, 0.0)), 1e-6)
        return spread

    def fourth(self, samples: Values) -> float:
        """Sum of the fourth power of the standardised length of samples (k, d)."""
        standardised = (samples - self.mean) / self.spread
        return float(np.square(np.square(standardised).sum(axis=1)).sum())

    def covariance(self, fourth: float) -> Values:
        """Of the standardised features (d, d), shrunk towards a multiple of the identity (Ledoit and Wolf, 2004).

        As `sklearn.covariance.ledoit_wolf(standardised, assume_centered=True)`, which wants all samples at once.

        Args:
            fourth: what `fourth` gives of the same samples, summed.
        """
        size = len(self.shift)
        if self.count == 1:  # one sample says nothing about a covariance; the shrinkage target alone is left
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
