"""What is odd in the whole image, and what is odd in one place of it: two detectors' scores, added up."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtri_exp
from torch import Tensor

from irp_core.config import Params, PatchGaussianParams
from irp_core.detectors.cells.patch_gaussian import PatchGaussian, sample_of
from irp_core.detectors.folds import fold_by_fold, folds_by_content
from irp_core.detectors.gaussian import Gaussian
from irp_core.detectors.local import Scale, scale_of, standardised
from irp_core.detectors.protocol import EpochReport, Report
from irp_core.detectors.saving import read_saved, write_saved
from irp_core.errors import InputError
from irp_core.features.feature_set import FeatureSet, Local

__all__ = ["Ensemble"]

_FOLDS = 5  # for the members' scales
_MEMBERS = ("gaussian", "patch_gaussian")
_FURTHEST = 600.0  # logarithm of a score: a number that can be multiplied and averaged


class Ensemble:
    """Score: how odd `gaussian` and `patch_gaussian` together find an image, as a multiple of an ordinary one.

    For each, p is the share of good images that have a higher score, if the logarithms are normally distributed.
    Mean and standard deviation of a member's log scores are those of the training images out of fold: a member that
    remembers what it was trained on would call every new image odd. The sum of -log p (Fisher, 1925) lets the member
    decide that is surer; one to which an image is ordinary adds next to nothing. The sum's own p, by chi squared, is
    brought back to the members' scale: exp(s z), z its normal deviate, below 0 z / (1 + |z|), and s the mean of their
    standard deviations. So 1 is ordinary, and λ times the median says of it what it says of a distance.

    Its map is `patch_gaussian`'s: the whole image has no place.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> pooled, cells = rng.normal(size=(40, 1, 6)), rng.normal(size=(40, 4, 4, 8))
        >>> pooled[0] += 9  # odd as a whole
        >>> cells[1, 2, 3] += 9  # odd in one place
        >>> images = FeatureSet(pooled.astype(np.float32), cells=cells.astype(np.float16))
        >>> detector = Ensemble.build(images, Params(), torch.device("cpu"))
        >>> _ = detector.fit(images[np.arange(40) > 1])
        >>> sorted(detector.score(images).argsort()[-2:].tolist())
        [0, 1]
    """

    needs: ClassVar[tuple[Local, ...]] = ("cells",)
    samples: ClassVar[tuple[Local, ...]] = ("cells",)
    leaves_itself_out: ClassVar[bool] = False
    maps_alone: ClassVar[type[PatchGaussian]] = PatchGaussian
    """Makes the same maps without fitting the rest."""

    def __init__(self, params: PatchGaussianParams, device: torch.device) -> None:
        self.params = params
        self.device = device
        self._gaussian = Gaussian(device)
        self._patches = PatchGaussian(params, device)
        self._scales: dict[str, Scale] = {}

    @classmethod
    def build(cls, features: FeatureSet, params: Params, device: torch.device) -> Ensemble:
        """An untrained detector with the settings of section `patch_gaussian`."""
        return cls(params.patch_gaussian, device)

    def fit(
        self, features: FeatureSet, *, epochs: int = 1, seed: int = 0, report: Report | None = None
    ) -> list[EpochReport]:
        """Fit both members anew, and the scales of their out-of-fold scores.

        Raises:
            ValueError: fewer than two different images: there is no fold to leave out.
        """
        features.check("Ensemble.fit", self.needs)
        started = time.perf_counter()
        sample = sample_of(features.having(self.needs))
        folds = folds_by_content(sample, _FOLDS, seed=seed, who="Ensemble.fit")
        logs = self._out_of_fold(sample, folds, seed)
        self._scales = {name: scale_of(logs[name]) for name in _MEMBERS}
        self._gaussian.fit(features)
        self._patches.fit(sample)
        loss = float(np.median(_combined(logs, self._scales)))
        done = EpochReport(1, 1, loss, 0.0, time.perf_counter() - started)
        if report:
            report(done)
        return [done]

    def _out_of_fold(self, features: FeatureSet, folds: NDArray[np.intp], seed: int) -> dict[str, NDArray[np.float64]]:
        """Log scores (n,) of each member, of images that it did not train on."""
        whole = fold_by_fold(lambda: Gaussian(self.device), features, folds, epochs=1, seed=seed)
        places = fold_by_fold(lambda: PatchGaussian(self.params, self.device), features, folds, epochs=1, seed=seed)
        return {"gaussian": np.log(whole), "patch_gaussian": np.log(places)}

    def score_out_of_fold(
        self, features: FeatureSet, folds: NDArray[np.intp], *, epochs: int, seed: int
    ) -> NDArray[np.float64]:
        """As `irp_core.detectors.folds.fold_by_fold`, with one scale for all folds: a fifth of the time."""
        features.check("Ensemble.score_out_of_fold", self.needs)
        logs = self._out_of_fold(features, folds, seed)
        inside = folds >= 0
        return _combined(logs, {name: scale_of(values[inside]) for name, values in logs.items()})

    def score(self, features: FeatureSet) -> NDArray[np.float64]:
        """Scores (images,)."""
        features.check("Ensemble.score", self.needs)
        if not self._scales:
            raise ValueError("Ensemble.score needs a fitted detector: call fit or load first.")
        scores = {"gaussian": self._gaussian.score(features), "patch_gaussian": self._patches.score(features)}
        return _combined({name: np.log(values) for name, values in scores.items()}, self._scales)

    def find_small_batches(self) -> None:
        """Look for smaller batches that give the same bits, of the global member; the other has no batches."""
        self._gaussian.find_small_batches()

    def maps(self, features: FeatureSet) -> Tensor:
        """Each cell's distance from the normal distribution of its position (images, rows, columns)."""
        return self._patches.maps(features)

    def save(self, directory: Path) -> None:
        """Write `detector.json` and `weights.safetensors`."""
        if not self._scales:
            raise ValueError("Ensemble.save needs a fitted detector.")
        members = {"gaussian": self._gaussian.tensors(), "patch_gaussian": self._patches.tensors()}
        tensors = {f"{member}.{name}": tensor for member, held in members.items() for name, tensor in held.items()}
        described = {
            "detector": "ensemble",
            "patch_gaussian": self.params.model_dump(mode="json"),
            "scales": {name: list(scale) for name, scale in self._scales.items()},
        }
        write_saved(directory, tensors, described)

    @classmethod
    def load(cls, directory: Path, device: torch.device | None = None) -> Ensemble:
        """Read what `save` wrote."""
        target = device or torch.device("cpu")
        names = ("gaussian.mean", "gaussian.whitening", "patch_gaussian.mean", "patch_gaussian.whitening")
        tensors, description = read_saved(directory, names, target)
        try:
            detector = cls(PatchGaussianParams.model_validate(description["patch_gaussian"]), target)
            held = {
                member: {name.removeprefix(f"{member}."): tensor for name, tensor in tensors.items()}
                for member in _MEMBERS
            }
            detector._gaussian = Gaussian.restore(held["gaussian"], target)
            detector._patches = PatchGaussian.restore(detector.params, held["patch_gaussian"], target)
            pairs = {name: description["scales"][name] for name in _MEMBERS}
            detector._scales = {name: (float(mean), float(deviation)) for name, (mean, deviation) in pairs.items()}
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{directory}: is not a saved Ensemble ({str(error).splitlines()[0]}).") from None
        return detector


def _combined(logs: dict[str, NDArray[np.float64]], scales: dict[str, Scale]) -> NDArray[np.float64]:
    """Scores (n,) of log scores (n,) of the members; positive."""
    told = sum(-log_ndtr(-standardised(logs[name], scales[name])) for name in _MEMBERS)
    told = np.maximum(np.asarray(told, dtype=np.float64), 1e-6)
    deviate = -ndtri_exp(np.log1p(told) - told)  # the logarithm of chi²'s tail with four degrees of freedom, at 2 told
    # Below an ordinary image it levels off: a training image, which the members remember, is hardly less than ordinary.
    deviate = deviate / (1 - np.minimum(deviate, 0))
    width = float(np.mean([scales[name][1] for name in _MEMBERS]))
    scores: NDArray[np.float64] = np.exp(np.clip(width * deviate, -_FURTHEST, _FURTHEST))
    return scores
