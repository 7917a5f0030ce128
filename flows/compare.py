"""Several methods on the same contaminated set: one refinement run each, sharing features and pre-training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from prefect import flow

from flows.refine import refine
from irp_core.methods import METHODS, in_order
from irp_core.refinement.policy import epochs_per_iteration
from irp_core.run.directory import RunDirectory
from irp_core.statistics.recovery import recovery

__all__ = ["compare", "comparison_table", "options_of"]


@flow(name="compare", flow_run_name="compare-{root}", persist_result=False)
def compare(root: str, params: dict[str, Any], methods: tuple[str, ...]) -> dict[str, str]:
    """Run each of `methods` on the data set; returns the run directory of each.

    IRP runs whenever one of its controls is asked for: they copy its removals and its epochs.
    """
    done: dict[str, str] = {}
    for method in in_order(methods):
        settings = {**params, "refinement": {**params.get("refinement", {}), "method": method}}
        chosen = method == params.get("refinement", {}).get("method")  # the others are there to be compared with
        done[method] = refine(root, settings, **options_of(method, done), operating=chosen)
    return done


def options_of(method: str, done: dict[str, str]) -> dict[str, Any]:
    """Arguments of the `refine` flow for `method`, given the run directories of those done before it."""
    options: dict[str, Any] = {"share_with": next(iter(done.values()), None)}
    chosen = METHODS[method]
    if chosen.copies and chosen.builds_on:
        copied = Path(done[chosen.builds_on])
        removed = removals_per_iteration(copied)
        if chosen.copies == "removals":
            options["random_counts"] = removed
        else:
            options["total_epochs"] = total_epochs(copied, len(removed))
    return options


def removals_per_iteration(run_path: Path) -> tuple[int, ...]:
    """How many images each iteration of a finished run removed."""
    table = RunDirectory(run_path).iterations()
    return tuple(int(n) for n in table.loc[table["iteration"] > 0, "n_removed"])


def total_epochs(run_path: Path, iterations: int) -> int:
    """Epochs that a finished run trained in all."""
    params = RunDirectory(run_path).params()
    return params.training.epochs + iterations * epochs_per_iteration(params)


def comparison_table(runs: dict[str, str]) -> pd.DataFrame:
    """One row per method: AUROC, average precision, removal quality, recovery (None without labels)."""
    rows = []
    for method, path in runs.items():
        run = RunDirectory(Path(path))
        last = run.iterations().iloc[-1]
        rows.append(
            {
                "method": method,
                "n_train": last["n_train"],
                "n_removed": run.summary()["n_removed"],
                **{name: last[name] for name in ("auroc", "average_precision", "removal_precision", "removal_recall")},
            }
        )
    table = pd.DataFrame(rows)
    auroc = table.set_index("method")["auroc"]
    if {"vanilla", "oracle"} <= set(auroc.index):
        table["recovery"] = [recovery(value, auroc["vanilla"], auroc["oracle"]) for value in table["auroc"]]
    return table
