"""What every detector offers. One class with these members is a detector: `detector: package.module:Class`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from irp_core.config import Params
from irp_core.features.feature_set import FeatureSet, Local

__all__ = ["Detector", "EpochReport", "Localises", "PadsBatches", "Report", "ScoreGradient"]


@dataclass(frozen=True)
class EpochReport:
    """One epoch of training, for progress bars and curves; a detector that does not iterate reports one."""

    epoch: int
    epochs: int
    loss: float
    learning_rate: float
    seconds: float


Report = Callable[[EpochReport], None]


class Detector(Protocol):
    """Fit on features, score features. Higher = more anomalous; scores are positive.

    The score of an image does not depend on the images scored with it, nor on their order. `fit` and `score` raise
    ValueError for features of another shape, or that are not finite.

    A class may have `samples`: those of its `needs` that its fit reads of a drawn part of a large set only, which
    `FeatureSet.having` gives.

    Example:
        >>> from irp_core.detectors import DETECTORS
        >>> {name: kind.needs for name, kind in DETECTORS.items() if "kurtosis" in kind.needs}
        {'kurtosis': ('kurtosis',), 'consensus': ('patches', 'kurtosis')}
    """

    needs: ClassVar[tuple[Local, ...]]
    """Which local features of a `FeatureSet` it reads besides the pooled ones."""

    leaves_itself_out: ClassVar[bool]
    """Whether a training image is scored as if it had not trained: then no folds are needed to say so."""

    @classmethod
    def build(cls, features: FeatureSet, params: Params, device: torch.device) -> Detector:
        """An untrained detector for features of this shape."""
        ...

    def fit(self, features: FeatureSet, *, epochs: int, seed: int, report: Report | None = None) -> list[EpochReport]:
        """Fit. A detector that iterates takes `epochs` passes and, if fitted before, goes on from there."""
        ...

    def score(self, features: FeatureSet) -> NDArray[np.float64]:
        """Anomaly scores (images,)."""
        ...

    def save(self, directory: Path) -> None:
        """Write `weights.safetensors` and `detector.json`, whose key `detector` names the class, into a directory."""
        ...

    @classmethod
    def load(cls, directory: Path, device: torch.device | None = None) -> Detector:
        """Read what `save` wrote.

        Raises:
            InputError: files that are missing or do not fit each other.
        """
        ...


@runtime_checkable
class Localises(Protocol):
    """A detector that says where in an image its score comes from.

    Example:
        >>> from irp_core.detectors import DETECTORS
        >>> [name for name, kind in DETECTORS.items() if issubclass(kind, Localises)]
        ['patch_gaussian', 'ensemble', 'cell_votes', 'patch_knn']
    """

    def maps(self, features: FeatureSet) -> Tensor:
        """A score per cell of the upright view: float32 (images, rows, columns), higher = more anomalous, positive.

        The grid covers the view from edge to edge (`irp_core.features.cells`). Like an image's score, its map does not
        depend on the images beside it. Raises what `score` raises.
        """
        ...


@runtime_checkable
class ScoreGradient(Protocol):
    """A detector that says how its score answers to the features: the paper's way to say where
    (`irp_core.localisation.input_gradient`).

    Example:
        >>> from irp_core.detectors import DETECTORS
        >>> [name for name, kind in DETECTORS.items() if issubclass(kind, ScoreGradient)]
        ['differnet']
    """

    def score_gradient(self, pooled: Tensor) -> Tensor:
        """∂score/∂features (n, dimensions) of n images with one view each, of `pooled` (n, dimensions)."""
        ...


@runtime_checkable
class PadsBatches(Protocol):
    """A detector that pads what it scores to batches of one size, and can look for smaller ones of the same bits."""

    def find_small_batches(self) -> None:
        """Measure which smaller batches give a row the same bits on this machine (`irp_core.batches`).

        From then on `score` pads to the smallest of them that will do. For what scores image after image.
        """
        ...
