"""What the studies say: tables of them, and sentences made from them."""

from __future__ import annotations

import pandas as pd

from irp_core.paper.study import early_epoch

__all__ = ["lambda_table", "memory_table", "protocol_table", "study_reading"]

_SCORES = {
    "in_sample_early": "in sample, after a tenth of the epochs",
    "in_sample": "in sample",
    "out_of_fold": "out of fold",
}


def lambda_table(lambdas: pd.DataFrame) -> pd.DataFrame:
    """A row per data set, width and kind of score; AUROC after one round at each λ and, in brackets, good/bad removed.

    Args:
        lambdas: of `lambda_rows`, with `entity`.
    """
    rows = []
    steps = sorted(lambdas["lambda"].dropna().unique())
    for (entity, width), own in lambdas.groupby(["entity", "width"], sort=False):
        bounds = own.set_index("scores")["auroc"]
        for kind, said in _SCORES.items():
            cells = own[own["scores"] == kind].set_index("lambda")
            row = {"data set": str(entity), "hidden": f"{width}", "scores": said}
            row["nothing removed"] = f"{bounds['vanilla']:.3f}"
            for at in steps:
                row[f"λ = {at:g}"] = _removed(cells.loc[at]) if at in cells.index else "–"
            rows.append(row | {"its defects removed": f"{bounds['oracle']:.3f}"})
    return pd.DataFrame(rows)


def _removed(cell: pd.Series) -> str:
    return f"{cell['auroc']:.3f} ({cell['removed_good']:.0f}/{cell['removed_bad']:.0f})"


def memory_table(memory: pd.DataFrame) -> pd.DataFrame:
    """A row per data set and width: how well in-sample scores rank the injected defects, early, at best and at the end.

    In brackets which share of them the paper's rule would have found then.

    Args:
        memory: `Memory.epochs`, with `entity`.
    """
    rows = []
    for (entity, width), own in memory.groupby(["entity", "width"], sort=False):
        at = own.set_index("epoch")
        last, best = int(at.index.max()), int(at["ranking"].idxmax())
        rows.append(
            {
                "data set": str(entity),
                "hidden": f"{width}",
                "epochs": f"{last}",
                "after the first": _ranked(at.loc[at.index.min()]),
                "after a tenth": _ranked(at.loc[early_epoch(last)]),
                "at its best": f"{_ranked(at.loc[best])}, epoch {best}",
                "at the end": _ranked(at.loc[last]),
            }
        )
    return pd.DataFrame(rows)


def _ranked(row: pd.Series) -> str:
    return f"{row['ranking']:.3f} ({100 * row['recall']:.0f} %)"


def study_reading(lambdas: pd.DataFrame, memory: pd.DataFrame, at: float) -> list[str]:
    """Sentences about memory, about the rule asked early, and about the scores' kind, at the λ of the sweep.

    Args:
        lambdas: of `lambda_rows`, `memory`: `Memory.epochs`; both with `entity`.
        at: the λ of the sweep.
    """
    ranking, recall, auroc = [], [], []
    for (entity, width), own in memory.groupby(["entity", "width"], sort=False):
        steps, name = own.set_index("epoch"), f"{entity}, hidden {width}"
        last = steps.index.max()
        early, late = steps.loc[early_epoch(last)], steps.loc[last]
        ranking.append(f"{name}: {early['ranking']:.2f}, then {late['ranking']:.2f}")
        recall.append(f"{name}: {100 * early['recall']:.0f} %, then {100 * late['recall']:.0f} %")
    for (entity, width), own in lambdas.groupby(["entity", "width"], sort=False):
        bounds = own.set_index("scores")["auroc"]
        asked = own[own["lambda"] == at].set_index("scores")["auroc"]
        kinds = [f"{said} {asked[kind]:.3f}" for kind, said in _SCORES.items() if kind in asked.index]
        bound = f"nothing removed {bounds['vanilla']:.3f}, its defects removed {bounds['oracle']:.3f}"
        auroc.append(f"{entity}, hidden {width}: {', '.join(kinds)} ({bound})")
    return [
        "How well in-sample scores rank the injected defects among the training images (AUROC), after a tenth of the "
        f"epochs and at the end: {'; '.join(ranking)}.",
        f"How many of them the paper's rule finds with these scores at λ = {at:g}: {'; '.join(recall)}.",
        f"AUROC on the test set after one such round and a training from scratch, by the scores that it used: "
        f"{'; '.join(auroc)}.",
    ]


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
