"""Means, spreads and paired differences over seeds. The input is one row per run:

`entity, level, seed, method, auroc, average_precision, removal_precision, removal_recall, removed_good,
removed_bad, n_start, n_injected`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from irp_core.statistics.recovery import recovery

__all__ = ["CELL", "MEASURES", "add_recovery", "entity_means", "paired_differences", "summarise"]

CELL = ["entity", "level", "seed"]
MEASURES = (
    "auroc",
    "average_precision",
    "removal_precision",
    "removal_recall",
    "removed_good",
    "removed_bad",
    "recovery",
)


def add_recovery(runs: pd.DataFrame) -> pd.DataFrame:
    """`runs` with a column `recovery`, of each run against vanilla and the oracle of the same entity, level and seed.

    NaN where one of the two was not run, or where the oracle is not above vanilla: nothing to recover.
    """
    result = runs.reset_index(drop=True).copy()
    bounds = {
        method: result.loc[result["method"] == method].set_index(CELL)["auroc"] for method in ("vanilla", "oracle")
    }
    values = []
    for row in result.to_dict("records"):
        key = tuple(row[name] for name in CELL)
        low, high = (bounds[method].get(key, np.nan) for method in ("vanilla", "oracle"))
        found = recovery(row["auroc"], low, high)
        values.append(np.nan if found is None else found)
    result["recovery"] = values
    return result


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean, sample standard deviation (ddof = 1) and number of seeds of every measure, by entity, level and method.

    Args:
        runs: with `recovery` (see `add_recovery`).

    Returns:
        Columns `entity, level, method`, and `<measure>_mean, _sd, _n`: n counts the seeds where the measure is
        defined, the standard deviation of a single one is NaN. Rows keep the order of first appearance.

    Example:
        >>> columns = dict.fromkeys(MEASURES, 0.0)
        >>> runs = pd.DataFrame(
        ...     {"entity": "demo", "level": 20, "seed": [0, 1], "method": "irp"} | columns | {"auroc": [0.9, 0.94]}
        ... )
        >>> summarise(runs)[["auroc_mean", "auroc_n"]].round(3).to_numpy().tolist()
        [[0.92, 2.0]]
    """
    grouped = runs.groupby(["entity", "level", "method"], sort=False)[list(MEASURES)]
    parts = {"mean": grouped.mean(), "sd": grouped.std(ddof=1), "n": grouped.count()}
    columns = {f"{m}_{name}": table[m] for m in MEASURES for name, table in parts.items()}
    return pd.DataFrame(columns).reset_index()


def entity_means(runs: pd.DataFrame, entities: Sequence[str] | None = None) -> pd.DataFrame:
    """AUROC averaged over entities within each seed, then mean and standard deviation over seeds.

    Args:
        runs: one row per run.
        entities: those to average; None: all.

    Returns:
        Columns `level, method, auroc_mean, auroc_sd, auroc_n`.
    """
    chosen = runs if entities is None else runs[runs["entity"].isin(list(entities))]
    per_seed = chosen.groupby(["level", "method", "seed"], sort=False)["auroc"].mean()
    grouped = per_seed.groupby(["level", "method"], sort=False)
    return pd.DataFrame(
        {"auroc_mean": grouped.mean(), "auroc_sd": grouped.std(ddof=1), "auroc_n": grouped.count()}
    ).reset_index()


def paired_differences(runs: pd.DataFrame, method: str, others: Sequence[str]) -> pd.DataFrame:
    """AUROC of `method` minus each of `others`, paired by entity, level and seed.

    Returns:
        Columns `against, level, mean, sd, n, positive, low, high`: per level and, as level -1, over all of
        them. `low` and `high` bound the mean's 95 % t-interval (NaN for n < 2); `positive` counts pairs
        in which `method` is ahead. Pairs of one entity share images, so the interval is a guide, not a test.
    """
    wide = runs.pivot_table(index=CELL, columns="method", values="auroc", sort=False)
    rows = []
    for other in others:
        if method not in wide or other not in wide:
            continue
        difference = (wide[method] - wide[other]).dropna()
        levels = sorted(set(difference.index.get_level_values("level")))
        for level in [*levels, -1]:
            chosen = difference if level == -1 else difference.xs(level, level="level")
            rows.append({"against": other, "level": level, **_interval(chosen.to_numpy())})
    return pd.DataFrame(rows, columns=["against", "level", "mean", "sd", "n", "positive", "low", "high"])


def _interval(values: np.ndarray) -> dict[str, float]:
    n, mean = len(values), float(values.mean())
    sd = float(values.std(ddof=1)) if n > 1 else float("nan")
    half = float(stats.t.ppf(0.975, n - 1)) * sd / float(np.sqrt(n)) if n > 1 else float("nan")
    return {
        "mean": mean,
        "sd": sd,
        "n": n,
        "positive": int((values > 0).sum()),
        "low": mean - half,
        "high": mean + half,
    }
