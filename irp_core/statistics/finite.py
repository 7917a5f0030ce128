"""What is not finite meets no threshold: NaN exceeds nothing, and a broken detector would find everything normal."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from irp_core.errors import InputError

__all__ = ["finite_scores", "finite_threshold"]


def finite_threshold(threshold: float, where: str) -> float:
    """The threshold as it is.

    Raises:
        InputError: it is NaN or infinite; says where.

    Example:
        >>> finite_threshold(1.5, "inspector.json")
        1.5
    """
    if not math.isfinite(threshold):
        raise InputError(f"{where}: expected a finite threshold, found {threshold}.")
    return threshold


def finite_scores(table: pd.DataFrame, where: str, columns: Iterable[str] = ("score",)) -> pd.DataFrame:
    """The table as it is.

    Args:
        table: `image_id` and scores.
        where: what the scores are of, for the error.
        columns: those that must be finite.

    Raises:
        InputError: a score is NaN or infinite; names the first image.
    """
    for column in columns:
        wrong = ~np.isfinite(table[column].to_numpy(dtype=float))
        if wrong.any():
            first = table[wrong].iloc[0]
            raise InputError(
                f"{where}: expected finite scores, found {first[column]} for {first['image_id']} and {wrong.sum()} of "
                f"{len(table)} images in all; the detector's weights, or its training, are broken."
            )
    return table
