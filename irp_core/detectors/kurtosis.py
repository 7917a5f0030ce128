"""How far the peakedness of an image's feature maps is from that of the others: a spot in a calm texture."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from irp_core.config import Params
from irp_core.detectors.protocol import EpochReport, Report
from irp_core.detectors.saving import read_saved, write_saved
from irp_core.features.feature_set import FeatureSet, Local

__all__ = ["Kurtosis"]

_FARTHEST = 6.0  # robust standard deviations: one channel alone does not decide


class Kurtosis:
    """Score: mean over the channels of min(|k - median| / (1.4826 MAD), 6)², k the log kurtosis of a channel's map.

    Each image is described by itself alone (`irp_core.features.local.map_kurtosis`), and median and MAD bear
    almost half of the set being defective: contamination hardly moves the scores.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> peaked = rng.normal(1.4, 0.1, size=(50, 8)).astype(np.float32)
        >>> peaked[0] += 2  # this image's maps answer in one spot
        >>> images = FeatureSet(np.zeros((50, 1, 2), dtype=np.float32), kurtosis=peaked)
        >>> detector = Kurtosis()
        >>> _ = detector.fit(images)
        >>> int(detector.score(images).argmax())
        0
    """

    needs: ClassVar[tuple[Local, ...]] = ("kurtosis",)
    leaves_itself_out: ClassVar[bool] = False

    def __init__(self) -> None:
        self._tensors: dict[str, Tensor] = {}

    @classmethod
    def build(cls, features: FeatureSet, params: Params, device: torch.device) -> Kurtosis:
        """An untrained detector; it has no settings, and computes on the CPU."""
        return cls()

    def fit(
        self, features: FeatureSet, *, epochs: int = 1, seed: int = 0, report: Report | None = None
    ) -> list[EpochReport]:
        """Fit anew; neither epochs nor seed matter."""
        features.check("Kurtosis.fit", self.needs)
        started = time.perf_counter()
        # A median needs all values: kept in single precision, 512 bytes an image, and widened channel by channel.
        columns = np.concatenate([_of(block) for block in features.blocks()]).T
        spread = [stats.median_abs_deviation(column.astype(np.float64), scale="normal") + 1e-6 for column in columns]
        arrays = {"median": np.array([np.median(column.astype(np.float64)) for column in columns])}
        arrays["spread"] = np.array(spread)
        self._tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        done = EpochReport(1, 1, float(self.score(features).mean()), 0.0, time.perf_counter() - started)
        if report:
            report(done)
        return [done]

    def score(self, features: FeatureSet) -> NDArray[np.float64]:
        """Scores (images,)."""
        features.check("Kurtosis.score", self.needs)
        if not self._tensors:
            raise ValueError("Kurtosis.score needs a fitted detector: call fit or load first.")
        scores = np.concatenate([self._score_block(_of(block)) for block in features.blocks()])
        positive: NDArray[np.float64] = np.maximum(scores, np.finfo(np.float64).tiny)
        return positive

    def _score_block(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        distances = (values - self._tensors["median"].numpy()) / self._tensors["spread"].numpy()
        scores: NDArray[np.float64] = np.square(np.clip(distances, -_FARTHEST, _FARTHEST)).mean(axis=1)
        return scores

    def tensors(self) -> dict[str, Tensor]:
        """What was fitted, by name."""
        if not self._tensors:
            raise ValueError("Kurtosis needs to be fitted before it is saved.")
        return self._tensors

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor]) -> Kurtosis:
        """The detector of `tensors()`."""
        detector = cls()
        detector._tensors = {name: tensors[name].cpu() for name in ("median", "spread")}
        return detector

    def save(self, directory: Path) -> None:
        """Write `detector.json` and `weights.safetensors`."""
        write_saved(directory, self.tensors(), {"detector": "kurtosis"})

    @classmethod
    def load(cls, directory: Path, device: torch.device | None = None) -> Kurtosis:
        """Read what `save` wrote."""
        tensors, _ = read_saved(directory, ("median", "spread"), torch.device("cpu"))
        return cls.restore(tensors)


def _of(features: FeatureSet) -> NDArray[np.float32]:
    assert features.kurtosis is not None
    return features.kurtosis
