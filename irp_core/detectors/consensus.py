"""Two witnesses with different blind spots: the whole image's distribution, and what is in one place of it."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from irp_core.config import Params, PatchKnnParams
from irp_core.detectors.gaussian import Gaussian
from irp_core.detectors.kurtosis import Kurtosis
from irp_core.detectors.patch_knn import PatchKnn
from irp_core.detectors.protocol import EpochReport, Report
from irp_core.detectors.saving import read_saved, write_saved
from irp_core.errors import InputError
from irp_core.feature_set import FeatureSet, Local
from irp_core.folds import assign_folds, fold_by_fold
from irp_core.mixture import fit_mixture, supported_share

__all__ = ["Consensus"]

_FOLDS = 5  # for the normal distribution's scale
_CONFIDENCE = 0.95  # with which the local witness' evidence is weighed
_MEMBERS = ("gaussian", "patch_knn", "kurtosis", "local")
Scale = tuple[float, float]


class Consensus:
    """Score: exp of the smaller, over a global and a local witness, of (log score - mean) / standard deviation.

    Global is `gaussian`, scored out of fold. Local is the sum of `patch_knn` (the votes of other images) and `kurtosis`
    (each image by itself), log scores standardised, or `kurtosis` alone: whichever has more evidence for a second
    population, by the lower bound of its share. Means and standard deviations are of all images that are
    scored out of fold.

    An image is as anomalous as the witness who finds it less so: what is odd to one alone (a reflection to the
    normal distribution, a rare mark to the votes) stays, because a good image lost is lost for nothing.
    The normal distribution is blind where many defects shaped it; the local witness survives many defects, and says
    from whom the other may learn (`most_ordinary`) and how many may go (`supported_share`).
    """

    needs: ClassVar[tuple[Local, ...]] = ("patches", "kurtosis")
    leaves_itself_out: ClassVar[bool] = False

    def __init__(self, gaussian: Gaussian, patch_knn: PatchKnn, kurtosis: Kurtosis) -> None:
        self._gaussian = gaussian
        self._patch_knn = patch_knn
        self._kurtosis = kurtosis
        self._scales: dict[str, Scale] = {}
        self._with_votes = True
        self._supported = 0.0
        self._heard: tuple[FeatureSet, int, NDArray[np.float64]] | None = None

    @classmethod
    def build(cls, features: FeatureSet, params: Params, device: torch.device) -> Consensus:
        """An untrained detector with the settings of its members."""
        members = (Gaussian.build(features, params, device), PatchKnn.build(features, params, device))
        return cls(*members, Kurtosis.build(features, params, device))

    def fit(
        self, features: FeatureSet, *, epochs: int = 1, seed: int = 0, report: Report | None = None
    ) -> list[EpochReport]:
        """Fit the members anew, and their scales."""
        features.check("Consensus.fit", self.needs)
        started = time.perf_counter()
        contents = [hashlib.md5(image.tobytes(), usedforsecurity=False).hexdigest() for image in features.pooled]
        if len(set(contents)) < 2:
            raise ValueError(f"Consensus.fit expects at least 2 different images. Got {len(features)}.")
        folds = assign_folds(contents, np.ones(len(features), dtype=bool), _FOLDS, seed=seed)
        loss = float(np.median(self.score_out_of_fold(features, folds, seed=seed)))
        self._gaussian.fit(features)
        done = EpochReport(1, 1, loss, 0.0, time.perf_counter() - started)
        if report:
            report(done)
        return [done]

    def score(self, features: FeatureSet) -> NDArray[np.float64]:
        """Scores (images,)."""
        features.check("Consensus.score", self.needs)
        if "gaussian" not in self._scales:
            raise ValueError("Consensus.score needs a fitted detector: call fit or load first.")
        votes = self._standardised("patch_knn", np.log(self._patch_knn.score(features)))
        local = self._standardised("kurtosis", np.log(self._kurtosis.score(features)))
        if self._with_votes:
            local = local + votes
        return self._combined(self._gaussian.score(features), self._standardised("local", local))

    def score_out_of_fold(
        self, features: FeatureSet, folds: NDArray[np.intp], *, epochs: int = 1, seed: int = 0
    ) -> NDArray[np.float64]:
        """Scores (images,) by a normal distribution that did not train on the image (`irp_core.out_of_fold`).

        The local witness hears all the images, those outside as well: a poll needs no clean electorate.
        """
        device = self._gaussian.device
        local = self._local(features, seed)
        whole = fold_by_fold(lambda: Gaussian(device), features, folds, epochs=1, seed=seed)
        self._scales["gaussian"] = _scale(np.log(whole))
        return self._combined(whole, local)

    def most_ordinary(self, features: FeatureSet, *, seed: int = 0) -> NDArray[np.bool_]:
        """Who belongs to the lower population of the local witness' scores rather than to the upper one (n,).

        Never fewer than the lower half; all, where there is one population.
        """
        local = self._local(features, seed)
        ordinary: NDArray[np.bool_] = (fit_mixture(np.exp(local)).good > 0.5) | (local <= np.median(local))
        return ordinary

    def supported_share(self, features: FeatureSet, *, confidence: float, seed: int = 0) -> float:
        """The share of the images that the local witness is sure about, see `irp_core.mixture.supported_share`."""
        local = self._local(features, seed)
        if confidence == _CONFIDENCE:  # already known
            return self._supported
        return supported_share(np.exp(local), confidence, seed=seed)

    def _local(self, features: FeatureSet, seed: int) -> NDArray[np.float64]:
        """The local witness, fitted: standardised log scores (n,)."""
        if (
            self._heard is None or self._heard[0] is not features or self._heard[1] != seed
        ):  # other folds change nothing about it
            self._patch_knn.fit(features, seed=seed)
            self._kurtosis.fit(features)
            logs = {
                "patch_knn": np.log(self._patch_knn.score(features)),
                "kurtosis": np.log(self._kurtosis.score(features)),
            }
            self._scales = {name: _scale(values) for name, values in logs.items()}
            alone = self._standardised("kurtosis", logs["kurtosis"])
            both = alone + self._standardised("patch_knn", logs["patch_knn"])
            evidence = [supported_share(np.exp(witness), _CONFIDENCE, seed=seed) for witness in (both, alone)]
            self._supported = max(evidence)
            self._with_votes = evidence[0] >= evidence[1]
            chosen = both if self._with_votes else alone
            self._scales["local"] = _scale(chosen)
            self._heard = (features, seed, self._standardised("local", chosen))
        return self._heard[2]

    def _standardised(self, member: str, logs: NDArray[np.float64]) -> NDArray[np.float64]:
        center, spread = self._scales[member]
        return (logs - center) / spread

    def _combined(self, gaussian: NDArray[np.float64], local: NDArray[np.float64]) -> NDArray[np.float64]:
        smaller = np.minimum(self._standardised("gaussian", np.log(gaussian)), local)
        combined: NDArray[np.float64] = np.exp(np.clip(smaller, -300.0, 300.0))
        return combined

    def save(self, directory: Path) -> None:
        """Write `detector.json` and `weights.safetensors`."""
        if "gaussian" not in self._scales:
            raise ValueError("Consensus.save needs a fitted detector.")
        members = {
            "gaussian": self._gaussian.tensors(),
            "patch_knn": self._patch_knn.tensors(),
            "kurtosis": self._kurtosis.tensors(),
        }
        tensors = {f"{member}.{name}": tensor for member, held in members.items() for name, tensor in held.items()}
        description = {
            "detector": "consensus",
            "patch_knn": self._patch_knn.params.model_dump(mode="json"),
            "scales": {name: list(self._scales[name]) for name in _MEMBERS},
            "with_votes": self._with_votes,
        }
        write_saved(directory, tensors, description)

    @classmethod
    def load(cls, directory: Path, device: torch.device | None = None) -> Consensus:
        """Read what `save` wrote."""
        target = device or torch.device("cpu")
        names = ("gaussian.mean", "gaussian.whitening", "patch_knn.bank", "patch_knn.contents", "kurtosis.median",
                 "kurtosis.spread")  # fmt: skip
        tensors, description = read_saved(directory, names, target)
        held = {name.partition(".")[2]: tensor for name, tensor in tensors.items()}
        try:
            params = PatchKnnParams.model_validate(description["patch_knn"])
            members = (Gaussian.restore(held, target), PatchKnn.restore(params, held, target), Kurtosis.restore(held))
            detector = cls(*members)
            scales = {name: description["scales"][name] for name in _MEMBERS}
            detector._scales = {name: (float(center), float(spread)) for name, (center, spread) in scales.items()}
            detector._with_votes = bool(description["with_votes"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{directory}: is not a saved Consensus ({str(error).splitlines()[0]}).") from None
        return detector


def _scale(logs: NDArray[np.float64]) -> Scale:
    """(mean, standard deviation) of log scores."""
    return float(logs.mean()), max(float(logs.std()), 1e-6)
