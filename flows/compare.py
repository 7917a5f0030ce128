"""Several methods on the same contaminated set: one refinement run each, sharing features and pre-training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import flow

from flows.refine import refine
from irp_core.evaluation import recovery
from irp_core.manifest import read_table
from irp_core.refinement import epochs_per_iteration
from tasks.reporting import ITERATIONS_SCHEMA
from tasks.rundir import RunDirectory

__all__ = ["COMPARISON_ORDER", "compare", "comparison_table", "run_methods"]

COMPARISON_ORDER = ("vanilla", "osr", "irp_max_one", "irp", "random", "equal_epochs", "oracle")


@flow(name="compare", flow_run_name="compare-{root}", persist_result=False)
def compare(root: str, params: dict[str, Any], methods: tuple[str, ...]) -> dict[str, str]:
    """Run each of `methods` on the data set; returns the run directory of each."""
    return run_methods(root, params, methods)


def run_methods(
    root: str,
    params: dict[str, Any],
    methods: tuple[str, ...],
    manifest: str | None = None,
    report: Callable[[str], None] | None = None,
) -> dict[str, str]:
    """One refinement run per method; returns the run directory of each.

    `irp` runs whenever one of its controls is asked for: they copy its removals and its epochs.

    Args:
        root: folder of images.
        params: sections of `params.yaml` as plain values.
        methods: among `COMPARISON_ORDER`.
        manifest: directory written by `irp prepare`, instead of scanning `root` for every method.
        report: called with each method's name when its run is done.
    """
    ordered = [
        m for m in COMPARISON_ORDER if m in methods or (m == "irp" and {"random", "equal_epochs"} & set(methods))
    ]
    done: dict[str, str] = {}
    for method in ordered:
        settings = {**params, "refinement": {**params.get("refinement", {}), "method": method}}
        options: dict[str, Any] = {"share_with": next(iter(done.values()), None)}
        if method in ("random", "equal_epochs"):
            removed = removals_per_iteration(Path(done["irp"]))
            if method == "random":
                options["random_counts"] = removed
            else:
                options["total_epochs"] = total_epochs(Path(done["irp"]), len(removed))
        done[method] = refine(root, settings, manifest, **options)
        if report:
            report(method)
    return done


def removals_per_iteration(run_path: Path) -> tuple[int, ...]:
    """How many images each iteration of a finished run removed."""
    table = read_table(run_path / "iterations.parquet", ITERATIONS_SCHEMA)
    return tuple(int(n) for n in table.loc[table["iteration"] > 0, "n_removed"])


def total_epochs(run_path: Path, iterations: int) -> int:
    """Epochs that a finished run trained in all."""
    params = RunDirectory(run_path).params()
    return params.training.epochs + iterations * epochs_per_iteration(params)


def comparison_table(runs: dict[str, str]) -> pd.DataFrame:
    """One row per method: AUROC, average precision, removal quality, recovery (None without labels)."""
    rows = []
    for method, path in runs.items():
        last = read_table(Path(path) / "iterations.parquet", ITERATIONS_SCHEMA).iloc[-1]
        removed = len(pd.read_parquet(Path(path) / "removed.parquet", columns=["image_id"]))
        rows.append(
            {
                "method": method,
                "n_train": last["n_train"],
                "n_removed": removed,
                **{name: last[name] for name in ("auroc", "average_precision", "removal_precision", "removal_recall")},
            }
        )
    table = pd.DataFrame(rows)
    auroc = table.set_index("method")["auroc"]
    if {"vanilla", "oracle"} <= set(auroc.index):
        table["recovery"] = [recovery(value, auroc["vanilla"], auroc["oracle"]) for value in table["auroc"]]
    return table
