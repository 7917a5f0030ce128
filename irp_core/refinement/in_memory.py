"""The refinement in memory: features in, decisions and a detector out; no server, no database, no repository.

The same loop as a tracked run's (`tests/flows/test_robust.py` holds that both remove the same images).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irp_core.config import Params
from irp_core.detectors import Detector, detector_class
from irp_core.features.feature_set import FeatureSet
from irp_core.features.pooled import resolve_device
from irp_core.refinement.careful.landscape import Landscape
from irp_core.refinement.loop import refinement_loop
from irp_core.refinement.policy import Policy, epochs_per_iteration, policy_of
from irp_core.refinement.round_model import final_waits
from irp_core.refinement.rounds import Decision, Round, StopReason, answers_of, decide, decision_round
from irp_core.refinement.scoring import score_by_policy

__all__ = ["Refined", "fit_final_detector", "refine_in_memory"]


@dataclass(frozen=True)
class Refined:
    """What a refinement leaves.

    Attributes:
        detector: trained on what was kept.
        kept: which of the images it trained on (n,).
        rounds: every decision round with its decision, in order; the last one stopped.
    """

    detector: Detector
    kept: NDArray[np.bool_]
    rounds: list[tuple[Round, Decision]]

    @property
    def iterations(self) -> int:
        """How many rounds removed or restored something."""
        return len(self.rounds) - 1


def refine_in_memory(
    images: pd.DataFrame,
    features: FeatureSet,
    params: Params,
    *,
    injected: frozenset[str] | None = None,
    decisions: pd.DataFrame | None = None,
) -> Refined:
    """Refine a set of n images.

    Args:
        images: `image_id` and `md5` (n rows); `group`, where near-copies are known (`content_groups`).
        features: of the images, in their order.
        params: all settings; what concerns tracking, snapshots and directories is not read.
        injected: for method `oracle` only, the `image_id`s of the images that are known to be defective.
        decisions: a person's, that stood before (`irp_core.refinement.reviews.current_decisions`).

    Raises:
        InputError: out-of-fold scores of fewer than two different images.
    """
    policy = policy_of(params.refinement)
    steps = _InMemory(images.reset_index(drop=True), features, params, policy, injected, decisions)
    last = refinement_loop(steps)
    detector = steps.detector or fit_final_detector(features[steps.inside], params, last)
    return Refined(detector, steps.inside, steps.rounds)


def fit_final_detector(
    features: FeatureSet, params: Params, iteration: int, warm: Detector | None = None, epochs: int | None = None
) -> Detector:
    """The configured detector trained on these features, from scratch or (`warm`) from a model that is trained on."""
    kind, device = detector_class(params.detector.name), resolve_device(params.features.device)
    features = features.first_views(params.views.train)
    detector = warm or kind.build(features, params, device)
    detector.fit(features, epochs=epochs or params.training.epochs, seed=params.run.seed * 1000 + iteration)
    return detector


@dataclass
class _InMemory:
    """The loop's steps over arrays."""

    images: pd.DataFrame
    features: FeatureSet
    params: Params
    policy: Policy
    injected: frozenset[str] | None
    decisions: pd.DataFrame | None = None
    rounds: list[tuple[Round, Decision]] = field(default_factory=list)
    detector: Detector | None = None

    def __post_init__(self) -> None:
        known = answers_of(self.decisions)
        self.inside = ~self.images["md5"].map(known).eq(True).to_numpy()
        self._start = self.inside.copy()
        self._sets: list[frozenset[str]] = []
        self._tables: tuple[pd.DataFrame, pd.DataFrame]
        self._lower_bound: float | None = None
        self._landscape: Landscape | None = None

    def snapshot(self, iteration: int) -> None:
        self._sets.append(frozenset(self.images["image_id"][self.inside]))

    def train(self, iteration: int) -> None:
        if final_waits(self.policy):
            return
        again = iteration > 0
        warm = self.detector if again and self.policy.retrain == "warm_start" else None
        epochs = epochs_per_iteration(self.params) if again else None
        self.detector = fit_final_detector(self.features[self.inside], self.params, iteration, warm, epochs)

    def score(self, iteration: int) -> None:
        chosen = self.inside
        if self.policy.scores_outside:  # what a person removed comes back to no training, and is an answer all the same
            chosen = np.ones(len(self.images), dtype=bool) if self.policy.sees_landscape else self._start
        everything = chosen.all()
        table = self.images[chosen]
        inside = self.inside[chosen]
        scored = score_by_policy(
            (self.features if everything else self.features[chosen]).first_views(self.params.views.score),
            table["md5"].tolist(), inside, iteration, self.policy, self.params, self._model,
            table.get("group", table["md5"]).tolist(),
        )  # fmt: skip
        table = table.assign(score=scored.scores)
        # In the order of the round's tables: what is inside first.
        order = np.argsort(~inside, kind="stable")
        found = scored.landscape
        self._landscape = None if found is None else replace(found, of_image=found.of_image[order])
        self._tables, self._lower_bound = (table[inside], table[~inside]), scored.lower_bound

    def track(self, iteration: int) -> None:
        pass

    def decide(self, iteration: int) -> StopReason | None:
        this = decision_round(
            iteration,
            *self._tables,
            decisions=self.decisions,
            lower_bound=self._lower_bound,
            seed=self.params.run.seed,
            injected=self.injected if self.policy.reads_injected else None,
            landscape=self._landscape,
        )
        decision = decide(this, self.policy, self._sets)
        self.rounds.append((this, decision))
        if decision.stop_reason is None:
            self.inside = self.images["image_id"].isin(decision.kept["image_id"]).to_numpy()
        return decision.stop_reason

    def _model(self) -> Detector:
        assert self.detector is not None
        return self.detector
