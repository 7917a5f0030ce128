"""Figures, returned and never saved. Colours are Okabe and Ito's, told apart by the colour-blind too."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

__all__ = ["COLOURS", "iteration_curves", "score_histograms"]

COLOURS = {"blue": "#0072b2", "orange": "#d55e00", "green": "#009e73", "grey": "#777777"}


def iteration_curves(iterations: pd.DataFrame, references: Mapping[str, float] | None = None) -> Figure:
    """AUROC (where known) and size of the training set against the iteration.

    Args:
        iterations: columns `iteration, n_train, auroc`.
        references: AUROC of other methods by name, drawn as horizontal lines.
    """
    labelled = iterations["auroc"].notna().any()
    figure = Figure(figsize=(6.4, 3.0 if not labelled else 4.6), layout="constrained")
    axes = figure.subplots(2 if labelled else 1, 1, sharex=True, squeeze=False)[:, 0]
    steps = iterations["iteration"].to_numpy()
    if labelled:
        top = axes[0]
        top.plot(steps, iterations["auroc"], "o-", color=COLOURS["blue"], label="IRP")
        styles = (("green", "--"), ("orange", ":"), ("grey", "-."), ("grey", ":"), ("grey", "--"))
        for (name, value), (colour, style) in zip((references or {}).items(), styles, strict=False):
            top.axhline(value, color=COLOURS[colour], linestyle=style, linewidth=1.3, label=f"{name} {value:.3f}")
        top.set_ylabel("AUROC (test set)")
        if references:
            top.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        _tidy(top)
    bottom = axes[-1]
    bottom.bar(steps, iterations["n_train"], color=COLOURS["blue"], alpha=0.35, width=0.6)
    bottom.set_ylabel("training images")
    bottom.set_xlabel("iteration (0 = before any removal)")
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    _tidy(bottom)
    return figure


def score_histograms(scores: pd.DataFrame, thresholds: Mapping[int, float]) -> Figure:
    """Histograms of the training images' scores, first and last iteration, with the threshold each was held against.

    Args:
        scores: columns `iteration, score`.
        thresholds: iteration → the threshold applied to that iteration's scores.
    """
    shown = sorted({int(scores["iteration"].min()), int(scores["iteration"].max())})
    figure = Figure(figsize=(6.4, 1.3 + 1.5 * len(shown)), layout="constrained")
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    edges = np.histogram_bin_edges(scores.loc[scores["iteration"].isin(shown), "score"], bins=50)
    for axes, iteration in zip(panels, shown, strict=True):
        axes.hist(scores.loc[scores["iteration"] == iteration, "score"], bins=edges, color=COLOURS["blue"], alpha=0.6)
        if iteration in thresholds:
            axes.axvline(thresholds[iteration], color=COLOURS["orange"], linewidth=1.5)
            axes.annotate(
                f"threshold {thresholds[iteration]:.3f}",
                (thresholds[iteration], 0.9),
                xycoords=("data", "axes fraction"),
                xytext=(4, 0),
                textcoords="offset points",
                fontsize=8,
                color=COLOURS["orange"],
            )
        axes.set_ylabel(f"iteration {iteration}\nimages", fontsize=9)
        _tidy(axes)
    panels[-1].set_xlabel("anomaly score")
    return figure


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
