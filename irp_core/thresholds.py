"""Scores in, threshold out. What exceeds the threshold stands out from the set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from irp_core.errors import InputError
from irp_core.mixture import mixture_threshold

__all__ = ["RULES", "iqr", "mad", "median_multiple", "threshold"]

Scores = NDArray[np.float64]


def median_multiple(scores: Scores, factor: float) -> float:
    """λ · median (IRP, eq. 5); needs positive scores."""
    return factor * float(np.median(scores))


def iqr(scores: Scores, factor: float) -> float:
    """Q3 + k · (Q3 - Q1), Tukey's fence; k = 1.5 in the authors' later work."""
    first, third = np.percentile(scores, [25, 75])
    return float(third + factor * (third - first))


def mad(scores: Scores, factor: float) -> float:
    """median + k · 1.4826 · MAD: k standard deviations where the bulk is normal."""
    return float(np.median(scores) + factor * stats.median_abs_deviation(scores, scale="normal"))


RULES: dict[str, Callable[..., float]] = {
    "median_multiple": median_multiple,
    "iqr": iqr,
    "mad": mad,
    "mixture": mixture_threshold,
}
"""Of scores (n,) and the rule's number; `mixture` takes the settings of its bound besides."""


def threshold(
    scores: Scores, rule: str, factor: float, *, confidence: float = 0.0, supported: float | None = None, seed: int = 0
) -> float:
    """Apply a rule of `RULES`; `confidence`, `supported` and `seed` are `mixture`'s (`irp_core.mixture`).

    Raises:
        InputError: an unknown rule.
        ValueError: no scores, or scores that are not finite.
    """
    if rule not in RULES:
        raise InputError(f"refinement.rule must be one of {sorted(RULES)}. Got {rule!r}.")
    if scores.size == 0 or not np.isfinite(scores).all():
        raise ValueError(f"threshold expects at least one score, all finite. Got {scores.size} scores.")
    bound = {"confidence": confidence, "supported": supported, "seed": seed} if rule == "mixture" else {}
    return RULES[rule](scores, factor, **bound)
