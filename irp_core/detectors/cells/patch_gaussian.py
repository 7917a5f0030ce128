"""A normal distribution per position (PaDiM): what a place of the image usually looks like, and how it varies."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from irp_core.config import Params, PatchGaussianParams
from irp_core.detectors.folds import contents_of, drawn
from irp_core.detectors.protocol import EpochReport, Report
from irp_core.detectors.saving import read_saved, write_saved
from irp_core.errors import InputError
from irp_core.features.feature_set import FeatureSet, Local

__all__ = ["PatchGaussian", "sample_of", "worst_mean"]

_RIDGE = 0.05  # of the channels' mean variance: no direction is taken for certain
_POSITIONS = 64  # fitted at a time, which bounds memory
_MOST = 5000  # images that moments are taken of: many times the channels


class PatchGaussian:
    """Score: mean distance of an image's worst cells from the normal distribution of their position.

    The distance is Mahalanobis's, per channel (Defard et al., PaDiM, ICPR 2021). A position's covariance is shrunk
    towards that of all positions together, and a ridge is added: there may be fewer images than channels.

    Of more than 5,000 images so many, drawn by content, are fitted: their mean is within 0.014 standard deviations of
    that of all (one standard error), and the time does not grow with the set.

    Mean and covariance are the plain ones. Robust ones (images weighted by their distance, position by position) were
    measured and lost: what is rare at a position is mostly good (docs/decisions/0015-cells-and-ensemble.md).

    Example:
        >>> cells = np.random.default_rng(0).normal(size=(30, 4, 4, 8)).astype(np.float16)
        >>> cells[0, 2, 3] += 9  # a defect in one place
        >>> images = FeatureSet(np.zeros((30, 1, 2), dtype=np.float32), cells=cells)
        >>> detector = PatchGaussian(PatchGaussianParams(), torch.device("cpu"))
        >>> _ = detector.fit(images[np.arange(30) > 0])
        >>> int(detector.score(images).argmax()), divmod(int(detector.maps(images)[0].argmax()), 4)
        (0, (2, 3))
    """

    needs: ClassVar[tuple[Local, ...]] = ("cells",)
    samples: ClassVar[tuple[Local, ...]] = ("cells",)
    leaves_itself_out: ClassVar[bool] = False

    def __init__(self, params: PatchGaussianParams, device: torch.device) -> None:
        self.params = params
        self.device = device
        self._tensors: dict[str, Tensor] = {}  # mean (rows, columns, d), whitening (rows, columns, d, d)

    @classmethod
    def build(cls, features: FeatureSet, params: Params, device: torch.device) -> PatchGaussian:
        """An untrained detector with the settings of section `patch_gaussian`."""
        return cls(params.patch_gaussian, device)

    @torch.inference_mode()
    def fit(
        self, features: FeatureSet, *, epochs: int = 1, seed: int = 0, report: Report | None = None
    ) -> list[EpochReport]:
        """Fit anew; neither epochs nor seed matter."""
        features.check("PatchGaussian.fit", self.needs)
        started = time.perf_counter()
        features = sample_of(features.having(self.needs))
        rows, columns, channels = _cells(features[slice(0, 1)]).shape[1:]
        images, positions = len(features), rows * columns
        mean = torch.zeros(positions, channels, device=self.device)
        covariance = torch.zeros(positions, channels, channels, device=self.device)
        for block in features.blocks():
            mean += (
                torch.cat([self._values(block, first).sum(dim=1) for first in range(0, positions, _POSITIONS)]) / images
            )
        for block in features.blocks():
            for first in range(0, positions, _POSITIONS):
                part = slice(first, first + _POSITIONS)
                residuals = (self._values(block, first) - mean[part, None]).contiguous()
                covariance[part] += residuals.transpose(1, 2) @ residuals / images
        together = covariance.mean(dim=0)
        # The floor is for images that are all the same.
        ridge = max(float(_RIDGE * together.diagonal().mean()), 1e-6)
        covariance.mul_(1.0 - self.params.shrinkage).add_(together, alpha=self.params.shrinkage)
        covariance.diagonal(dim1=1, dim2=2).add_(ridge)
        factor = torch.linalg.cholesky(covariance)
        identity = torch.eye(channels, device=self.device).expand_as(factor)
        whitening = torch.linalg.solve_triangular(factor, identity, upper=False).transpose(1, 2) / channels**0.5
        self._hold(
            {
                "mean": mean.reshape(rows, columns, channels),
                "whitening": whitening.reshape(rows, columns, channels, channels).contiguous(),
            }
        )
        done = EpochReport(1, 1, float(self.score(features[slice(0, 16)]).mean()), 0.0, time.perf_counter() - started)
        if report:
            report(done)
        return [done]

    def _values(self, block: FeatureSet, first: int) -> Tensor:
        """The cells of some positions from `first` on: float32 (positions, images, channels)."""
        cells = _cells(block)
        flat = cells.reshape(len(cells), -1, cells.shape[3])[:, first : first + _POSITIONS]
        return torch.from_numpy(flat.astype(np.float32)).to(self.device).transpose(0, 1)

    def _hold(self, tensors: dict[str, Tensor]) -> None:
        self._tensors = tensors

    @torch.inference_mode()
    def maps(self, features: FeatureSet) -> Tensor:
        """Each cell's distance (images, rows, columns)."""
        features.check("PatchGaussian.score", self.needs)
        if not self._tensors:
            raise ValueError("PatchGaussian.score needs a fitted detector: call fit or load first.")
        rows, columns, channels = self._tensors["mean"].shape
        if (shape := _cells(features[slice(0, 1)]).shape[1:]) != (rows, columns, channels):
            raise ValueError(f"PatchGaussian.score expects cells of shape {(rows, columns, channels)}. Got {shape}.")
        mean = self._tensors["mean"].reshape(-1, channels)
        whitening = self._tensors["whitening"].reshape(-1, channels, channels)
        found = []
        # One image at a time, in products of one shape: an image scores the same alone as in company.
        for image in (image for block in features.blocks() for image in _cells(block)):
            values = torch.from_numpy(image.astype(np.float32)).to(self.device).reshape(-1, channels)
            whitened = torch.bmm((values - mean).unsqueeze(1), whitening)
            found.append(whitened.square().sum(dim=(1, 2)).sqrt().reshape(rows, columns))
        return torch.stack(found).clamp_min(torch.finfo(torch.float32).tiny).cpu()

    def score(self, features: FeatureSet) -> NDArray[np.float64]:
        """Scores (images,)."""
        features.check("PatchGaussian.score", self.needs)
        # Some images' maps at a time: of a million they would take gigabytes.
        return np.concatenate([worst_mean(self.maps(block), self.params.worst) for block in features.blocks()])

    def tensors(self) -> dict[str, Tensor]:
        """What was fitted, by name."""
        if not self._tensors:
            raise ValueError("PatchGaussian needs to be fitted before it is saved.")
        return self._tensors

    @classmethod
    def restore(cls, params: PatchGaussianParams, tensors: Mapping[str, Tensor], device: torch.device) -> PatchGaussian:
        """The detector of `tensors()`.

        Raises:
            ValueError: tensors that do not fit each other.
        """
        mean, whitening = tensors["mean"].to(device), tensors["whitening"].to(device)
        if mean.dim() != 3 or whitening.shape != (*mean.shape, mean.shape[-1]):
            raise ValueError(f"whitening of shape {tuple(whitening.shape)} does not fit a mean of {tuple(mean.shape)}")
        detector = cls(params, device)
        detector._hold({"mean": mean, "whitening": whitening})
        return detector

    def save(self, directory: Path) -> None:
        """Write `detector.json` and `weights.safetensors`."""
        described = {"detector": "patch_gaussian", "patch_gaussian": self.params.model_dump(mode="json")}
        write_saved(directory, self.tensors(), described)

    @classmethod
    def load(cls, directory: Path, device: torch.device | None = None) -> PatchGaussian:
        """Read what `save` wrote."""
        target = device or torch.device("cpu")
        tensors, description = read_saved(directory, ("mean", "whitening"), target)
        try:
            return cls.restore(PatchGaussianParams.model_validate(description["patch_gaussian"]), tensors, target)
        except (KeyError, ValueError) as error:
            raise InputError(f"{directory}: is not a saved PatchGaussian ({str(error).splitlines()[0]}).") from None


def _cells(features: FeatureSet) -> NDArray[np.float16]:
    assert features.cells is not None
    return features.cells


def sample_of(features: FeatureSet) -> FeatureSet:
    """The images that a set is fitted on: all, or of more than 5,000 so many, drawn by content."""
    if len(features) <= _MOST:
        return features
    return features[drawn(contents_of(features), np.arange(len(features)), _MOST)]


def worst_mean(maps: Tensor, share: float) -> NDArray[np.float64]:
    """Mean (images,) over the worst `share` of each map's cells (images, rows, columns), one at least.

    Example:
        >>> worst_mean(torch.tensor([[[1.0, 2.0], [3.0, 5.0]]]), 0.5).tolist()
        [4.0]
    """
    flat = maps.flatten(1).double()
    worst: NDArray[np.float64] = flat.topk(max(1, round(share * flat.shape[1])), dim=1).values.mean(dim=1).numpy()
    return worst
