"""A method's settings made complete: what the loop and the decision read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from irp_core.config import Params, Refinement
from irp_core.config.refinement import Start
from irp_core.methods import METHODS
from irp_core.rules import RULES, Rule

__all__ = ["Policy", "Selection", "epochs_per_iteration", "policy_of"]

Selection = Literal["scores", "isolated", "answered", "random", "oracle"]
"""By what images are chosen: scores above a rule's threshold; isolation; isolation and answers; chance; the truth."""


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
    """The detector that scores for the removal; None: the one that is trained."""
    confidence: float = 0.0
    """Of the scorer's lower bound on the share of defective images, in [0, 1); 0: none is asked for."""
    start: Start = "all"
    """What trains the out-of-fold detectors of the first decision round."""
    selection: Selection = "scores"
    random_counts: tuple[int, ...] = ()
    members: tuple[str, ...] = ()
    """The detectors whose scores together say how far an image stands from the rest (`isolated`, `answered`)."""
    expected: tuple[float, float] | None = None
    """The share of defective images that the plant expects, as a range."""
    answers: int = 0
    """Of `answered`: how many questions the labels answer."""

    @property
    def reads_injected(self) -> bool:
        """Whether a round may see which images are known to be defective: in experiments."""
        return self.selection in ("oracle", "answered")

    @property
    def scores_outside(self) -> bool:
        """Whether images outside the training set are scored, too: to come back, or as answers that tell of others."""
        return self.reversible or self.sees_landscape

    @property
    def sees_landscape(self) -> bool:
        """Whether a round is decided from where each image stands among the others, not from a threshold alone."""
        return self.selection in ("isolated", "answered")

    @property
    def rule_label(self) -> str:
        """The rule with its number as tables show it, such as `median_multiple(1.25)`."""
        if self.selection == "answered":
            return f"{self.selection}({self.answers})"
        return self.rule.label if self.selection == "scores" else self.selection


def policy_of(refinement: Refinement, *, random_counts: tuple[int, ...] = ()) -> Policy:
    """The policy of `refinement.method`.

    Args:
        refinement: the section of the parameters.
        random_counts: for the control `random`, how many images IRP removed in each iteration.

    Example:
        >>> policy = policy_of(Refinement(method="irp"))
        >>> policy.rule_label, policy.retrain, policy.reversible
        ('median_multiple(1.25)', 'warm_start', False)
        >>> policy_of(Refinement(method="robust")).rule_label
        'mixture(0.2)'
    """
    method = METHODS[refinement.method]
    given = {key: getattr(refinement, key) for key in method.preset}
    chosen = {key: preset if given[key] is None else given[key] for key, preset in method.preset.items()}
    policy: dict[str, Any] = {
        **chosen,
        "rule": RULES[chosen["rule"]].of(refinement, chosen["confidence"]),
        "removal": refinement.removal,
        "max_iterations": getattr(refinement, method.iterations_key),
        "max_removed_fraction": refinement.max_removed_fraction,
    }
    if method.copies == "removals":
        policy |= {"max_iterations": len(random_counts), "random_counts": random_counts}
    chosen_policy = Policy(**{**policy, **method.changes})
    if not chosen_policy.sees_landscape:
        return chosen_policy
    answers = refinement.answers if chosen_policy.selection == "answered" else 0
    return replace(chosen_policy, members=refinement.members, expected=refinement.expected_range, answers=answers)


def epochs_per_iteration(params: Params) -> int:
    """Epochs that each retraining of `refinement.method` takes.

    From scratch as many as the first training. With a warm start `training.retrain_epochs`; `irp_max_one`, which
    retrains after every single image, spreads the epochs that `irp` may spend in all over its own, more
    numerous iterations, so that neither method wins by training longer.
    """
    training, refinement = params.training, params.refinement
    if policy_of(refinement).retrain == "scratch":
        return training.epochs
    key = METHODS[refinement.method].iterations_key
    if key == "max_iterations":
        return training.retrain_epochs
    iterations: int = getattr(refinement, key)
    return max(1, round(training.retrain_epochs * refinement.max_iterations / iterations))
