"""Other thresholds on stored scores: what would have been removed, without training anything."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import sklearn.metrics
from numpy.typing import NDArray

from irp_core.rules import Rule
from irp_core.statistics.finite import finite_scores, finite_threshold

__all__ = ["IMAGE_COLUMNS", "WHATIF_COLUMNS", "changed_images", "removal_curve", "what_if"]

WHATIF_COLUMNS = [
    "iteration",
    "n_scored",
    "threshold",
    "n_above",
    "threshold_then",
    "n_above_then",
    "gained",
    "lost",
    "precision",
    "recall",
    "precision_then",
    "recall_then",
]
IMAGE_COLUMNS = ["iteration", "image_id", "score", "threshold", "threshold_then", "change", "label"]


def what_if(
    scores: pd.DataFrame,
    rule: Rule,
    applied: Mapping[int, float],
    injected: Mapping[str, bool] | None = None,
    *,
    lower_bounds: Mapping[int, float | None] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Hold each iteration's scores against another threshold.

    Every iteration is judged on the scores that it really had: had the other rule been in force, the later sets
    and scores would have been others, so only the first row is a prediction and the rest are readings.

    Args:
        scores: `image_id, iteration, score` of all models on their training sets.
        rule: the other rule, with its number.
        lower_bounds: model k → the scorer's lower confidence bound on the share of defective images, None where it had
            none. It is a share of these scores here; a reversible run applied it to those of the images outside, too.
        seed: of the rule's resamples.
        applied: model k → the threshold that was applied to its scores.
        injected: `image_id` → whether it was injected, where that is known (evaluation only).

    Returns:
        A table with `WHATIF_COLUMNS`, one row per model: `n_above` by the other threshold, `n_above_then` by the
        applied one, `gained` and `lost` the images that only the other, only the applied one is exceeded by.
    """
    rows = []
    for number, group in scores.groupby("iteration", sort=True):
        iteration = int(str(number))
        values = finite_scores(group, f"model {iteration}")["score"].to_numpy()
        bound = lower_bounds[iteration] if lower_bounds else None
        limit = finite_threshold(rule.threshold(values, lower_bound=bound, seed=seed), "the other rule")
        finite_threshold(applied[iteration], f"the threshold that was applied to the scores of model {iteration}")
        now, then = values > limit, values > applied[iteration]
        row: dict[str, object] = {
            "iteration": iteration,
            "n_scored": len(values),
            "threshold": limit,
            "n_above": int(now.sum()),
            "threshold_then": applied[iteration],
            "n_above_then": int(then.sum()),
            "gained": int((now & ~then).sum()),
            "lost": int((then & ~now).sum()),
        }
        if injected is not None:
            truth = group["image_id"].map(injected).to_numpy(dtype=bool)
            for suffix, above in (("", now), ("_then", then)):
                hits = int((above & truth).sum())
                row[f"precision{suffix}"] = hits / int(above.sum()) if above.any() else None
                row[f"recall{suffix}"] = hits / int(truth.sum()) if truth.any() else None
        rows.append(row)
    return pd.DataFrame(rows, columns=WHATIF_COLUMNS)


def changed_images(
    scores: pd.DataFrame, limits: Mapping[int, float], applied: Mapping[int, float], labels: Mapping[str, str | None]
) -> pd.DataFrame:
    """The images above either threshold, highest score first within an iteration.

    Args:
        scores: as for `what_if`.
        limits: model k → the other threshold.
        applied: model k → the threshold that was applied.
        labels: `image_id` → label, shown beside (evaluation only).

    Returns:
        A table with `IMAGE_COLUMNS`; `change` is `both`, `gained` or `lost`.
    """
    table = scores.assign(
        threshold=scores["iteration"].map(limits),
        threshold_then=scores["iteration"].map(applied),
        label=scores["image_id"].map(labels),
    )
    finite_scores(table, "the stored scores and thresholds", ("score", "threshold", "threshold_then"))
    now, then = table["score"] > table["threshold"], table["score"] > table["threshold_then"]
    table["change"] = np.select([now & then, now, then], ["both", "gained", "lost"], default="")
    shown = table[now | then].sort_values(["iteration", "score"], ascending=[True, False], kind="stable")
    return shown[IMAGE_COLUMNS].reset_index(drop=True)


def removal_curve(scores: NDArray[np.float64], injected: NDArray[np.bool_]) -> pd.DataFrame:
    """Precision and recall of removing every image that scores at least t, for every t that makes a difference.

    Returns:
        Columns `lowest_removed` (t, rising), `n_removed`, `precision`, `recall`.

    Example:
        >>> curve = removal_curve(np.array([1.0, 2.0, 3.0]), np.array([False, False, True]))
        >>> curve[["lowest_removed", "n_removed", "precision"]].to_numpy().tolist()[-1]
        [3.0, 1.0, 1.0]
    """
    precision, recall, limits = sklearn.metrics.precision_recall_curve(injected, scores)
    # scikit-learn closes the curve with a point without a threshold; nothing is removed there.
    return pd.DataFrame(
        {
            "lowest_removed": limits,
            "n_removed": len(scores) - np.searchsorted(np.sort(scores), limits, side="left"),
            "precision": precision[:-1],
            "recall": recall[:-1],
        }
    )
