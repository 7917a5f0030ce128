"""What the studies say, in sentences made from their tables."""

from __future__ import annotations

import pandas as pd

__all__ = ["protocol_table", "study_reading"]

_SCORES = {"in_sample": "in-sample", "out_of_fold": "out-of-fold"}


def study_reading(lambdas: pd.DataFrame, memory: pd.DataFrame, protocols: pd.DataFrame, at: float) -> list[str]:
    """Sentences about λ, the width, memory and the protocols.

    Args:
        lambdas: of `lambda_rows`, `memory`: of `memory_rows`, `protocols`: AUROC by protocol, seed and method; all with
            `entity`.
        at: the λ of the sweep.
    """
    sentences = []
    for entity, rows in lambdas.groupby("entity", sort=False):
        for width, own in rows.groupby("width", sort=False):
            sentences.append(_lambdas(str(entity), int(width), own))
    for (entity, width), rows in memory.groupby(["entity", "width"], sort=False):
        sentences.append(_memory(str(entity), int(width), rows, at))
    for entity, rows in protocols.groupby("entity", sort=False):
        sentences.append(_protocols(str(entity), rows))
    return sentences


def _lambdas(entity: str, width: int, rows: pd.DataFrame) -> str:
    bounds = rows.set_index("scores")["auroc"]
    parts = []
    for name, said in _SCORES.items():
        own = rows[rows["scores"] == name]
        if own.empty:
            parts.append(f"with {said} scores every λ removes more than is allowed")
            continue
        low, high = own["auroc"].min(), own["auroc"].max()
        best, worst = own.loc[own["recall"].idxmax()], own.loc[own["recall"].idxmin()]
        parts.append(
            f"with {said} scores AUROC is {low:.3f} to {high:.3f}, and of the defects {100 * worst['recall']:.0f} % "
            f"(λ = {worst['lambda']:g}) to {100 * best['recall']:.0f} % (λ = {best['lambda']:g}) are removed"
        )
    return (
        f"**{entity}, hidden {width}**: nothing removed {bounds['vanilla']:.3f}, without its defects "
        f"{bounds['oracle']:.3f}; {'; '.join(parts)}."
    )


def _memory(entity: str, width: int, rows: pd.DataFrame, at: float) -> str:
    best, last = rows.loc[rows["ranking"].idxmax()], rows.iloc[-1]
    return (
        f"**{entity}, hidden {width}**: the scores of the images trained on rank the injected defects best after epoch "
        f"{best['epoch']:.0f} of {last['epoch']:.0f} (AUROC {best['ranking']:.3f}), and with {last['ranking']:.3f} "
        f"after the last; the rule at λ = {at:g} would have found {100 * best['recall']:.0f} % of them then, and "
        f"{100 * last['recall']:.0f} % at the end."
    )


def _protocols(entity: str, rows: pd.DataFrame) -> str:
    vanilla = rows[rows["method"] == "vanilla"].groupby("protocol", sort=False)["auroc"].mean()
    parts = ", ".join(f"{name}: {value:.3f}" for name, value in vanilla.items())
    return f"**{entity}**, nothing removed, by noise protocol: {parts}."


def protocol_table(protocols: pd.DataFrame) -> pd.DataFrame:
    """A row per entity and protocol, a column per method: mean ± sample standard deviation over seeds, as text."""
    keys = ["entity", "protocol", "n", "n_injected", "n_test"]
    rows = []
    for known, group in protocols.groupby(keys, sort=False):
        row = dict(zip(keys, known, strict=True))
        for method, auroc in group.groupby("method", sort=False)["auroc"]:
            spread = f" ± {auroc.std():.3f}" if len(auroc) > 1 else ""
            row[str(method)] = f"{auroc.mean():.3f}{spread}"
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.rename(columns={"n": "training images", "n_injected": "defective", "n_test": "test images"})
