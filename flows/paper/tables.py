"""Gather the cells and write the paper's tables as CSV, Markdown and LaTeX."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from flows.paper.places import METRICS, RESULTS, TABLES, cell
from irp_core.atomic import atomic_directory, atomic_path, write_json
from irp_core.config import Params
from irp_core.errors import InputError
from irp_core.methods import METHODS, iterative
from irp_core.paper.comparisons import differences, table1, table2
from irp_core.paper.reference import load_reference
from irp_core.paper.statistics import add_recovery, summarise
from irp_core.paper.table_text import (
    format_differences,
    format_table1,
    format_table2,
    format_table3,
    latex,
    markdown,
)

__all__ = ["read_cells", "write_tables"]

CAPTIONS = {
    "table1": "AUROC by data set and noise level, mean ± sample standard deviation over seeds.",
    "table2": "Removed images, good/bad, means over seeds.",
    "table3": "All measures, mean ± sample standard deviation over seeds.",
}


def read_cells(params: Params) -> pd.DataFrame:
    """One row per run of the sweep.

    Raises:
        InputError: a cell has no result.
    """
    tables = []
    for entity in params.sweep.entities:
        for level in params.sweep.levels:
            file = cell(entity, level) / "runs.csv"
            if not file.is_file():
                raise InputError(f"{file}: expected the results of a cell, found none; run `dvc repro`.")
            tables.append(pd.read_csv(file))
    return pd.concat(tables, ignore_index=True)


def write_tables(params: Params) -> None:
    """Write `docs/results/tables/`, the plot data `docs/results/auroc.csv` and the metrics of the whole sweep."""
    reference = load_reference()
    runs = add_recovery(read_cells(params))
    summary = summarise(runs)
    first, second, between = table1(runs, summary, reference), table2(summary, reference), differences(runs)
    with atomic_directory(TABLES) as folder:
        for name, table in (("runs", runs), ("differences", between)):
            _csv(table, folder / f"{name}.csv")
        for name, table, text in (
            ("table1", first, format_table1(first)),
            ("table2", second, format_table2(second)),
            ("table3", summary, format_table3(summary)),
        ):
            _csv(table, folder / f"{name}.csv")
            (folder / f"{name}.md").write_text(markdown(text), encoding="utf-8")
            (folder / f"{name}.tex").write_text(latex(text, CAPTIONS[name], f"tab:{name}"), encoding="utf-8")
        for method in iterative():
            if method in set(between["method"]):
                text = format_differences(between, method)
                (folder / f"differences-{method}.md").write_text(markdown(text), encoding="utf-8")
    write_json(METRICS / "all.json", _mean_auroc(runs))
    curves = summary[["entity", "level", "method", "auroc_mean"]].rename(columns={"auroc_mean": "auroc"})
    with atomic_path(RESULTS / "auroc.csv") as temporary:
        _csv(curves.assign(method=curves["method"].map(lambda name: METHODS[name].label)), temporary)


def _mean_auroc(runs: pd.DataFrame) -> dict[str, float]:
    """Mean AUROC of each method over all cells: the row of `dvc metrics show` that one reads first."""
    means = runs.groupby("method", sort=False)["auroc"].mean()
    return {str(name): round(float(value), 4) for name, value in means.items()}


def _csv(table: pd.DataFrame, path: Path) -> None:
    # Six digits: more than any seed repeats, few enough to be read.
    table.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")
