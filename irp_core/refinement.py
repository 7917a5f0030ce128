"""Who goes, and when it is over: scores in, decision out. Pure; the loop is in `flows/refine.py`.

Vanilla, one-shot removal, IRP, the oracle and the two controls are policies of the one loop.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from irp_core.methods import METHODS, in_order
from irp_core.policy import Policy, epochs_per_iteration, policy_of
from irp_core.thresholds import threshold

__all__ = ["METHODS", "Decision", "Policy", "decide", "epochs_per_iteration", "in_order", "policy_of"]

StopReason = Literal["converged", "cycle", "max_iterations", "max_removed_fraction"]


@dataclass(frozen=True)
class Decision:
    """What one look at the scores decided; indices refer to the scores' order.

    `kept` is the next training set: what was in it and stays, and what is `restored`. `threshold` and `n_above` are of
    all scores seen, whatever the removal mode takes of them. `spared` are the images above the threshold that a
    reviewer keeps. `stop_reason` is None as long as the loop goes on; then nothing is removed or restored.
    """

    kept: NDArray[np.intp]
    removed: NDArray[np.intp]
    threshold: float
    n_above: int
    stop_reason: StopReason | None
    spared: NDArray[np.intp]
    restored: NDArray[np.intp]


def decide(
    scores: NDArray[np.float64],
    policy: Policy,
    *,
    iteration: int,
    initial_size: int,
    seed: int = 0,
    injected: NDArray[np.bool_] | None = None,
    protected: NDArray[np.bool_] | None = None,
    inside: NDArray[np.bool_] | None = None,
    seen: Collection[frozenset[int]] = (),
    supported: float | None = None,
) -> Decision:
    """Decide what iteration `iteration` (1, 2, …) removes from a set with these `scores`, and what comes back.

    Args:
        scores: anomaly scores (n,) of the current training set and, where the policy is reversible, of the images
            removed before.
        policy: the settings.
        iteration: number of the iteration that would retrain on what is kept.
        initial_size: size of the set before the first removal, for `max_removed_fraction`.
        seed: of the draw of `selection: random`, and of the rule's resamples.
        injected: for `selection: oracle` only (n,); no other selection may see it.
        protected: images that a reviewer keeps (n,): they are scored and count for the threshold, but never go.
        inside: the current training set (n,); None for all.
        seen: the training sets so far, as indices: a reversible decision for one of them would go in circles.
        supported: the share of the images that the scorer supports to be above (`irp_core.out_of_fold`).

    Returns:
        The decision. At `max_removed_fraction` the highest scores go first and the rest stays; the next
        call then stops for that reason.
    """
    limit = threshold(scores, policy.rule, policy.factor, confidence=policy.confidence, supported=supported, seed=seed)
    within = np.ones(len(scores), dtype=bool) if inside is None else np.asarray(inside)
    exempt = protected is None or policy.selection == "oracle"  # the ceiling knows better than a reviewer
    free = np.ones(len(scores), dtype=bool) if exempt else ~np.asarray(protected)
    n_above = int((scores > limit)[within].sum())
    above = np.flatnonzero((scores > limit) & free & within)
    spared = np.flatnonzero((scores > limit) & ~free & within)
    none = np.empty(0, dtype=np.intp)

    def stop(reason: StopReason) -> Decision:
        return Decision(np.flatnonzero(within), none, limit, n_above, reason, spared, none)

    if iteration > policy.max_iterations:
        return stop("max_iterations")
    restored = none
    if policy.reversible and not within.all():
        # The rule without its bound: who went on strong evidence returns when it turns, not when it gets weaker.
        pardon = threshold(scores, policy.rule, policy.factor) if policy.confidence else limit
        restored = np.flatnonzero((scores <= pardon) & ~within)
    if policy.selection == "oracle":
        if injected is None:
            raise ValueError("decide with selection 'oracle' needs `injected`.")
        candidates = np.flatnonzero(injected)
    elif policy.selection == "random":
        count = policy.random_counts[iteration - 1]
        candidates = np.random.default_rng([seed, iteration]).permutation(np.flatnonzero(free))[:count]
    else:
        # Highest first; a stable sort keeps ties in the manifest's order.
        candidates = above[np.argsort(-scores[above], kind="stable")]
        if policy.removal == "max_one":
            candidates = candidates[:1]
    if candidates.size + restored.size == 0:
        return stop("converged")
    if policy.selection == "scores":
        gone = initial_size - int(within.sum()) - restored.size
        allowed = int(policy.max_removed_fraction * initial_size) - gone
        if allowed <= 0 and restored.size == 0:
            return stop("max_removed_fraction")
        candidates = candidates[: max(0, allowed)]
    removed = np.sort(candidates)
    kept = np.setdiff1d(np.union1d(np.flatnonzero(within), restored), removed)
    if policy.reversible and frozenset(kept.tolist()) in set(seen):
        return stop("cycle")
    return Decision(kept, removed, limit, n_above, None, spared, restored)
