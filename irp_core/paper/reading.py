"""What the numbers mean, in sentences made from them: no sentence here knows the answer beforehand."""

from __future__ import annotations

import numpy as np
import pandas as pd

from irp_core.methods import METHODS, iterative
from irp_core.paper.statistics import paired_differences

__all__ = ["reading"]

_QUESTIONS = {
    "vanilla": "training once",
    "osr": "one-shot removal",
    "equal_epochs": "training once, for as many epochs as IRP, all above, in all",
    "random": "removing as many images as IRP, all above, but at random",
}


def reading(runs: pd.DataFrame, summary: pd.DataFrame, differences: pd.DataFrame) -> list[str]:
    """Sentences: each iterative refinement against baselines and controls, its removals, its distance from the oracle.

    Args:
        runs: one row per run, with `recovery`.
        summary: of `summarise`.
        differences: of `tables.differences`.
    """
    sentences = []
    for method in iterative():
        chosen = differences[differences["method"] == method]
        if chosen.empty:
            continue
        for other, meaning in _QUESTIONS.items():
            if other in set(chosen["against"]):
                sentence = _against(chosen[chosen["against"] == other], method, other, meaning)
                sentences.append(f"{sentence}{_by_entity(runs, method, other)}.")
        if "oracle" in set(chosen["against"]):
            sentences.append(_oracle(runs, chosen, method))
        sentences += _removals(summary, method)
    return sentences


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def _against(rows: pd.DataFrame, method: str, other: str, meaning: str) -> str:
    whole = rows[rows["level"] == -1].iloc[0]
    levels = rows[rows["level"] != -1]
    best, worst = levels.loc[levels["mean"].idxmax()], levels.loc[levels["mean"].idxmin()]
    sentence = (
        f"**{METHODS[method].label}** against {METHODS[other].label} ({meaning}): **{_verdict(whole)}**, "
        f"{_points(whole['mean'])} points of AUROC on average{_interval(whole)}, "
        f"ahead in {whole['positive']:.0f} of {whole['n']:.0f} pairs"
    )
    if len(levels) > 1:
        sentence += (
            f"; most at {best['level']:.0f} % ({_points(best['mean'])}), least at {worst['level']:.0f} % "
            f"({_points(worst['mean'])})"
        )
    return sentence


def _by_entity(runs: pd.DataFrame, method: str, other: str) -> str:
    """The same difference for each data set, where there are several: a mean may hide that they disagree."""
    entities = list(dict.fromkeys(runs["entity"]))
    if len(entities) < 2:
        return ""
    parts = []
    for entity in entities:
        found = paired_differences(runs[runs["entity"] == entity], method, [other])
        whole = found[found["level"] == -1].iloc[0]
        parts.append(f"{entity} {_points(whole['mean'])} ({whole['positive']:.0f} of {whole['n']:.0f})")
    return f"; by data set: {', '.join(parts)}"


def _verdict(row: pd.Series) -> str:
    if np.isnan(row["low"]):
        return "too few pairs to tell"
    if row["low"] > 0:
        return "better" if row["mean"] >= 0.01 else "better, hardly"
    if row["high"] < 0:
        return "worse" if row["mean"] <= -0.01 else "worse, hardly"
    return "no difference that stands out from the spread"


def _interval(row: pd.Series) -> str:
    return "" if np.isnan(row["low"]) else f" (95 % interval {_points(row['low'])} to {_points(row['high'])})"


def _oracle(runs: pd.DataFrame, rows: pd.DataFrame, method: str) -> str:
    gap = rows[(rows["against"] == "oracle") & (rows["level"] == -1)].iloc[0]
    noisy = runs[(runs["method"] == method) & (runs["level"] > 0)]
    defined = noisy["recovery"].dropna()
    sentence = f"**{METHODS[method].label}** ends {_points(gap['mean'])} points from the oracle{_interval(gap)}"
    if defined.empty:
        return sentence + "; recovery is undefined: the oracle is nowhere above vanilla."
    median = defined.median()
    warm = METHODS[method].preset["retrain"] == "warm_start"
    more = "; above 100 % because IRP goes on training, which the oracle does not" if median > 1 and warm else ""
    recovered = f"{100 * median:.0f} %" if median >= 0 else f"nothing ({100 * median:.0f} %)"
    return (
        f"{sentence}; of the AUROC that contamination costs it recovers {recovered} in the median of the "
        f"{len(defined)} of {len(noisy)} contaminated runs in which the oracle is above vanilla (elsewhere there is "
        f"nothing to recover{more})."
    )


def _removals(summary: pd.DataFrame, method: str) -> list[str]:
    rows = summary[summary["method"] == method]
    clean, noisy = rows[rows["level"] == 0], rows[rows["level"] > 0]
    sentences = []
    if not clean.empty:
        sentences.append(
            f"Where nothing is wrong (0 %), {METHODS[method].label} removes "
            f"{clean['removed_good_mean'].mean():.1f} good images of an entity on average."
        )
    if not noisy.empty:
        good, bad = noisy["removed_good_mean"].sum(), noisy["removed_bad_mean"].sum()
        share = "nothing" if good + bad == 0 else f"{100 * bad / (good + bad):.0f} % of what it removes is defective"
        recall = noisy["removal_recall_mean"].mean()
        sentences.append(
            f"In contaminated sets {share}"
            + (f", and it finds {100 * recall:.0f} % of the defects." if good + bad else " is removed.")
        )
    return sentences
