"""A global and a local detector with different blind spots: the whole image, and what is in one place of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from irp_core.config import Params
from irp_core.detectors.folds import fold_by_fold, folds_by_content
from irp_core.detectors.gaussian import Gaussian
from irp_core.detectors.kurtosis import Kurtosis
from irp_core.detectors.local import LocalDetector, LocalScores, Scale, scale_of, standardised
from irp_core.detectors.patch_knn import PatchKnn
from irp_core.detectors.protocol import EpochReport, Report
from irp_core.detectors.saving import read_saved, write_saved
from irp_core.errors import InputError
from irp_core.features.feature_set import FeatureSet, Local

__all__ = ["Consensus"]

_FOLDS = 5  # for the normal distribution's scale


class Consensus:
    """Score: exp of the smaller, over a global and a local detector, of (log score - mean) / standard deviation.

    Global is `gaussian`, scored out of fold. Local is `irp_core.detectors.local.LocalDetector`, from other images'
    votes on patches and the kurtosis of an image's own maps. Means and standard deviations are of all images that are
    scored out of fold.

    An image is as anomalous as the detector says that finds it less so: what is odd to one alone (a reflection to the
    normal distribution, a rare mark to the votes) stays, because a good image lost is lost for nothing.
    The normal distribution is blind where many defects shaped it; many defects hardly move the local detector. So the
    local one is scored first (`score_locally`): its `LocalScores` say which images the normal distribution trains on,
    and how many images may be removed (`irp_core.detectors.out_of_fold.LocalAndGlobal`).
    """

    needs: ClassVar[tuple[Local, ...]] = ("patches", "kurtosis")
    leaves_itself_out: ClassVar[bool] = False

    def __init__(self, gaussian: Gaussian, local: LocalDetector) -> None:
        self._gaussian = gaussian
        self._local = local
        self._scale: Scale | None = None

    def find_small_batches(self) -> None:
        """Look for smaller batches that give the same bits, of the global detector."""
        self._gaussian.find_small_batches()

    @classmethod
    def build(cls, features: FeatureSet, params: Params, device: torch.device) -> Consensus:
        """An untrained detector with the settings of its members."""
        local = LocalDetector(PatchKnn.build(features, params, device), Kurtosis.build(features, params, device))
        return cls(Gaussian.build(features, params, device), local)

    def fit(
        self, features: FeatureSet, *, epochs: int = 1, seed: int = 0, report: Report | None = None
    ) -> list[EpochReport]:
        """Fit both detectors anew, and the scale of the global one's out-of-fold scores."""
        features.check("Consensus.fit", self.needs)
        started = time.perf_counter()
        folds = folds_by_content(features, _FOLDS, seed=seed, who="Consensus.fit")
        local = self._local.fit(features, seed=seed)
        whole = self._global_out_of_fold(features, folds, seed)
        self._scale = scale_of(whole)
        self._gaussian.fit(features)
        loss = float(np.median(_smaller(standardised(whole, self._scale), local.scores)))
        done = EpochReport(1, 1, loss, 0.0, time.perf_counter() - started)
        if report:
            report(done)
        return [done]

    def score(self, features: FeatureSet) -> NDArray[np.float64]:
        """Scores (images,)."""
        features.check("Consensus.score", self.needs)
        if self._scale is None:
            raise ValueError("Consensus.score needs a fitted detector: call fit or load first.")
        whole = standardised(np.log(self._gaussian.score(features)), self._scale)
        return _smaller(whole, self._local.score(features))

    def score_locally(
        self, features: FeatureSet, *, seed: int = 0, voter: NDArray[np.intp] | None = None
    ) -> LocalScores:
        """What an untrained local detector with these settings finds in the set; this detector is not changed."""
        features.check("Consensus.score_locally", self.needs)
        return self._local.untrained().fit(features, seed=seed, voter=voter)

    def combine_out_of_fold(
        self, features: FeatureSet, folds: NDArray[np.intp], local: LocalScores, *, epochs: int = 1, seed: int = 0
    ) -> NDArray[np.float64]:
        """Scores (images,) by a normal distribution that did not train on the image, and by `local`.

        The local scores are of all images, those outside the folds (-1) as well: they need no clean training set.
        This detector is not changed.
        """
        whole = self._global_out_of_fold(features, folds, seed)
        return _smaller(standardised(whole, scale_of(whole)), local.scores)

    def _global_out_of_fold(self, features: FeatureSet, folds: NDArray[np.intp], seed: int) -> NDArray[np.float64]:
        """Log scores (n,) of the global detector."""
        device = self._gaussian.device
        return np.log(fold_by_fold(lambda: Gaussian(device), features, folds, epochs=1, seed=seed))

    def save(self, directory: Path) -> None:
        """Write `detector.json` and `weights.safetensors`."""
        if self._scale is None:
            raise ValueError("Consensus.save needs a fitted detector.")
        whole = {f"gaussian.{name}": tensor for name, tensor in self._gaussian.tensors().items()}
        description = {"detector": "consensus", **self._local.description()}
        description["scales"] = {"gaussian": list(self._scale), **description["scales"]}
        write_saved(directory, {**whole, **self._local.tensors()}, description)

    @classmethod
    def load(cls, directory: Path, device: torch.device | None = None) -> Consensus:
        """Read what `save` wrote."""
        target = device or torch.device("cpu")
        names = ("gaussian.mean", "gaussian.whitening", "patch_knn.bank", "patch_knn.contents", "kurtosis.median",
                 "kurtosis.spread")  # fmt: skip
        tensors, description = read_saved(directory, names, target)
        try:
            whole = {name.removeprefix("gaussian."): tensor for name, tensor in tensors.items()}
            detector = cls(Gaussian.restore(whole, target), LocalDetector.restore(description, tensors, target))
            mean, deviation = description["scales"]["gaussian"]
            detector._scale = (float(mean), float(deviation))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{directory}: is not a saved Consensus ({str(error).splitlines()[0]}).") from None
        return detector


def _smaller(whole: NDArray[np.float64], local: NDArray[np.float64]) -> NDArray[np.float64]:
    """exp of the smaller of two standardised log scores (n,), kept within what a float holds."""
    combined: NDArray[np.float64] = np.exp(np.clip(np.minimum(whole, local), -300.0, 300.0))
    return combined
