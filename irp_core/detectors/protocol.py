"""What every detector offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Detector", "EpochReport", "check_features"]


@dataclass(frozen=True)
class EpochReport:
    """One epoch of training, for progress bars and curves."""

    epoch: int
    epochs: int
    loss: float
    learning_rate: float
    seconds: float


class Detector(Protocol):
    """Fit on features, score features. Higher = more anomalous; scores are positive.

    The score of an image does not depend on the images scored with it, nor on their order.
    """

    def fit(
        self,
        features: NDArray[np.float32],
        *,
        epochs: int,
        seed: int,
        report: Callable[[EpochReport], None] | None = None,
    ) -> list[EpochReport]:
        """Fit on features (images, views, dimensions); a detector that was fitted before goes on from there."""
        ...

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Features (images, views, dimensions) → anomaly scores (images,)."""
        ...

    def save(self, directory: Path) -> None:
        """Write weights (safetensors) and settings (JSON) into an existing directory."""
        ...

    @classmethod
    def load(cls, directory: Path) -> Detector:
        """Read what `save` wrote."""
        ...


def check_features(features: NDArray[np.float32], caller: str) -> None:
    """Refuse what no detector can use.

    Raises:
        ValueError: not (images, views, dimensions), empty, or not finite.
    """
    if features.ndim != 3 or 0 in features.shape:
        raise ValueError(f"{caller} expects features of shape (images, views, dimensions). Got {features.shape}.")
    if not np.isfinite(features).all():
        raise ValueError(f"{caller} expects finite features. Got NaN or infinity.")
