"""Who goes, and when it is over: scores in, decision out. Pure; the loop is in `flows/refine.py`.

Vanilla, one-shot removal, IRP, the oracle and the two controls are policies of the one loop.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from irp_core.config import Params, Refinement
from irp_core.thresholds import threshold

__all__ = ["METHODS", "Decision", "Policy", "decide", "epochs_per_iteration", "in_order", "policy_of"]

StopReason = Literal["converged", "max_iterations", "max_removed_fraction"]

METHODS = {
    "vanilla": "train once, remove nothing",
    "osr": "one-shot removal: one iteration that removes all above the threshold, then fine-tuning",
    "irp_max_one": "the paper's Algorithm 1: only the highest score goes, if it exceeds the threshold",
    "irp": "the iterative refinement process, as configured (default: eq. 6, all above the threshold go)",
    "random": "remove as many images per iteration as IRP did, at random: a control",
    "equal_epochs": "train once for as many epochs as IRP trained in all: a control",
    "oracle": "remove exactly the injected images, then train from scratch: the ceiling (reads `injected`)",
}
"""In the order in which they are run: each after those it builds on."""


def in_order(methods: Iterable[str]) -> list[str]:
    """`methods` so that each comes after those it builds on, and `irp` besides where a control copies it."""
    wanted = set(methods)
    if wanted & {"random", "equal_epochs"}:
        wanted.add("irp")
    return [method for method in METHODS if method in wanted]


@dataclass(frozen=True)
class Policy:
    """The settings of the loop that decide about removal."""

    rule: str
    factor: float
    removal: Literal["max_one", "all_above"]
    retrain: Literal["scratch", "warm_start"]
    max_iterations: int
    max_removed_fraction: float
    selection: Literal["scores", "random", "oracle"] = "scores"
    random_counts: tuple[int, ...] = ()

    @property
    def rule_label(self) -> str:
        """The rule with its number as tables show it, such as `median_multiple(1.25)`."""
        return f"{self.rule}({self.factor:g})" if self.selection == "scores" else self.selection


@dataclass(frozen=True)
class Decision:
    """What one look at the scores decided; indices refer to the scores' order.

    `threshold` and `n_above` are of all scores seen, whatever the removal mode takes of them. `spared` are the
    images above the threshold that a reviewer keeps.
    `stop_reason` is None as long as the loop goes on; then nothing is removed.
    """

    kept: NDArray[np.intp]
    removed: NDArray[np.intp]
    threshold: float
    n_above: int
    stop_reason: StopReason | None
    spared: NDArray[np.intp]


def policy_of(refinement: Refinement, *, random_counts: tuple[int, ...] = ()) -> Policy:
    """The policy of `refinement.method`.

    Args:
        refinement: the section of the parameters.
        random_counts: for `random`, how many images IRP removed in each iteration.
    """
    policy = {
        "rule": refinement.rule,
        "factor": refinement.factor,
        "removal": refinement.removal,
        "retrain": refinement.retrain,
        "max_iterations": refinement.max_iterations,
        "max_removed_fraction": refinement.max_removed_fraction,
    }
    changes: dict[str, dict[str, object]] = {
        "irp": {},
        "irp_max_one": {"removal": "max_one", "max_iterations": refinement.max_one_iterations},
        "vanilla": {"max_iterations": 0},
        "equal_epochs": {"max_iterations": 0},
        "osr": {"max_iterations": 1, "removal": "all_above", "retrain": "warm_start"},
        "oracle": {"max_iterations": 1, "retrain": "scratch", "selection": "oracle"},
        "random": {"max_iterations": len(random_counts), "selection": "random", "random_counts": random_counts},
    }
    return Policy(**{**policy, **changes[refinement.method]})  # type: ignore[arg-type]


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
) -> Decision:
    """Decide what iteration `iteration` (1, 2, …) removes from a set with these `scores`.

    Args:
        scores: anomaly scores of the current training set (n,).
        policy: the settings.
        iteration: number of the iteration that would retrain without the removed images.
        initial_size: size of the set before the first removal, for `max_removed_fraction`.
        seed: for `selection: random` only.
        injected: for `selection: oracle` only (n,); no other selection may see it.
        protected: images that a reviewer keeps (n,): they are scored and count for the threshold, but never go.

    Returns:
        The decision. At `max_removed_fraction` the highest scores go first and the rest stays; the next
        call then stops for that reason.
    """
    limit = threshold(scores, policy.rule, policy.factor)
    exempt = protected is None or policy.selection == "oracle"  # the ceiling knows better than a reviewer
    free = np.ones(len(scores), dtype=bool) if exempt else ~np.asarray(protected)
    n_above = int((scores > limit).sum())
    above = np.flatnonzero((scores > limit) & free)
    spared = np.flatnonzero((scores > limit) & ~free)
    everything = np.arange(len(scores))

    def stop(reason: StopReason) -> Decision:
        return Decision(everything, np.empty(0, dtype=np.intp), limit, n_above, reason, spared)

    if iteration > policy.max_iterations:
        return stop("max_iterations")
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
    if candidates.size == 0:
        return stop("converged")
    if policy.selection == "scores":
        allowed = int(policy.max_removed_fraction * initial_size) - (initial_size - len(scores))
        if allowed <= 0:
            return stop("max_removed_fraction")
        candidates = candidates[:allowed]
    removed = np.sort(candidates)
    return Decision(np.setdiff1d(everything, removed), removed, limit, n_above, None, spared)
