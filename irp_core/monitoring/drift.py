"""Drift of a deployed detector's scores: windows of new images against a commissioning window.

The reference is a window of new images that the deployed detector scored after it was put into service. Never the
training scores: they are trimmed, and of images that the detector saw, so that every window would differ from them.

Two tests alarm: the two-sample Kolmogorov-Smirnov test of the scores, and Fisher's exact test of the share of alarms.
Each has a false-alarm probability of at most `P_VALUE` in a window; an image is in one window only, so that the
expected number of false alarms grows by at most 2 x `P_VALUE` per window. PSI and the Wasserstein distance are shown
and alarm on nothing: without any drift, PSI is above its customary 0.1 in most windows of fifty.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from irp_core.errors import InputError

__all__ = ["COLUMNS", "P_VALUE", "WINDOW", "drift", "population_stability_index"]

P_VALUE = 0.001
WINDOW = 100  # images, the fewest of a window and of the reference

COLUMNS = (
    "window", "images", "ks", "ks_p", "alarm_share", "reference_share", "share_p", "psi", "wasserstein", "alarm",
    "reason",
)  # fmt: skip


def drift(
    reference: pd.DataFrame, new: pd.DataFrame, *, window: int = WINDOW, p_value: float = P_VALUE
) -> pd.DataFrame:
    """A row of `COLUMNS` per full window of new images, in their order; what is left over waits for more.

    Args:
        reference: `score` and `decision` (`anomalous`, `normal`) of the commissioning window; rows without a score (an
            unreadable image) do not count.
        new: the same of new images, in the order in which they came.
        window: images per window, 100 at least.
        p_value: below which a test alarms.

    Raises:
        InputError: a reference or a window of fewer than 100 images.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> def scored(scores):
        ...     return pd.DataFrame({"score": scores, "decision": np.where(scores > 2.5, "anomalous", "normal")})
        >>> commissioned, as_before, shifted = (scored(rng.normal(m, 1.0, 200)) for m in (0.0, 0.0, 1.0))
        >>> drift(commissioned, pd.concat([as_before, shifted]))["alarm"].tolist()
        [False, False, True, True]
    """
    reference, new = (table[table["score"].notna()] for table in (reference, new))
    if window < WINDOW or len(reference) < WINDOW:
        raise InputError(
            f"drift: expected at least {WINDOW} scored images in the reference and in a window, "
            f"found {len(reference)} and {window}: fewer tell nothing."
        )
    before = reference["score"].to_numpy(np.float64)
    alarms_before = int((reference["decision"] == "anomalous").sum())
    rows = []
    for number, rows_of_window in enumerate(_windows(new, window), start=1):
        scores = rows_of_window["score"].to_numpy(np.float64)
        alarms = int((rows_of_window["decision"] == "anomalous").sum())
        ks = stats.ks_2samp(before, scores, method="asymp")  # the exact one gives up far out
        counts = [[alarms, len(scores) - alarms], [alarms_before, len(before) - alarms_before]]
        share_p = float(stats.fisher_exact(counts)[1])
        reasons = []
        if ks.pvalue < p_value:
            moved = "higher" if np.median(scores) > np.median(before) else "lower"
            reasons.append(f"the scores are {moved} than in the reference")
        if share_p < p_value:
            reasons.append(
                f"{100 * alarms / len(scores):.0f} % of the images are alarms, "
                f"in the reference {100 * alarms_before / len(before):.0f} %"
            )
        rows.append(
            {
                "window": number,
                "images": len(scores),
                "ks": float(ks.statistic),
                "ks_p": float(ks.pvalue),
                "alarm_share": alarms / len(scores),
                "reference_share": alarms_before / len(before),
                "share_p": share_p,
                "psi": population_stability_index(before, scores),
                "wasserstein": float(stats.wasserstein_distance(before, scores)),
                "alarm": bool(reasons),
                "reason": "; ".join(reasons),
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"alarm": bool})


def population_stability_index(before: NDArray[np.float64], now: NDArray[np.float64], bins: int = 10) -> float:
    """Σ (q - p) ln (q / p) over the bins between the deciles of `before`; half an image is added to every bin.

    Example:
        >>> scores = np.arange(1000.0)
        >>> population_stability_index(scores, scores)
        0.0
    """
    edges = np.quantile(before, np.linspace(0, 1, bins + 1)[1:-1])
    shares = []
    for values in (before, now):
        counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=bins) + 0.5
        shares.append(counts / counts.sum())
    p, q = shares
    return float(((q - p) * np.log(q / p)).sum())


def _windows(table: pd.DataFrame, size: int) -> Iterator[pd.DataFrame]:
    for first in range(0, len(table) - size + 1, size):
        yield table.iloc[first : first + size]
