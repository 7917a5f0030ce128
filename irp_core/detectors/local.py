"""The local detector of `consensus`: what is in one place of an image, by other images' votes and by its own maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from irp_core.config import PatchKnnParams
from irp_core.detectors.kurtosis import Kurtosis
from irp_core.detectors.patch_knn import PatchKnn
from irp_core.features.feature_set import FeatureSet
from irp_core.statistics.mixture import fit_mixture, resampled_shares, share_bound

__all__ = ["LocalDetector", "LocalScores", "Scale", "scale_of", "standardised"]

_CONFIDENCE = 0.95  # with which the evidence with and without votes is compared
_SCALES = ("patch_knn", "kurtosis", "local")
Scale = tuple[float, float]
"""(mean, standard deviation) of log scores."""


@dataclass(frozen=True, eq=False)
class LocalScores:
    """What a local detector found in a set of n images: computed once, read by all that follows, never changed.

    `scores` (n,) are standardised log scores, of the votes and the kurtosis together where `with_votes`, else of the
    kurtosis alone. `resampled_shares` are the shares of a second, upper population in bootstrap resamples of them.
    """

    scores: NDArray[np.float64]
    with_votes: bool
    resampled_shares: tuple[float, ...]

    def ordinary(self) -> NDArray[np.bool_]:
        """Mask (n,) of the images in the lower population of the scores rather than the upper one.

        Never fewer than the lower half; all, where there is one population.
        """
        lower: NDArray[np.bool_] = fit_mixture(np.exp(self.scores)).good > 0.5
        return lower | (self.scores <= np.median(self.scores))

    def lower_bound(self, confidence: float) -> float:
        """The lower confidence bound on the share of defective images (`irp_core.statistics.mixture.share_bound`)."""
        return share_bound(self.resampled_shares, confidence)


class LocalDetector:
    """Score: the sum of two standardised log scores, `patch_knn` and `kurtosis`, or `kurtosis` alone.

    `fit` takes whichever has more evidence for a second population, by the lower confidence bound on its share: votes
    are noise where no two images show the same place. Means and standard deviations are of all images fitted on.
    Many defects hardly move either: a patch is odd where few other images hold one like it, and the kurtosis is held
    against a median.
    """

    def __init__(self, patch_knn: PatchKnn, kurtosis: Kurtosis) -> None:
        self.patch_knn = patch_knn
        self._kurtosis = kurtosis
        self._scales: dict[str, Scale] = {}
        self._with_votes = True

    def untrained(self) -> LocalDetector:
        """Another detector with the same settings."""
        return LocalDetector(PatchKnn(self.patch_knn.params, self.patch_knn.device), Kurtosis())

    def fit(self, features: FeatureSet, *, seed: int, voter: NDArray[np.intp] | None = None) -> LocalScores:
        """Fit anew; returns the images' own scores.

        Args:
            seed: of the votes' bank and of the resamples.
            voter: which image votes for each one's copies (`PatchKnn.score_voting_once`); None: each for itself.
        """
        each = np.arange(len(features))
        voter = each if voter is None else voter
        heard = features if (voter == each).all() else features[voter == each]
        self.patch_knn.fit(heard, seed=seed)
        self._kurtosis.fit(heard)
        votes = np.log(self.patch_knn.score_voting_once(features, voter))
        kurtosis = np.log(self._kurtosis.score(features))
        scales = {"patch_knn": scale_of(votes), "kurtosis": scale_of(kurtosis)}
        alone = standardised(kurtosis, scales["kurtosis"])
        both = alone + standardised(votes, scales["patch_knn"])
        shares_both, shares_alone = (tuple(resampled_shares(np.exp(scores), seed)) for scores in (both, alone))
        self._with_votes = share_bound(shares_both, _CONFIDENCE) >= share_bound(shares_alone, _CONFIDENCE)
        chosen, shares = (both, shares_both) if self._with_votes else (alone, shares_alone)
        self._scales = {**scales, "local": scale_of(chosen)}
        scores = standardised(chosen, self._scales["local"])
        scores.flags.writeable = False
        return LocalScores(scores, self._with_votes, shares)

    def score(self, features: FeatureSet) -> NDArray[np.float64]:
        """Standardised log scores (n,) of any images."""
        if not self._scales:
            raise ValueError("LocalDetector.score needs a fitted detector.")
        votes = standardised(np.log(self.patch_knn.score(features)), self._scales["patch_knn"])
        scores = standardised(np.log(self._kurtosis.score(features)), self._scales["kurtosis"])
        if self._with_votes:
            scores = scores + votes
        return standardised(scores, self._scales["local"])

    def tensors(self) -> dict[str, Tensor]:
        """The members' fitted tensors, `member.name` → tensor."""
        members = {"patch_knn": self.patch_knn.tensors(), "kurtosis": self._kurtosis.tensors()}
        return {f"{member}.{name}": tensor for member, held in members.items() for name, tensor in held.items()}

    def description(self) -> dict[str, Any]:
        """What `restore` needs besides the tensors, as plain values."""
        return {
            "patch_knn": self.patch_knn.params.model_dump(mode="json"),
            "scales": {name: list(self._scales[name]) for name in _SCALES},
            "with_votes": self._with_votes,
        }

    @classmethod
    def restore(
        cls, description: Mapping[str, Any], tensors: Mapping[str, Tensor], device: torch.device
    ) -> LocalDetector:
        """The detector of `description()` and `tensors()`.

        Raises:
            KeyError, TypeError, ValueError: not what those two gave.
        """
        params = PatchKnnParams.model_validate(description["patch_knn"])
        held = {name.partition(".")[2]: tensor for name, tensor in tensors.items()}
        detector = cls(PatchKnn.restore(params, held, device), Kurtosis.restore(held))
        pairs = {name: description["scales"][name] for name in _SCALES}
        detector._scales = {name: (float(mean), float(deviation)) for name, (mean, deviation) in pairs.items()}
        detector._with_votes = bool(description["with_votes"])
        return detector


def scale_of(logs: NDArray[np.float64]) -> Scale:
    """Mean and standard deviation of log scores (n,)."""
    return float(logs.mean()), max(float(logs.std()), 1e-6)


def standardised(logs: NDArray[np.float64], scale: Scale) -> NDArray[np.float64]:
    """(log score - mean) / standard deviation."""
    mean, deviation = scale
    return (logs - mean) / deviation
