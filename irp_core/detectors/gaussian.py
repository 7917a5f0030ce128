"""One normal distribution over whole-image features: milliseconds to fit, and hard to beat on a clean set."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from irp_core.config import Params
from irp_core.detectors.folds import score_folds
from irp_core.detectors.protocol import EpochReport, Report
from irp_core.detectors.saving import read_saved, write_saved
from irp_core.features.feature_set import BLOCK, FeatureSet, Local
from irp_core.statistics.moments import Moments

__all__ = ["Gaussian"]

_BATCH = 64  # images; constant, so that an image scores the same alone as in company


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
        moments = Moments.of(_of_images(block) for block in features.blocks())
        arrays = moments.whitened(sum(moments.fourth(_of_images(block)) for block in features.blocks()))
        self._hold(arrays)
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
        scores = np.concatenate([self._score_block(_of_images(block)) for block in features.blocks()])
        positive: NDArray[np.float64] = np.maximum(scores, np.finfo(np.float64).tiny)
        return positive

    def _score_block(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        samples = torch.from_numpy(values).to(self.device)
        padded = torch.cat([samples, samples[-1:].expand(-len(samples) % _BATCH, -1)])
        whitened = [(batch - self._tensors["mean"]) @ self._tensors["whitening"] for batch in padded.split(_BATCH)]
        scores: NDArray[np.float64] = torch.cat(whitened)[: len(samples)].square().sum(dim=1).cpu().numpy()
        return scores

    def score_out_of_fold(
        self, features: FeatureSet, folds: NDArray[np.intp], *, epochs: int = 1, seed: int = 0
    ) -> NDArray[np.float64]:
        """As `fold_by_fold`, up to rounding: each fold's moments are taken once, and the others' are their sum.

        Reads the features three times, however many folds there are. The fit of this detector is not changed.
        """
        features.check("Gaussian.score_out_of_fold")
        parts = _blocks_of(folds)
        samples = (_of_images(block) for block in features.blocks())
        of_fold = Moments.of_each(zip(samples, parts, strict=True))
        others = [Moments.joined([m for other, m in of_fold.items() if other != fold]) for fold in sorted(of_fold)]
        fourth = np.zeros(len(others))
        for block, assigned in zip(features.blocks(), parts, strict=True):
            values = _of_images(block)
            fourth += [m.fourth(values[(assigned != fold) & (assigned >= 0)]) for fold, m in enumerate(others)]
        detectors = []
        for moments, total in zip(others, fourth.tolist(), strict=True):
            detector = Gaussian(self.device)
            detector._hold(moments.whitened(total))
            detectors.append(detector)
        return score_folds(detectors.__getitem__, features, folds)

    def _hold(self, arrays: Mapping[str, NDArray[np.float64]]) -> None:
        self._tensors = {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}

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


def _blocks_of(values: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    return [values[start : start + BLOCK] for start in range(0, len(values), BLOCK)]


def _of_images(features: FeatureSet) -> NDArray[np.float64]:
    """One vector per image: the views' mean, which damps what depends on the orientation (measured: docs/choosing)."""
    averaged: NDArray[np.float64] = features.pooled.astype(np.float64).mean(axis=1)
    return averaged
