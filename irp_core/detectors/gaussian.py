"""One normal distribution over whole-image features: milliseconds to fit, and hard to beat on a clean set."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from irp_core.batches import alike_sizes, equal_batches
from irp_core.config import Params
from irp_core.detectors.protocol import EpochReport, Report
from irp_core.detectors.saving import read_saved, write_saved
from irp_core.features.feature_set import FeatureSet, Local

__all__ = ["Gaussian"]

_BATCH = 64  # images; constant, or found to give the same bits: an image scores the same alone as in company


class Gaussian:
    """Score: squared Mahalanobis distance per dimension of the pooled features, averaged over the views.

    The covariance of the standardised features is shrunk towards a multiple of the identity (Ledoit and Wolf, 2004):
    there are more dimensions than images.

    Example:
        >>> good = np.random.default_rng(0).normal(size=(50, 1, 4)).astype(np.float32)
        >>> detector = Gaussian(torch.device("cpu"))
        >>> _ = detector.fit(FeatureSet(good))
        >>> typical, odd = detector.score(FeatureSet(np.stack([good[0], good[0] + 9])))
        >>> bool(odd > 10 * typical)
        True
    """

    needs: ClassVar[tuple[Local, ...]] = ()
    leaves_itself_out: ClassVar[bool] = False

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._tensors: dict[str, Tensor] = {}
        self._small: tuple[int, ...] = ()

    @classmethod
    def build(cls, features: FeatureSet, params: Params, device: torch.device) -> Gaussian:
        """An untrained detector; it has no settings."""
        return cls(device)

    def fit(
        self, features: FeatureSet, *, epochs: int = 1, seed: int = 0, report: Report | None = None
    ) -> list[EpochReport]:
        """Fit anew; neither epochs nor seed matter."""
        features.check("Gaussian.fit")
        started = time.perf_counter()
        samples = _of_images(features)
        mean = samples.mean(axis=0)
        # A channel that never fires has no spread; dividing by the floor keeps it at zero.
        spread = np.maximum(samples.std(axis=0), 1e-6)
        standardised = (samples - mean) / spread
        # One image says nothing about a covariance; the shrinkage target alone is left.
        one = len(samples) == 1
        covariance = np.eye(samples.shape[1]) if one else ledoit_wolf(standardised, assume_centered=True)[0]
        values, vectors = np.linalg.eigh(covariance)
        whitening = vectors / np.sqrt(np.maximum(values, 1e-9)) / np.sqrt(samples.shape[1])
        arrays = {"mean": mean, "whitening": whitening / spread[:, None]}
        self._tensors = {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}
        loss = float(self.score(features).mean())
        done = EpochReport(1, 1, loss, 0.0, time.perf_counter() - started)
        if report:
            report(done)
        return [done]

    @torch.inference_mode()
    def score(self, features: FeatureSet) -> NDArray[np.float64]:
        """Scores (images,)."""
        features.check("Gaussian.score")
        if not self._tensors:
            raise ValueError("Gaussian.score needs a fitted detector: call fit or load first.")
        samples = torch.from_numpy(_of_images(features)).to(self.device)
        whitened = [self._whitened(batch) for batch in equal_batches(samples, _BATCH, self._small)]
        scores: NDArray[np.float64] = torch.cat(whitened)[: len(samples)].square().sum(dim=1).cpu().numpy()
        return np.maximum(scores, np.finfo(np.float64).tiny)

    @torch.inference_mode()
    def find_small_batches(self) -> None:
        """Look for smaller batches that give the same bits; `score` uses what is found."""
        probe = np.random.default_rng(0).normal(size=(_BATCH, len(self.tensors()["mean"])))
        self._small = alike_sizes(
            lambda rows: self._whitened(torch.from_numpy(rows).to(self.device)).cpu().numpy(), probe
        )

    def _whitened(self, samples: Tensor) -> Tensor:
        return (samples - self._tensors["mean"]) @ self._tensors["whitening"]

    def tensors(self) -> dict[str, Tensor]:
        """What was fitted, by name."""
        if not self._tensors:
            raise ValueError("Gaussian needs to be fitted before it is saved.")
        return self._tensors

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], device: torch.device) -> Gaussian:
        """The detector of `tensors()`."""
        detector = cls(device)
        detector._tensors = {name: tensors[name].to(device) for name in ("mean", "whitening")}
        return detector

    def save(self, directory: Path) -> None:
        """Write `detector.json` and `weights.safetensors`."""
        write_saved(directory, self.tensors(), {"detector": "gaussian"})

    @classmethod
    def load(cls, directory: Path, device: torch.device | None = None) -> Gaussian:
        """Read what `save` wrote."""
        target = device or torch.device("cpu")
        tensors, _ = read_saved(directory, ("mean", "whitening"), target)
        return cls.restore(tensors, target)


def _of_images(features: FeatureSet) -> NDArray[np.float64]:
    """One vector per image: the views' mean, which damps what depends on the orientation (measured: docs/choosing)."""
    averaged: NDArray[np.float64] = features.pooled.astype(np.float64).mean(axis=1)
    return averaged
