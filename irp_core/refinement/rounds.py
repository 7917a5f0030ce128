"""A decision round: scores of images in, which of them are removed, come back or stay out. Pure.

The loop is in `irp_core.refinement.loop`; vanilla, one-shot removal, IRP, the oracle and the controls are policies
of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irp_core.refinement.careful.assessment import Assessment, ask_the_labels, assessment
from irp_core.refinement.careful.landscape import Landscape
from irp_core.refinement.policy import Policy
from irp_core.refinement.reviews import KEPT_BY_REVIEW, REMOVED_BY_REVIEW
from irp_core.statistics.finite import finite_scores, finite_threshold

__all__ = ["Decision", "Round", "StopReason", "answers_of", "assess", "decide", "decision_round"]

StopReason = Literal["converged", "cycle", "max_iterations", "max_removed_fraction"]


@dataclass(frozen=True)
class Round:
    """What one decision is made from.

    Attributes:
        iteration: the number (1, 2, …) of the model that would be trained on what is kept.
        images: a row per scored image: `image_id`, `md5`, `score`, `inside` (in the current training set; the others
            were removed before) and `protected` (a reviewer keeps it: it counts for the threshold, but is never
            removed).
        lower_bound: the scorer's lower confidence bound on the share of defective images; None where it has none.
        seed: of the draw of `selection: random`, and of a rule's resamples.
        injected: for `selection: oracle` and `answered` only, the images that are known to be defective; no other may
            see them.
        landscape: where each image stands among the others, for the policies that see it.
        answers: a person's decisions so far: md5 → defective.
    """

    iteration: int
    images: pd.DataFrame
    lower_bound: float | None = None
    seed: int = 0
    injected: frozenset[str] | None = None
    landscape: Landscape | None = None
    answers: Mapping[str, bool] = field(default_factory=dict)

    def content_of(self) -> dict[str, str]:
        """md5 → content of the landscape: near-copies are one content."""
        assert self.landscape is not None
        contents = [self.landscape.contents[place] for place in self.landscape.of_image]
        return dict(zip(self.images["md5"], contents, strict=True))

    def by_content(self, told: Mapping[str, bool]) -> dict[str, bool]:
        """What is told of images (md5 → defective), by content: of near-copies, one defective one is enough."""
        content_of = self.content_of()
        found: dict[str, bool] = {}
        for md5, defective in told.items():
            if md5 in content_of:
                found[content_of[md5]] = found.get(content_of[md5], False) or defective
        return found

    def answers_by_content(self) -> dict[str, bool]:
        """The answers so far, by content."""
        return self.by_content(self.answers)


def decision_round(
    iteration: int,
    inside: pd.DataFrame,
    outside: pd.DataFrame | None = None,
    *,
    decisions: pd.DataFrame | None = None,
    lower_bound: float | None = None,
    seed: int = 0,
    injected: frozenset[str] | None = None,
    landscape: Landscape | None = None,
) -> Round:
    """The round of these scores.

    Args:
        iteration: see `Round`.
        inside, outside: `image_id`, `md5`, `score` of the current training set, and of what was removed before.
        decisions: a person's decisions that stand (`irp_core.refinement.reviews.current_decisions`): what is kept is
            protected, and all of them are answers.
        lower_bound, seed, injected, landscape: see `Round`.
    """
    tables = [inside.assign(inside=True)]
    if outside is not None and len(outside):
        tables.append(outside.assign(inside=False))
    images = pd.concat(tables, ignore_index=True)
    answers = answers_of(decisions)
    images["protected"] = images["md5"].map(answers).eq(False)
    return Round(iteration, images, lower_bound, seed, injected, landscape, answers)


def answers_of(decisions: pd.DataFrame | None) -> dict[str, bool]:
    """Standing decisions as answers: md5 → defective."""
    if decisions is None:
        return {}
    told = {KEPT_BY_REVIEW: False, REMOVED_BY_REVIEW: True}
    known = decisions[decisions["decision"].isin(told)]
    return dict(zip(known["md5"], known["decision"].map(told).tolist(), strict=True))


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
        The decision. At `max_removed_fraction` the highest scores are removed first and the rest stays; the next round
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
    assessed = assess(this, policy) if policy.sees_landscape else None
    if assessed is None:
        limit = policy.rule.threshold(scores, lower_bound=this.lower_bound, seed=this.seed)
    else:
        limit = float(np.exp(assessed.isolation.limit))
    finite_threshold(limit, f"decision round {this.iteration}")
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
        # Without the rule's bound: an image that strong evidence removed returns when the evidence turns, not
        # when it gets weaker.
        restored = np.flatnonzero((scores <= policy.rule.for_return().threshold(scores)) & ~within)
    chosen = above if assessed is None else assessed.removed & within
    candidates = _candidates(this, policy, scores, chosen & free, free)
    if candidates.size + restored.size == 0:
        return stop("converged")
    if policy.selection not in ("random", "oracle"):
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
    this: Round, policy: Policy, scores: NDArray[np.float64], chosen: NDArray[np.bool_], free: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Positions of the images that may be removed, the first ones first."""
    if policy.selection == "oracle":
        return np.flatnonzero(_known_defective(this, policy))
    if policy.selection == "random":
        count = policy.random_counts[this.iteration - 1]
        drawn: NDArray[np.intp] = np.random.default_rng([this.seed, this.iteration]).permutation(np.flatnonzero(free))
        return drawn[:count]
    # Highest first; a stable sort keeps ties in the manifest's order.
    places = np.flatnonzero(chosen)
    places = places[np.argsort(-scores[places], kind="stable")]
    return places[:1] if policy.removal == "max_one" else places


def _known_defective(this: Round, policy: Policy) -> NDArray[np.bool_]:
    if this.injected is None:
        raise ValueError(f"decide with selection {policy.selection!r} needs `injected`.")
    known: NDArray[np.bool_] = this.images["image_id"].isin(this.injected).to_numpy(dtype=bool)
    return known


def assess(this: Round, policy: Policy) -> Assessment:
    """What is isolated, and what the answers say, of the images of a round whose policy sees the landscape.

    With `selection: answered` the labels answer `policy.answers` questions first (an experiment).
    """
    if this.landscape is None:
        raise ValueError(f"decide with selection {policy.selection!r} needs a landscape.")
    answers = this.answers_by_content()
    if policy.selection == "answered":
        truth = this.by_content(dict(zip(this.images["md5"], _known_defective(this, policy).tolist(), strict=True)))
        answers = ask_the_labels(this.landscape, truth, policy.answers, answers, expected=policy.expected)
    return assessment(this.landscape, answers, expected=policy.expected)
