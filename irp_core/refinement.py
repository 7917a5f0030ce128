"""Methods and their policies: vanilla, one-shot removal, IRP, the oracle and the controls are settings of one loop."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from irp_core.config import Params, Refinement, Start
from irp_core.rules import RULES, Rule

__all__ = ["METHODS", "PRESETS", "Policy", "epochs_per_iteration", "in_order", "policy_of"]

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
    removal: Literal["max_one", "all_above"]
    retrain: Literal["scratch", "warm_start"]
    max_iterations: int
    max_removed_fraction: float
    reversible: bool = False
    score_on: Literal["in_sample", "out_of_fold"] = "in_sample"
    detector: str | None = None
    """Who scores for the removal; None is the detector that is trained."""
    confidence: float = 0.0
    """Of the scorer's lower bound on the share of defective images, in [0, 1); 0: none is asked for."""
    start: Start = "all"
    """What trains the first look's out-of-fold detectors."""
    selection: Literal["scores", "random", "oracle"] = "scores"
    random_counts: tuple[int, ...] = ()

    @property
    def rule_label(self) -> str:
        """The rule with its number as tables show it, such as `median_multiple(1.25)`."""
        return self.rule.label if self.selection == "scores" else self.selection


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
        "rule": RULES[chosen["rule"]].of(refinement, chosen["confidence"]),
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
