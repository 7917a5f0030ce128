"""The numbers of the paper's Tables 1 and 2, ours beside its own, and the differences between methods."""

from __future__ import annotations

import numpy as np
import pandas as pd

from irp_core.methods import METHODS, iterative
from irp_core.paper.reference import Reference
from irp_core.paper.statistics import entity_means, paired_differences

__all__ = ["MEAN", "differences", "table1", "table2"]

MEAN = "mean"
"""The entity whose rows are means over all entities."""


def table1(runs: pd.DataFrame, summary: pd.DataFrame, reference: Reference) -> pd.DataFrame:
    """AUROC by entity, method and noise level, the paper's figure beside ours.

    The paper gives IRP per entity, and vanilla, OSR and IRP as means over ten MVTec categories; those stand in the
    rows of entity `mean`, which is ours over the entities that were run (left out where there is one only).

    Returns:
        Columns `entity, method, level, mean, sd, n, paper, difference`; paper and difference are NaN where the
        paper has no figure.
    """
    rows = []
    for row in summary.to_dict("records"):
        paper = reference.auroc(row["entity"], row["level"]) if METHODS[row["method"]].in_paper == "irp" else None
        rows.append({**{k: row[k] for k in ("entity", "method", "level")}, **_auroc(row), "paper": paper})
    for row in entity_means(runs).to_dict("records") if len(set(runs["entity"])) > 1 else []:
        known = METHODS[row["method"]].in_paper
        paper = reference.mean_auroc(known, row["level"]) if known else None
        rows.append({"entity": MEAN, "method": row["method"], "level": row["level"], **_auroc(row), "paper": paper})
    table = pd.DataFrame(rows, columns=["entity", "method", "level", "mean", "sd", "n", "paper"])
    table["paper"] = table["paper"].astype(float)
    return table.assign(difference=table["mean"] - table["paper"])


def _auroc(row: dict[str, float]) -> dict[str, float]:
    return {"mean": row["auroc_mean"], "sd": row["auroc_sd"], "n": row["auroc_n"]}


def table2(summary: pd.DataFrame, reference: Reference) -> pd.DataFrame:
    """Removed images by entity, method and noise level: good and bad, means over seeds, and the paper's.

    Returns:
        Columns `entity, method, level, good, bad, precision, recall, paper_good, paper_bad`; the methods that
        remove by score.
    """
    rows = []
    by_score = [name for name, method in METHODS.items() if method.removes_by_score]
    for row in summary[summary["method"].isin(by_score)].to_dict("records"):
        paper = reference.removed(row["entity"], row["level"]) if METHODS[row["method"]].in_paper == "irp" else None
        rows.append(
            {
                **{k: row[k] for k in ("entity", "method", "level")},
                "good": row["removed_good_mean"],
                "bad": row["removed_bad_mean"],
                "precision": row["removal_precision_mean"],
                "recall": row["removal_recall_mean"],
                "paper_good": np.nan if paper is None else float(paper[0]),
                "paper_bad": np.nan if paper is None else float(paper[1]),
            }
        )
    return pd.DataFrame(rows)


def differences(runs: pd.DataFrame) -> pd.DataFrame:
    """`paired_differences` of each iterative refinement against the methods that are none, with a column `method`.

    Example:
        >>> runs = pd.DataFrame({"entity": "demo", "level": 20, "seed": [0, 0, 1, 1], "method": ["vanilla", "irp"] * 2})
        >>> table = differences(runs.assign(auroc=[0.80, 0.85, 0.82, 0.91]))
        >>> table[["method", "against", "level", "mean"]].round(3).to_numpy().tolist()  # -1: over all levels
        [['irp', 'vanilla', 20, 0.07], ['irp', 'vanilla', -1, 0.07]]
    """
    parts = []
    for method in iterative():
        others = [name for name in METHODS if name not in iterative()]
        found = paired_differences(runs, method, others)
        if not found.empty:
            parts.append(found.assign(method=method))
    columns = ["method", "against", "level", "mean", "sd", "n", "positive", "low", "high"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)
