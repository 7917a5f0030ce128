"""What the numbers mean: a table of differences and sentences made from them. None knows the answer beforehand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from irp_core.methods import METHODS, iterative
from irp_core.paper.statistics import paired_differences

__all__ = ["reading", "verdicts"]

_AGAINST = ("vanilla", "osr", "random", "equal_epochs", "oracle")


def verdicts(runs: pd.DataFrame, differences: pd.DataFrame) -> pd.DataFrame:
    """A row per iterative refinement and method that it is compared with, as text.

    Args:
        runs: one row per run.
        differences: of `comparisons.differences`.

    Returns:
        Columns `method, against, AUROC points, 95 % interval, ahead, verdict`, and one per data set where there are
        several: a mean may hide that they disagree.
    """
    rows = []
    entities = list(dict.fromkeys(runs["entity"]))
    for method in iterative():
        for against in _AGAINST:
            whole = _whole(differences, method, against)
            if whole is None:
                continue
            row = {
                "method": METHODS[method].label,
                "against": METHODS[against].label,
                "AUROC points": _points(whole["mean"]),
                "95 % interval": _interval(whole),
                "ahead": f"{whole['positive']:.0f} of {whole['n']:.0f}",
                "verdict": _verdict(whole),
            }
            for entity in entities if len(entities) > 1 else []:
                own = paired_differences(runs[runs["entity"] == entity], method, [against])
                row[entity] = _points(own.loc[own["level"] == -1, "mean"].iloc[0])
            rows.append(row)
    return pd.DataFrame(rows)


def reading(runs: pd.DataFrame, summary: pd.DataFrame, differences: pd.DataFrame) -> list[str]:
    """Sentences: each iterative refinement against training once, what it removes, how far it is from the oracle.

    Args:
        runs: one row per run, with `recovery`.
        summary: of `summarise`.
        differences: of `comparisons.differences`.
    """
    methods = [name for name in iterative() if name in set(runs["method"])]
    found = (_gains(differences, methods), _removals(summary, methods), _oracle(runs, differences, methods))
    return [sentence for sentence in found if sentence]


def _whole(differences: pd.DataFrame, method: str, against: str) -> pd.Series | None:
    """The difference over all data sets, levels and seeds; None where the two were not both run."""
    chosen = differences[(differences["method"] == method) & (differences["against"] == against)]
    whole = chosen[chosen["level"] == -1]
    return None if whole.empty else whole.iloc[0]


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def _verdict(row: pd.Series) -> str:
    if np.isnan(row["low"]):
        return "too few pairs to tell"
    if row["low"] > 0:
        return "better" if row["mean"] >= 0.01 else "better by less than a point"
    if row["high"] < 0:
        return "worse" if row["mean"] <= -0.01 else "worse by less than a point"
    return "no clear difference"


def _interval(row: pd.Series) -> str:
    return "–" if np.isnan(row["low"]) else f"{_points(row['low'])} to {_points(row['high'])}"


def _gains(differences: pd.DataFrame, methods: Sequence[str]) -> str:
    parts = []
    for method in methods:
        whole = _whole(differences, method, "vanilla")
        if whole is not None:
            parts.append(f"{METHODS[method].label} {_points(whole['mean'])} points of AUROC ({_verdict(whole)})")
    return f"Against training once: {'; '.join(parts)}." if parts else ""


def _removals(summary: pd.DataFrame, methods: Sequence[str]) -> str:
    parts = []
    for method in methods:
        rows = summary[summary["method"] == method]
        clean, noisy = rows[rows["level"] == 0], rows[rows["level"] > 0]
        said = []
        good, bad = noisy["removed_good_mean"].sum(), noisy["removed_bad_mean"].sum()
        if good + bad:
            share = f"{100 * bad / (good + bad):.0f} % of what it removes is defective"
            said.append(f"finds {100 * noisy['removal_recall_mean'].mean():.0f} % of the defects ({share})")
        elif not noisy.empty:
            said.append("removes nothing from contaminated sets")
        if not clean.empty:
            said.append(f"takes {clean['removed_good_mean'].mean():.1f} good images from a set that has no defect")
        if said:
            parts.append(f"{METHODS[method].label} {' and '.join(said)}")
    return f"{'; '.join(parts)}." if parts else ""


def _oracle(runs: pd.DataFrame, differences: pd.DataFrame, methods: Sequence[str]) -> str:
    parts = []
    for method in methods:
        whole = _whole(differences, method, "oracle")
        if whole is None:
            continue
        noisy = runs[(runs["method"] == method) & (runs["level"] > 0)]
        defined = noisy["recovery"].dropna()
        text = f"{METHODS[method].label} {_points(whole['mean'])} points"
        if not defined.empty:
            text += (
                f", of what contamination costs {100 * defined.median():.0f} % won back (median of {len(defined)} runs)"
            )
        parts.append(text)
    return f"Against the oracle, trained without the defects: {'; '.join(parts)}." if parts else ""
