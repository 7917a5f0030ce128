"""How good a detector and a removal are, from labels that nothing else may read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import average_precision_score, roc_auc_score

__all__ = ["Detection", "Removal", "detection", "removal"]


@dataclass(frozen=True)
class Detection:
    """Ranking quality on the test set; None where it has only one class."""

    auroc: float | None
    average_precision: float | None


@dataclass(frozen=True)
class Removal:
    """Removed images against the injected ones; None where the denominator is zero."""

    bad: int
    good: int
    precision: float | None
    recall: float | None


def detection(scores: ArrayLike, defective: ArrayLike) -> Detection:
    """AUROC and average precision of scores (n,) against defective (n,), higher score = more anomalous."""
    truth = np.asarray(defective, dtype=bool)
    if truth.all() or not truth.any():
        return Detection(None, None)
    return Detection(float(roc_auc_score(truth, scores)), float(average_precision_score(truth, scores)))


def removal(removed_is_injected: Sequence[bool], injected_total: int) -> Removal:
    """Precision and recall of the removed images, of which some were injected."""
    bad = sum(map(bool, removed_is_injected))
    count = len(removed_is_injected)
    return Removal(
        bad=bad,
        good=count - bad,
        precision=bad / count if count else None,
        recall=bad / injected_total if injected_total else None,
    )
