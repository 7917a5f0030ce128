"""What docs/choosing.md shows of the runs: `python -m benchmarks.choosing_report docs/choosing/runs.csv`."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from irp_core.plots import COLOURS
from irp_core.statistics.metrics import recovery

__all__ = ["auroc_figure", "auroc_table", "removal_table"]

_KEYS = ["entity", "detector", "level"]
_COLOURS = {
    "vanilla": COLOURS["grey"],
    "irp": COLOURS["orange"],
    "robust": COLOURS["blue"],
    "oracle": COLOURS["green"],
}
_LABELS = {
    "vanilla": "vanilla",
    "irp": "irp (paper)",
    "robust": "robust (ours)",
    "oracle": "oracle",
}


def _wide(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per entity, detector, level and seed; a column of AUROC per method."""
    return runs.pivot_table(index=[*_KEYS, "seed"], columns="method", values="auroc").reset_index()


def auroc_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean ± sample standard deviation over the seeds of AUROC, recovery of the means, seconds of ours."""
    wide = _wide(runs)
    rows = []
    for (entity, detector, level), group in wide.groupby(_KEYS, sort=False):
        means = {method: float(group[method].mean()) for method in _LABELS}
        row: dict[str, object] = {"data": entity, "detector": detector, "noise": f"{level} %"}
        row |= {_LABELS[m]: f"{means[m]:.3f} ± {group[m].std():.3f}" for m in _LABELS}
        for method in ("irp", "robust"):
            share = recovery(means[method], means["vanilla"], means["oracle"])
            # Where less than half a point was lost the ratio means nothing.
            small = level == 0 or share is None or means["oracle"] - means["vanilla"] < 0.005
            row[f"recovery {method}"] = "–" if small or share is None else f"{share:.2f}"
        chosen = runs[(runs[_KEYS] == [entity, detector, level]).all(axis=1)]
        for method in ("irp", "robust"):
            row[f"s {method}"] = f"{chosen.loc[chosen['method'] == method, 'seconds'].mean():.1f}"
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["data", "detector"], kind="stable")


def removal_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Good and defective images removed, per entity, level and rule; means over the seeds."""
    rows = []
    first = runs["detector"].iloc[0]
    wanted = [("robust", first), *(("irp", detector) for detector in runs["detector"].unique())]
    for (entity, level), cell in runs.groupby(["entity", "level"], sort=False):
        for method, detector in wanted:
            group = cell[(cell["method"] == method) & (cell["detector"] == detector)]
            good, bad = group["removed_good"].sum(), group["removed_bad"].sum()
            injected = group["n_injected"].sum()
            row: dict[str, object] = {
                "data": entity,
                "noise": f"{level} %",
                "rule": f"irp on {detector}" if method == "irp" else _LABELS[method],
                "good removed": f"{good / len(group):.1f}",
                "bad removed": f"{bad / len(group):.1f}",
                "precision": "–" if not good + bad or not injected else f"{bad / (good + bad):.2f}",
                "recall": "–" if not injected else f"{bad / injected:.2f}",
            }
            if method != "irp":
                shares = (group["estimated"].mean(), group["low"].mean(), group["high"].mean())
                row["estimated"] = "{:.0f} % ({:.0f} to {:.0f})".format(*(100 * share for share in shares))
            rows.append(row)
    return pd.DataFrame(rows).fillna("")


def auroc_figure(runs: pd.DataFrame) -> Figure:
    """AUROC against the noise level, a panel per entity and detector; the band is the range over the seeds."""
    entities, detectors = list(runs["entity"].unique()), list(runs["detector"].unique())
    figure = Figure(figsize=(3.1 * len(detectors), 2.6 * len(entities)), layout="constrained")
    panels = figure.subplots(len(entities), len(detectors), sharex=True, sharey="row", squeeze=False)
    for row, entity in enumerate(entities):
        for column, detector in enumerate(detectors):
            axes = panels[row][column]
            cell = runs[(runs["entity"] == entity) & (runs["detector"] == detector)]
            for method, colour in _COLOURS.items():
                by_level = cell[cell["method"] == method].groupby("level")["auroc"]
                mean = by_level.mean()
                style = "--" if method in ("vanilla", "oracle") else "-"
                axes.plot(mean.index, mean, style, color=colour, marker=".", label=_LABELS[method])
                axes.fill_between(mean.index, by_level.min(), by_level.max(), color=colour, alpha=0.12, linewidth=0)
            axes.set_title(f"{entity}, {detector}", fontsize=9)
            axes.spines[["top", "right"]].set_visible(False)
            if column == 0:
                axes.set_ylabel("AUROC (test set)")
            if row == len(entities) - 1:
                axes.set_xlabel("defective training images (%)")
    panels[0][-1].legend(frameon=False, fontsize=8, loc="best")
    return figure


def main() -> None:
    """Write the tables and the figure beside the runs."""
    source = Path(sys.argv[1])
    runs = pd.read_csv(source)
    for name, table in (("auroc", auroc_table(runs)), ("removals", removal_table(runs))):
        (source.parent / f"{name}.md").write_text(table.to_markdown(index=False) + "\n", encoding="utf-8")
    auroc_figure(runs).savefig(source.parent / "auroc.png", dpi=150)


if __name__ == "__main__":
    main()
