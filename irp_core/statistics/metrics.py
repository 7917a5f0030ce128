"""How good a detector and a removal are, from labels that nothing else may read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import average_precision_score, roc_auc_score

__all__ = ["Detection", "Removal", "detection", "recovery", "recovery_text", "removal"]


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


def recovery(method: float, vanilla: float, oracle: float) -> float | None:
    """(method - vanilla) / (oracle - vanilla): the share of the lost AUROC that came back.

    None where the oracle is not above vanilla: there is nothing to recover.

    Example:
        >>> recovery(method=0.875, vanilla=0.75, oracle=1.0)
        0.5
    """
    gap = oracle - vanilla
    return (method - vanilla) / gap if gap > 0 and math.isfinite(gap) else None


def recovery_text(value: float | None) -> str:
    """A recovery as people read it: below nothing it is no share, and over a small gap it would be minus hundreds of %.

    Example:
        >>> recovery_text(0.5), recovery_text(-1.56), recovery_text(None)
        ('50 %', 'none', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    return "none" if value < 0 else f"{100 * value:.0f} %"
