"""Recovery: the share of the AUROC lost to contamination that a method brings back."""

from __future__ import annotations

import math

__all__ = ["recovery", "recovery_text"]


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
