"""A decision round: scores of images in, which of them are removed, come back or stay out. Pure.

The loop is in `irp_core.refinement.loop`; vanilla, one-shot removal, IRP, the oracle and the controls are policies
of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irp_core.refinement.policy import Policy
from irp_core.statistics.finite import finite_scores, finite_threshold

__all__ = ["Decision", "Round", "StopReason", "decide", "decision_round"]

StopReason = Literal["converged", "cycle", "max_iterations", "max_removed_fraction"]


@dataclass(frozen=True)
class Round:
    """What one decision is made from.

    Attributes:
        iteration: the number (1, 2, …) of the model that would be trained on what is kept.
        images: a row per scored image: `image_id`, `md5`, `score`, `inside` (in the current training set; the others
            were removed before) and `protected` (a reviewer keeps it: it counts for the threshold, but never goes).
        lower_bound: the scorer's lower confidence bound on the share of defective images; None where it has none.
        seed: of the draw of `selection: random`, and of a rule's resamples.
        injected: for `selection: oracle` only, the images that are known to be defective; no other may see them.
    """

    iteration: int
    images: pd.DataFrame
    lower_bound: float | None = None
    seed: int = 0
    injected: frozenset[str] | None = None


def decision_round(
    iteration: int,
    inside: pd.DataFrame,
    outside: pd.DataFrame | None = None,
    *,
    protected: Collection[str] = (),
    lower_bound: float | None = None,
    seed: int = 0,
    injected: frozenset[str] | None = None,
) -> Round:
    """The round of these scores.

    Args:
        iteration: see `Round`.
        inside, outside: `image_id`, `md5`, `score` of the current training set, and of what was removed before.
        protected: md5 of the images that a reviewer keeps.
        lower_bound, seed, injected: see `Round`.
    """
    tables = [inside.assign(inside=True)]
    if outside is not None and len(outside):
        tables.append(outside.assign(inside=False))
    images = pd.concat(tables, ignore_index=True)
    images["protected"] = images["md5"].isin(list(protected))
    return Round(iteration, images, lower_bound, seed, injected)


@dataclass(frozen=True)
class Decision:
    """What a round decided: tables of the round's rows, by image.

    `kept` is the next training set: what was in it and stays, and what is `restored`. `spared` are the images above the
    threshold that a reviewer keeps. `threshold` and `n_above` are of all scores, whatever the removal mode takes of
    them. `stop_reason` is None as long as the loop goes on; else nothing is removed or restored.
    """

    kept: pd.DataFrame
    removed: pd.DataFrame
    restored: pd.DataFrame
    spared: pd.DataFrame
    threshold: float
    n_above: int
    stop_reason: StopReason | None


def decide(this: Round, policy: Policy, history: Sequence[frozenset[str]]) -> Decision:
    """Decide which images a round removes and which come back.

    Args:
        this: the scores, and what is known of the images.
        policy: the settings.
        history: the `image_id`s of the training sets so far, the first one and the current one included. A reversible
            decision for one of them would go in circles; `max_removed_fraction` is of the first.

    Returns:
        The decision. At `max_removed_fraction` the highest scores go first and the rest stays; the next round
        then stops for that reason.

    Raises:
        InputError: a score or the threshold is not finite.

    Example:
        >>> from irp_core.config import Refinement
        >>> from irp_core.refinement.policy import policy_of
        >>> scored = pd.DataFrame({"image_id": list("abcd"), "md5": list("abcd"), "score": [1.0, 1.0, 1.1, 9.0]})
        >>> first = decision_round(1, scored)
        >>> decide(first, policy_of(Refinement(method="irp")), [frozenset("abcd")]).removed["image_id"].tolist()
        ['d']
    """
    images = this.images
    scores, within = images["score"].to_numpy(), images["inside"].to_numpy(dtype=bool)
    # The ceiling knows better than a reviewer.
    free = (policy.selection == "oracle") | ~images["protected"].to_numpy(dtype=bool)
    finite_scores(images, f"decision round {this.iteration}")
    found = policy.rule.threshold(scores, lower_bound=this.lower_bound, seed=this.seed)
    limit = finite_threshold(found, f"decision round {this.iteration}, rule {policy.rule_label}")
    above = (scores > limit) & within

    def decision(kept: NDArray[np.intp], removed: NDArray[np.intp], restored: NDArray[np.intp],
                 reason: StopReason | None = None) -> Decision:  # fmt: skip
        table = images.iloc[kept]
        if policy.reversible:  # what came back has its place in the manifest's order again
            table = table.sort_values("image_id")
        spared = images[above & ~free]
        return Decision(
            table.reset_index(drop=True), images.iloc[removed], images.iloc[restored], spared, limit,
            int(above.sum()), reason,
        )  # fmt: skip

    def stop(reason: StopReason) -> Decision:
        return decision(np.flatnonzero(within), _NONE, _NONE, reason)

    if this.iteration > policy.max_iterations:
        return stop("max_iterations")
    restored = _NONE
    if policy.reversible and not within.all():
        # Without the rule's bound: an image that went on strong evidence returns when the evidence turns, not
        # when it gets weaker.
        restored = np.flatnonzero((scores <= policy.rule.for_return().threshold(scores)) & ~within)
    candidates = _candidates(this, policy, scores, above & free, free)
    if candidates.size + restored.size == 0:
        return stop("converged")
    if policy.selection == "scores":
        initial = len(history[0])
        gone = initial - int(within.sum()) - restored.size
        allowed = int(policy.max_removed_fraction * initial) - gone
        if allowed <= 0 and restored.size == 0:
            return stop("max_removed_fraction")
        candidates = candidates[: max(0, allowed)]
    removed = np.sort(candidates)
    kept = np.setdiff1d(np.union1d(np.flatnonzero(within), restored), removed)
    if policy.reversible and frozenset(images["image_id"].iloc[kept]) in set(history):
        return stop("cycle")
    return decision(kept, removed, restored)


_NONE = np.empty(0, dtype=np.intp)


def _candidates(
    this: Round, policy: Policy, scores: NDArray[np.float64], above: NDArray[np.bool_], free: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Positions of the images that may go, the first ones first."""
    if policy.selection == "oracle":
        if this.injected is None:
            raise ValueError("decide with selection 'oracle' needs `injected`.")
        return np.flatnonzero(this.images["image_id"].isin(this.injected))
    if policy.selection == "random":
        count = policy.random_counts[this.iteration - 1]
        drawn: NDArray[np.intp] = np.random.default_rng([this.seed, this.iteration]).permutation(np.flatnonzero(free))
        return drawn[:count]
    # Highest first; a stable sort keeps ties in the manifest's order.
    places = np.flatnonzero(above)
    places = places[np.argsort(-scores[places], kind="stable")]
    return places[:1] if policy.removal == "max_one" else places
