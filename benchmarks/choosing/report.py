"""What docs/choosing.md shows of the runs: `python -m benchmarks.choosing.report docs/choosing/runs.csv`."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from irp_core.methods import METHODS
from irp_core.statistics.recovery import recovery

__all__ = ["alarm_table", "auroc_figure", "auroc_table", "removal_table", "summary_table"]

_CELL = ["entity", "detector", "level"]
_LOST = 0.005  # of AUROC: where less was lost a recovery means nothing


def auroc_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean AUROC over the seeds, a row per data set, final detector and noise level."""
    wide = runs.pivot_table(index=_CELL, columns="method", values="auroc", sort=False)
    names = [name for name in METHODS if name in wide]
    table = wide[names].rename(columns=lambda name: METHODS[name].label).map(lambda value: f"{value:.3f}")
    return table.reset_index().rename(columns={"entity": "data", "level": "% defective"})


def removal_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Images removed and asked about, a row per data set and level; means over the seeds."""
    rows = []
    one = runs[runs["detector"] == runs["detector"].iloc[0]]  # the removals do not depend on the final detector
    chosen = [name for name in ("careful", "answered", "robust") if name in set(one["method"])]
    for (entity, level), cell in one.groupby(["entity", "level"], sort=False):
        row: dict[str, object] = {"data": entity, "% defective": level}
        for name in chosen:
            group = cell[cell["method"] == name]
            good, bad = group["removed_good"].mean(), group["removed_bad"].mean()
            row[f"{METHODS[name].label}: good, bad removed"] = f"{good:.1f}, {bad:.1f}"
            if name == "careful":
                row["asked about: good, bad"] = f"{group['asked_good'].mean():.1f}, {group['asked_bad'].mean():.1f}"
        row["defective"] = f"{cell['n_injected'].mean():.0f}"
        rows.append(row)
    return pd.DataFrame(rows)


def alarm_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Share of fresh good images above the operating threshold, a row per data set, detector and method.

    Fresh: good and not in the training set. A column per noise level; means over the seeds, in percent.
    """
    share = runs.assign(alarms=100 * runs["alarms"] / runs["fresh_good"], method=runs["method"].map(_label))
    table = share.pivot_table(
        index=["entity", "detector", "method"], columns="level", values=["fresh_good", "alarms"], sort=False
    )
    alarms = table["alarms"].map(lambda value: f"{value:.1f}").rename(columns=lambda level: f"{level} % defective")
    alarms.insert(0, "fresh good", table["fresh_good"].min(axis=1).round().astype(int))
    return alarms.reset_index().rename(columns={"entity": "data"})


def _label(method: str) -> str:
    return METHODS[method].label


def summary_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Harm, reach and coverage of each method that removes images, a row per method and final detector.

    Harm is the worst cell's mean AUROC below the lower of vanilla and oracle, in points; reach the mean recovery over
    the cells that lost half a point or more; precision that of all removals; coverage the share of runs whose interval
    holds the true share of defective images.
    """
    wide = runs.pivot_table(index=_CELL, columns="method", values="auroc")
    rows = []
    for detector in runs["detector"].unique():
        cells = wide.xs(detector, level="detector")
        for name in ("careful", "answered", "robust", "irp"):
            if name not in cells:
                continue
            group = runs[(runs["detector"] == detector) & (runs["method"] == name)]
            harm = (cells[["vanilla", "oracle"]].min(axis=1) - cells[name]).max()
            lost = cells[cells["oracle"] - cells["vanilla"] >= _LOST]
            shares = [recovery(*values) for values in lost[[name, "vanilla", "oracle"]].itertuples(index=False)]
            clean = group[group["level"] == 0]
            good, bad = group["removed_good"].sum(), group["removed_bad"].sum()
            told = group.dropna(subset=["low"]) if "low" in group else group.iloc[:0]
            true = told["n_injected"] / told["n_start"]
            rows.append(
                {
                    "detector": detector,
                    "method": METHODS[name].label,
                    "worst loss (points)": f"{max(0.0, 100 * harm):.1f}",
                    "mean recovery": f"{pd.Series(shares).mean():.2f}",
                    "removed from clean sets": f"{100 * clean['removed_good'].sum() / clean['n_start'].sum():.1f} %",
                    "precision": "–" if not good + bad else f"{bad / (good + bad):.2f}",
                    "coverage": "–" if told.empty else f"{true.between(told['low'], told['high']).mean():.2f}",
                }
            )
    return pd.DataFrame(rows)


def auroc_figure(runs: pd.DataFrame) -> Figure:
    """AUROC against the noise level, a panel per entity and detector; the band is the range over the seeds."""
    entities, detectors = list(runs["entity"].unique()), list(runs["detector"].unique())
    figure = Figure(figsize=(3.1 * len(detectors), 2.4 * len(entities)), layout="constrained")
    panels = figure.subplots(len(entities), len(detectors), sharex=True, sharey="row", squeeze=False)
    for row, entity in enumerate(entities):
        for column, detector in enumerate(detectors):
            axes = panels[row][column]
            cell = runs[(runs["entity"] == entity) & (runs["detector"] == detector)]
            for name in (name for name in METHODS if name in set(cell["method"])):
                method = METHODS[name]
                by_level = cell[cell["method"] == name].groupby("level")["auroc"]
                mean, style = by_level.mean(), method.style
                axes.plot(mean.index, mean, style.dash, color=style.colour, marker=style.marker, markersize=4,
                          label=method.label)  # fmt: skip
                axes.fill_between(
                    mean.index, by_level.min(), by_level.max(), color=style.colour, alpha=0.1, linewidth=0
                )
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
    tables = {"auroc": auroc_table(runs), "removals": removal_table(runs), "summary": summary_table(runs)}
    if "alarms" in runs:  # runs that were measured before lack it
        tables["alarms"] = alarm_table(runs)
    for name, table in tables.items():
        (source.parent / f"{name}.md").write_text(table.to_markdown(index=False) + "\n", encoding="utf-8")
    auroc_figure(runs).savefig(source.parent / "auroc.png", dpi=150)


if __name__ == "__main__":
    main()
