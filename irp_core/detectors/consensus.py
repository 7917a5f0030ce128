"""Two witnesses with different blind spots: the whole image's distribution, and votes on its patches."""

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
from irp_core.detectors.patch_knn import PatchKnn
from irp_core.detectors.protocol import EpochReport, Report
from irp_core.detectors.saving import read_saved, write_saved
from irp_core.errors import InputError
from irp_core.feature_set import FeatureSet
from irp_core.folds import assign_folds, fold_by_fold
from irp_core.mixture import estimate_contamination, fit_mixture

__all__ = ["Consensus"]

_FOLDS = 5  # for the members' scales
_HEAVY = 0.25  # share of defects
Scale = tuple[float, float]


class Consensus:
    """Score: exp of the smaller, over `gaussian` and `patch_knn`, of (log score - mean) / standard deviation.

    Mean and standard deviation are of the training images' log scores, each by a member that did not train on it. An
    image is as anomalous as the witness who finds it less so: what is odd to one alone (a reflection to the
    normal distribution, a rare mark to the votes) stays, because a good image lost is lost for nothing.
    The normal distribution is blind where many defects shaped it; the votes survive many defects.
    """

    needs_patches: ClassVar[bool] = True
    leaves_itself_out: ClassVar[bool] = False

    def __init__(self, gaussian: Gaussian, patch_knn: PatchKnn) -> None:
        self._gaussian = gaussian
        self._patch_knn = patch_knn
        self._scales: tuple[Scale, Scale] | None = None
        self._polled: tuple[FeatureSet, NDArray[np.float64]] | None = None

    @classmethod
    def build(cls, features: FeatureSet, params: Params, device: torch.device) -> Consensus:
        """An untrained detector with the settings of its members."""
        return cls(Gaussian.build(features, params, device), PatchKnn.build(features, params, device))

    def fit(
        self, features: FeatureSet, *, epochs: int = 1, seed: int = 0, report: Report | None = None
    ) -> list[EpochReport]:
        """Fit both members anew, and their scales."""
        features.check("Consensus.fit", patches=True)
        started = time.perf_counter()
        contents = [hashlib.md5(image.tobytes(), usedforsecurity=False).hexdigest() for image in features.pooled]
        if len(set(contents)) < 2:
            raise ValueError(f"Consensus.fit expects at least 2 different images. Got {len(features)}.")
        folds = assign_folds(contents, np.ones(len(features), dtype=bool), _FOLDS, seed=seed)
        members = self._members_out_of_fold(features, folds, seed=seed)
        self._scales = (_scale(members[0]), _scale(members[1]))
        self._gaussian.fit(features)
        loss = float(np.median(self._combined(*members)))
        done = EpochReport(1, 1, loss, 0.0, time.perf_counter() - started)
        if report:
            report(done)
        return [done]

    def score(self, features: FeatureSet) -> NDArray[np.float64]:
        """Scores (images,)."""
        features.check("Consensus.score", patches=True)
        if self._scales is None:
            raise ValueError("Consensus.score needs a fitted detector: call fit or load first.")
        return self._combined(self._gaussian.score(features), self._patch_knn.score(features))

    def score_out_of_fold(
        self, features: FeatureSet, folds: NDArray[np.intp], *, epochs: int = 1, seed: int = 0
    ) -> NDArray[np.float64]:
        """Scores (images,) by members that did not train on the image (`irp_core.out_of_fold`).

        The members' scales are those of all the images, out of fold as well.
        """
        members = self._members_out_of_fold(features, folds, seed=seed)
        self._scales = (_scale(members[0]), _scale(members[1]))
        return self._combined(*members)

    def most_ordinary(self, features: FeatureSet, *, if_heavy: bool = False, seed: int = 0) -> NDArray[np.bool_]:
        """The half of the images that the votes find most ordinary (n,); all, where the votes are of one population.

        The votes need no start. Where they see nothing wrong, half a set would only invent a difference. `if_heavy`
        asks for more: that the lower bound of the contamination which they estimate exceeds a quarter, of which
        a normal distribution of all images would be shaped too much to be a witness.
        """
        votes = self._votes(features, seed)
        wrong = estimate_contamination(votes, seed=seed).low > _HEAVY if if_heavy else fit_mixture(votes).share > 0.0
        if not wrong:
            return np.ones(len(features), dtype=bool)
        half: NDArray[np.bool_] = votes <= np.median(votes)
        return half

    def _members_out_of_fold(
        self, features: FeatureSet, folds: NDArray[np.intp], *, seed: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        device = self._gaussian.device
        gaussian = fold_by_fold(lambda: Gaussian(device), features, folds, epochs=1, seed=seed)
        return gaussian, self._votes(features, seed)

    def _votes(self, features: FeatureSet, seed: int) -> NDArray[np.float64]:
        """Scores by the votes of all the images, those outside as well: a poll needs no clean electorate."""
        if self._polled is None or self._polled[0] is not features:  # other folds change nothing about it
            self._patch_knn.fit(features, seed=seed)
            self._polled = (features, self._patch_knn.score(features))
        return self._polled[1]

    def _combined(self, gaussian: NDArray[np.float64], patch_knn: NDArray[np.float64]) -> NDArray[np.float64]:
        assert self._scales is not None
        standardised = [
            (np.log(scores) - center) / spread
            for scores, (center, spread) in zip((gaussian, patch_knn), self._scales, strict=True)
        ]
        combined: NDArray[np.float64] = np.exp(np.clip(np.minimum(*standardised), -300.0, 300.0))
        return combined

    def save(self, directory: Path) -> None:
        """Write `detector.json` and `weights.safetensors`."""
        if self._scales is None:
            raise ValueError("Consensus.save needs a fitted detector.")
        members = {"gaussian": self._gaussian.tensors(), "patch_knn": self._patch_knn.tensors()}
        tensors = {f"{member}.{name}": tensor for member, held in members.items() for name, tensor in held.items()}
        description = {
            "detector": "consensus",
            "patch_knn": self._patch_knn.params.model_dump(mode="json"),
            "scales": [list(scale) for scale in self._scales],
        }
        write_saved(directory, tensors, description)

    @classmethod
    def load(cls, directory: Path, device: torch.device | None = None) -> Consensus:
        """Read what `save` wrote."""
        target = device or torch.device("cpu")
        names = ("gaussian.mean", "gaussian.whitening", "patch_knn.bank", "patch_knn.contents")
        tensors, description = read_saved(directory, names, target)
        held = {name.partition(".")[2]: tensor for name, tensor in tensors.items()}
        try:
            params = PatchKnnParams.model_validate(description["patch_knn"])
            detector = cls(Gaussian.restore(held, target), PatchKnn.restore(params, held, target))
            first, second = description["scales"]
            detector._scales = (float(first[0]), float(first[1])), (float(second[0]), float(second[1]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{directory}: is not a saved Consensus ({str(error).splitlines()[0]}).") from None
        return detector


def _scale(scores: NDArray[np.float64]) -> Scale:
    """(mean, standard deviation) of the log scores."""
    logs = np.log(scores)
    return float(logs.mean()), max(float(logs.std()), 1e-6)
