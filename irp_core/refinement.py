"""Who goes, and when it is over: scores in, decision out. Pure; the loop is in `flows/refine.py`.

Vanilla, one-shot removal, IRP, the oracle and the two controls are policies of the one loop.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from irp_core.config import Params, Refinement, Rule, Start
from irp_core.thresholds import threshold

__all__ = ["METHODS", "PRESETS", "Decision", "Policy", "decide", "epochs_per_iteration", "in_order", "policy_of"]

StopReason = Literal["converged", "cycle", "max_iterations", "max_removed_fraction"]

METHODS = {
    "vanilla": "train once, remove nothing",
    "osr": "one-shot removal: one iteration that removes all above the threshold, then fine-tuning",
    "irp_max_one": "the paper's Algorithm 1: only the highest score goes, if it exceeds the threshold",
    "irp": "the paper's iterative refinement process (eq. 6, all above the threshold go)",
    "robust": "iterative refinement on out-of-fold scores that stops where nothing is wrong, and can take back",
    "random": "remove as many images per iteration as IRP did, at random: a control",
    "equal_epochs": "train once for as many epochs as IRP trained in all: a control",
    "oracle": "remove exactly the injected images, then train from scratch: the ceiling (reads `injected`)",
}
"""In the order in which they are run: each after those it builds on."""

PRESETS: dict[str, dict[str, Any]] = {
    "robust": {
        "rule": "mixture",
        "score_on": "out_of_fold",
        "reversible": True,
        "retrain": "scratch",
        "detector": "consensus",
        "confidence": 0.95,
        "start": "ordinary",
    }
}
"""What holds where a key of section `refinement` is null; every other method is the paper's."""
_PAPER: dict[str, Any] = {
    "rule": "median_multiple",
    "score_on": "in_sample",
    "reversible": False,
    "retrain": "warm_start",
    "detector": None,
    "confidence": 0.0,
    "start": "all",
}


def in_order(methods: Iterable[str]) -> list[str]:
    """`methods` so that each comes after those it builds on, and `irp` besides where a control copies it."""
    wanted = set(methods)
    if wanted & {"random", "equal_epochs"}:
        wanted.add("irp")
    return [method for method in METHODS if method in wanted]


@dataclass(frozen=True)
class Policy:
    """The settings of the loop that decide about removal."""

    rule: Rule
    factor: float
    removal: Literal["max_one", "all_above"]
    retrain: Literal["scratch", "warm_start"]
    max_iterations: int
    max_removed_fraction: float
    reversible: bool = False
    score_on: Literal["in_sample", "out_of_fold"] = "in_sample"
    detector: str | None = None
    """Who scores for the removal; None is the detector that is trained."""
    confidence: float = 0.0
    """Of `mixture`: see `irp_core.mixture.mixture_threshold`."""
    start: Start = "all"
    """What trains the first look's out-of-fold detectors."""
    selection: Literal["scores", "random", "oracle"] = "scores"
    random_counts: tuple[int, ...] = ()

    @property
    def rule_label(self) -> str:
        """The rule with its number as tables show it, such as `median_multiple(1.25)`."""
        return f"{self.rule}({self.factor:g})" if self.selection == "scores" else self.selection


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


def policy_of(refinement: Refinement, *, random_counts: tuple[int, ...] = ()) -> Policy:
    """The policy of `refinement.method`.

    Args:
        refinement: the section of the parameters.
        random_counts: for `random`, how many images IRP removed in each iteration.
    """
    preset = {**_PAPER, **PRESETS.get(refinement.method, {})}
    chosen = {key: preset[key] if getattr(refinement, key) is None else getattr(refinement, key) for key in preset}
    policy = {
        **chosen,
        "factor": refinement.factor(chosen["rule"]),
        "removal": refinement.removal,
        "max_iterations": refinement.max_iterations,
        "max_removed_fraction": refinement.max_removed_fraction,
    }
    # What only the training's methods need: the controls and the ceiling look at no scores.
    unscored = {"score_on": "in_sample", "reversible": False, "detector": None}
    changes: dict[str, dict[str, object]] = {
        "robust": {},
        "irp": {},
        "irp_max_one": {"removal": "max_one", "max_iterations": refinement.max_one_iterations},
        "vanilla": {"max_iterations": 0, **unscored},
        "equal_epochs": {"max_iterations": 0, **unscored},
        "osr": {"max_iterations": 1, "removal": "all_above", "retrain": "warm_start", "reversible": False},
        "oracle": {"max_iterations": 1, "retrain": "scratch", "selection": "oracle", **unscored},
        "random": {
            "max_iterations": len(random_counts),
            "selection": "random",
            "random_counts": random_counts,
            **unscored,
        },
    }
    return Policy(**{**policy, **changes[refinement.method]})


def epochs_per_iteration(params: Params) -> int:
    """Epochs that each retraining of `refinement.method` takes.

    From scratch as many as the first training. With a warm start `training.retrain_epochs`; `irp_max_one`, which
    retrains after every single image, spreads the epochs that `irp` may spend in all over its own, more
    numerous iterations, so that neither method wins by training longer.
    """
    training, refinement = params.training, params.refinement
    if policy_of(refinement).retrain == "scratch":
        return training.epochs
    if refinement.method != "irp_max_one":
        return training.retrain_epochs
    return max(1, round(training.retrain_epochs * refinement.max_iterations / refinement.max_one_iterations))


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
